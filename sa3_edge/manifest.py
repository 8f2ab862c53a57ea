"""`manifest.json`: all that a host needs to know of a bundle. Unknown or missing fields are errors.

`runtimes/README.md` describes each field for host authors.
"""

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from sa3_edge.errors import BundleError
from sa3_edge.files import read_small

SCHEMA_VERSION = 3
FILE_NAME = "manifest.json"

GraphName = Literal["text_encoder", "conditioner", "denoiser", "decoder", "encoder"]
Dtype = Literal["float32", "float16", "int64", "int32"]
Objective = Literal["rf_denoiser", "rectified_flow"]
LARGEST_FILE = 16 << 20  # bytes of a manifest; those of published models have 20 kB
# Beyond reason: a size that only a mistake, or malice, has is refused before anything is reserved for it.
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Number = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Name = Annotated[str, msgspec.Meta(max_length=1024)]
MOST_SAMPLES = 1 << 29  # of a whole clip, or of a tile with its neighbours, all channels
Pad = Literal["zeros", "mask", "repeat_last"]
Per = Literal["run", "step"]

MASKED_LOGIT = -3e4  # what `pad: "mask"` fills with: out of a softmax in fp16 and fp32 alike, and finite


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class File(_Struct, frozen=True):
    """A file of the bundle; `path` is relative to the bundle's folder, with forward slashes."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class Tensor(_Struct, frozen=True):
    """An input or output. A name in `shape` is an axis whose length the host chooses."""

    name: Name
    dtype: Dtype
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] | Name], msgspec.Meta(max_length=8)]


class PackageInput(Tensor, frozen=True):
    """An input of a package, and how a host pads it.

    pad: with zeros, with MASKED_LOGIT, or by repeating the last row
    per: "run" if it is the same in every step, so that it is cast and padded once; "step" if it changes
    """

    pad: Pad
    per: Per


class Parity(_Struct, frozen=True):
    """Signal-to-noise ratio against PyTorch at one length of the graph's leading axis, the worst output's.

    `psnr_db`, of audio only: how far the error lies below the loudest sample.
    """

    length: int
    snr_db: float
    psnr_db: float | None = None


class Part(_Struct, frozen=True):
    """An initializer that is `rows` rows of a layer's weight (outputs, ...), from `first` on, perhaps transposed."""

    initializer: Name
    first: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]
    rows: Size
    transposed: bool


class Layer(_Struct, frozen=True):
    """A layer of the checkpoint whose weight adapters may change: its shape, outputs first, and where the graph has
    it."""

    shape: Annotated[list[Size], msgspec.Meta(min_length=2, max_length=4)]
    parts: Annotated[list[Part], msgspec.Meta(min_length=1)]


ComputeUnits = Literal["all", "cpu_and_ne", "cpu_and_gpu", "cpu_only"]


class Artifact(_Struct, frozen=True, omit_defaults=True):
    """One graph in one format. `files[0]` is the one to load; the others lie beside it.

    A Core ML package is a folder: `files[0]` is a file in it, `x.mlpackage/Manifest.json`. It further says
    inputs, outputs: its own, where they differ from the graph's: other dtypes, a mask; empty where they do not
    functions: its functions of fixed lengths, each with the sizes of all named axes; "main" takes any length
    compute_units: where it is meant to run
    An ONNX file in fp32 of the conditioner or the denoiser says
    layers: by the checkpoint's name, what adapters may change at run time; bundles of before have none
    """

    files: Annotated[list[File], msgspec.Meta(min_length=1)]
    precision: str
    parity: list[Parity]
    inputs: list[PackageInput] = []
    outputs: list[Tensor] = []
    functions: dict[str, dict[str, int]] = {}
    compute_units: ComputeUnits | None = None
    layers: dict[Name, Layer] = {}


class Graph(_Struct, frozen=True):
    """A graph's interface, the same in every format, and its files by format ("onnx", "coreml")."""

    description: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    artifacts: dict[str, Artifact]


class Adapter(_Struct, frozen=True):
    """A LoRA that was merged into the weights: the file's name and hash, and how strongly (1 as trained)."""

    file: str
    sha256: str
    strength: float


class Model(_Struct, frozen=True):
    """Where the weights come from. `synthetic` weights are random numbers: what they make is noise.

    `adapters` were merged in this order; `name` and `revision` are those of the checkpoint.
    """

    name: str
    revision: str
    licence: str
    synthetic: bool
    adapters: list[Adapter]


class Audio(_Struct, frozen=True):
    """Geometry. A latent frame is `samples_per_frame` samples of every channel."""

    sample_rate: Size
    channels: Size
    samples_per_frame: Size
    latent_channels: Size
    max_frames: Size


