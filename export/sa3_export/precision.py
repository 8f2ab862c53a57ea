"""In which precision each graph of a bundle is stored, and how exact that must be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from sa3_edge.errors import RequestError
from sa3_edge.manifest import GraphName

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


def parse_precision(text: str) -> dict[GraphName, Choice]:
    """ "int8,decoder=fp32" -> what is chosen for every graph: a preset, then exceptions.

    Raises RequestError, naming the choices.
    """
    preset, *exceptions = (part.strip() for part in text.split(","))
    if preset not in PRESETS:
        raise RequestError(f"unknown precision {preset!r}; choose {' or '.join(PRESETS)}, e.g. int8,decoder=fp32")
    chosen = dict(PRESETS[preset])
    for exception in exceptions:
        name, _, precision = exception.partition("=")
        if name not in _NAMES:
            raise RequestError(f"unknown graph {name!r} in precision {text!r}; choose {' or '.join(_NAMES)}")
        if precision not in get_args(Precision):
            raise RequestError(f"unknown precision {precision!r} of {name}; choose {' or '.join(get_args(Precision))}")
        if precision == "int8" and name not in INT8_BARS:
            raise RequestError(f"{name} is exported in fp32 only; int8 is for {', '.join(INT8_BARS)}")
        chosen[name] = "int8" if precision == "int8" else "fp32"
    return chosen
