"""The formats of a bundle's graphs, what precisions each has, and how exact each must be."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from sa3_edge.errors import RequestError
from sa3_edge.manifest import GraphName
from sa3_export.errors import ExportRequestError

Precision = Literal["fp32", "int8"]
# "auto" is int8 where layers are wide enough to gain by it and what it costs is within the bar, else fp32.
Choice = Literal["fp32", "int8", "auto"]


@dataclass(frozen=True)
class Bar:
    """The least that an exported graph must reach against PyTorch in fp32: SNR, and for audio also PSNR, in dB."""

    snr_db: float
    psnr_db: float | None = None


FP32_BAR = Bar(snr_db=80.0)  # another order of additions stays far above; anything else does not
# What int8 must reach in one forward pass. The denoiser: eight steps amplify an error into another, still plausible
# piece, so it is judged by one step. The decoder: PSNR of the audio; the codec's own loss is far larger. The others
# feed the denoiser, so they must be at least as exact as it. The conditioner has no int8: it runs once, and
# what it gets wrong is wrong in every step.
INT8_BARS: dict[GraphName, Bar] = {
    "text_encoder": Bar(snr_db=25.0),
    "denoiser": Bar(snr_db=25.0),
    "decoder": Bar(snr_db=25.0, psnr_db=40.0),
    "encoder": Bar(snr_db=25.0),
}
_NAMES: tuple[GraphName, ...] = get_args(GraphName)
PRESETS: dict[str, Mapping[GraphName, Choice]] = {
    "fp32": dict.fromkeys(_NAMES, "fp32"),
    "int8": {name: "int8" if name in INT8_BARS else "fp32" for name in _NAMES},
    # What is inaudible is small: the codec. The text encoder and the denoiser, which decide what is played, stay exact.
    "balanced": {name: "auto" if name in {"decoder", "encoder"} else "fp32" for name in _NAMES},
    # As small as the bars allow.
    "compact": {name: "auto" if name in INT8_BARS else "fp32" for name in _NAMES},
}

DEFAULT_PRECISION = "balanced"
_LEAST_WIDTH = 256  # narrower products are over before quantizing their input has paid off


def settle(choice: Choice, widths: Iterable[int]) -> Precision:
    """The precision of a graph whose linear layers have these widths."""
    if choice == "auto":
        return "int8" if min(widths, default=0) >= _LEAST_WIDTH else "fp32"
    return choice


def bar_of(graph: GraphName, precision: Precision) -> Bar:
    """What a graph must reach in a precision."""
    return INT8_BARS[graph] if precision == "int8" else FP32_BAR


@dataclass(frozen=True)
class Precisions:
    """What is chosen for every graph, and of graphs in int8 the blocks that stay in fp32, by number."""

    graphs: Mapping[GraphName, Choice]
    exact_blocks: Mapping[GraphName, frozenset[int]] = field(default_factory=dict)

    @property
    def exact(self) -> str:
        """ "denoiser.0, decoder.0": the blocks as they are asked for."""
        return ", ".join(f"{graph}.{block}" for graph, blocks in self.exact_blocks.items() for block in sorted(blocks))


def parse_precision(text: str) -> Precisions:
    """ "int8,decoder=fp32,denoiser.0=fp32" -> a preset, then exceptions: of a graph, or of a block of one in int8.

    Raises RequestError, naming the choices.
    """
    preset, *exceptions = (part.strip() for part in text.split(","))
    if preset not in PRESETS:
        raise RequestError(f"unknown precision {preset!r}; choose {' or '.join(PRESETS)}, e.g. int8,decoder=fp32")
    chosen, blocks = dict(PRESETS[preset]), defaultdict[GraphName, set[int]](set)
    for exception in exceptions:
        target, _, precision = exception.partition("=")
        name, dot, block = target.partition(".")
        if name not in _NAMES:
            raise RequestError(f"unknown graph {name!r} in precision {text!r}; choose {' or '.join(_NAMES)}")
        if precision not in get_args(Precision):
            raise RequestError(f"unknown precision {precision!r} of {name}; choose {' or '.join(get_args(Precision))}")
        if precision == "int8" and name not in INT8_BARS:
            raise RequestError(f"{name} is exported in fp32 only; int8 is for {', '.join(INT8_BARS)}")
        if not dot:
            chosen[name] = "int8" if precision == "int8" else "fp32"
        elif precision == "int8" or not (block.isascii() and block.isdigit()):
            raise RequestError(f"a block is named by its number and stays in fp32, as in int8,{name}.0=fp32")
        else:
            blocks[name].add(int(block))
    for name in blocks:
        if chosen[name] == "fp32":
            raise RequestError(f"all of {name} is in fp32 by {text!r}: no block of it is an exception")
    return Precisions(chosen, {name: frozenset(numbers) for name, numbers in blocks.items()})


FIXED_FRAMES = (128, 256, 512, 1024, 2048)
COREML_PRECISIONS = ("fp32", "fp16", "int8", "palettized6")


@dataclass(frozen=True)
class CoreMLOptions:
    """What the person who exports may choose.

    precision: one of COREML_PRECISIONS
    fixed_frames: lengths of the denoiser's fixed functions, for the Neural Engine, which runs no others. None: those
        of FIXED_FRAMES that are shorter than the longest clip, and the longest
    """

    precision: str = "fp16"
    fixed_frames: tuple[int, ...] | None = None


def check_coreml_precision(precision: str) -> None:
    """Raises ExportRequestError for an unknown precision."""
    if precision not in COREML_PRECISIONS:
        raise ExportRequestError(f"unknown Core ML precision {precision!r}; choose {' or '.join(COREML_PRECISIONS)}")


# In the manifest's made_with: what the figures of packages, and of int8 graphs, were measured by.
COREML_VERIFIED, INT8_PRODUCTS = "coreml verified by", "int8 products"
EXACT_BLOCKS = "int8 but for"  # there too: blocks of graphs in int8 that stay in fp32
FORMATS = ("onnx", "coreml")
_PRECISIONS: dict[str, Sequence[str]] = {"onnx": tuple(PRESETS), "coreml": COREML_PRECISIONS}


@dataclass(frozen=True)
class ExportPlan:
    """What is made of each graph.

    formats: one or more of FORMATS
    precision: that of the ONNX graphs, a key of PRESETS with exceptions: "int8,decoder=fp32"
    coreml: how Core ML packages are made
    float_tables: whether the text encoder's table is stored as hosts without bf16 want it (see `targets.py`)
    """

    formats: tuple[str, ...] = ("onnx",)
    precision: str = DEFAULT_PRECISION
    coreml: CoreMLOptions = CoreMLOptions()
    float_tables: bool = False

    @classmethod
    def of(cls, formats: Sequence[str], precision: str | None, *, float_tables: bool = False) -> "ExportPlan":
        """What one `precision` means for the ONNX graphs and for the Core ML packages.

        Each format takes it if it has it, and else keeps its own default; None is the defaults. Raises
        ExportRequestError if no format that is exported has it.
        """
        plan = cls(tuple(formats), float_tables=float_tables)
        plan.check_formats()
        if precision is None:
            return plan
        preset = precision.split(",")[0].strip()
        takers = [each for each in formats if preset in _PRECISIONS[each]]
        if not takers:
            choices = "; ".join(f"{each}: {', '.join(_PRECISIONS[each])}" for each in formats)
            raise ExportRequestError(f"unknown precision {preset!r}; choose for {choices}")
        if "onnx" in takers:
            plan = replace(plan, precision=precision)
        if "coreml" in takers:
            plan = replace(plan, coreml=CoreMLOptions(preset))
        return plan

    def check_formats(self) -> None:
        """Raises ExportRequestError for an unknown format, or none."""
        for each in self.formats:
            if each not in FORMATS:
                raise ExportRequestError(f"unknown format {each!r}; choose one or more of {', '.join(FORMATS)}")
        if not self.formats:
            raise ExportRequestError(f"name a format to export: {' or '.join(FORMATS)}")