class Text(_Struct, frozen=True):
    """`hidden_size` is the width of the text encoder's output."""

    tokenizer: File
    max_tokens: Size
    hidden_size: Size


class Sampler(_Struct, frozen=True):
    """`logsnr_*`: timesteps are sigmoid(-logsnr) on a line from start (t = 1) to end (t = 0).

    `cfg`: the model's own scale of classifier-free guidance; the file calls it `guidance`.
    """

    objective: Objective
    logsnr_start: Number
    logsnr_end: Number
    steps: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    cfg: Number = msgspec.field(name="guidance")
    headroom_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)]


class Tiles(_Struct, frozen=True):
    """How to cut a sequence, in frames: what each tile adds, what it shares with its neighbours on either side; all
    tiles are multiples of `multiple` long."""

    frames: Size
    overlap: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]
    multiple: Size


class Tiling(_Struct, frozen=True):
    """Tiles of the graphs that work on parts of a clip."""

    decoder: Tiles
    encoder: Tiles


class Manifest(_Struct, frozen=True):
    """The whole file.

    `memory_tokens`: rows that the denoiser's local embeddings have before those of the frames; 0 if that is not known,
    in bundles of schema 2.
    """

    schema_version: int
    model: Model
    audio: Audio
    text: Text
    sampler: Sampler
    tiles: Tiling
    memory_tokens: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]
    graphs: dict[GraphName, Graph]
    made_with: dict[str, str]
    unknown_config_keys: list[str]

    @property
    def max_seconds(self) -> float:
        """The longest clip of one pass, in whole seconds where the frames allow it."""
        audio = self.audio
        return audio.max_frames * audio.samples_per_frame // audio.sample_rate


def decode_manifest(data: bytes) -> Manifest:
    """Read `manifest.json`, also of schema 2. Raises BundleError, naming the field."""
    try:
        version = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("schema_version")
        if version is not None and msgspec.json.decode(version) == _SCHEMA_2:
            manifest = msgspec.convert(_from_schema_2(msgspec.json.decode(data)), Manifest)
        elif version is not None and msgspec.json.decode(version) != SCHEMA_VERSION:
            raise BundleError(
                f"schema version {bytes(version).decode()[:40]} is not one that this sa3-edge reads "
                f"({_SCHEMA_2} or {SCHEMA_VERSION}); export the bundle again or use another sa3-edge"
            )
        else:
            manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"{FILE_NAME} is not valid: {error}") from None
    except RecursionError:
        raise BundleError(f"{FILE_NAME} is not valid: it is nested too deeply") from None
    _check_sizes(manifest)
    return manifest


def read_manifest(path: Path) -> tuple[Manifest, bytes]:
    """The manifest in a file, and its bytes. Raises BundleError, and OSError if the file cannot be read."""
    data = read_small(path, LARGEST_FILE)
    return decode_manifest(data), data


def _check_sizes(manifest: Manifest) -> None:
    """Raise BundleError where sizes that are each within bounds ask for more than any model needs together."""
    audio, tiles = manifest.audio, manifest.tiles
    frames = max(audio.max_frames, *(each.frames + 2 * each.overlap for each in (tiles.decoder, tiles.encoder)))
    if frames * audio.samples_per_frame * audio.channels > MOST_SAMPLES:
        raise BundleError(
            f"{FILE_NAME} is not valid: {frames} frames of {audio.samples_per_frame} samples are too many"
        )


_SCHEMA_2 = 2
# What schema 2 left hosts to know by name.
_PADS_2: dict[str, Pad] = {"key_bias": "mask", "frame_bias": "mask", "local_embed": "repeat_last"}
_OF_A_STEP_2 = frozenset({"x", "t"})


def _from_schema_2(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest of schema 2 with what schema 3 adds; what is misshapen stays so, for the decoder to name."""
    memory_tokens = 0
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        for graph in manifest["graphs"].values():
            package = graph["artifacts"].get("coreml", {})
            for tensor in package.get("inputs", ()):
                tensor["pad"] = _PADS_2.get(tensor["name"], "zeros")
                tensor["per"] = "step" if tensor["name"] in _OF_A_STEP_2 else "run"
            for sizes in package.get("functions", {}).values():
                if "rows" in sizes:
                    memory_tokens = sizes["rows"] - sizes["frames"]
    return {**manifest, "schema_version": SCHEMA_VERSION, "memory_tokens": memory_tokens}


def encode_manifest(manifest: Manifest) -> bytes:
    """The file's bytes, indented for people."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
