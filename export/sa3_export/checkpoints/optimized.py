"""The layout of `stabilityai/stable-audio-3-optimized`, the small models in NumPy's files, read strictly.

    dit_*_f16.npz            transformer and conditioner; float16, the conditioner float32
    same_s_encoder_f32.npz   the autoencoder's halves, weight norm folded; float32
    same_s_decoder_f32.npz
    t5gemma_f16.npz          the text encoder; float16

and, beside them, `model_config.json` and the text encoder's `config.json` and `tokenizer.json`, which that repository
does not have. Tensors are known by their published names; each has one place in the files. A key that is missing, that
is no tensor's, or whose shape or type is another is an error that names it. Nothing is unpickled or decompressed.
"""

import json
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa3_edge.errors import listed
from sa3_export.checkpoints.weights import Shapes, Weights, check_shapes
from sa3_export.config.t5gemma import TextEncoderConfig
from sa3_export.errors import CheckpointError
from sa3_export.networks.layers import ROTARY_BASE, inverse_frequencies

_NPY: Any = np.lib.format  # without types
_Part = Literal["dit", "encoder", "decoder", "text"]
_FILES: dict[_Part, str] = {
    "dit": "dit_*_f16.npz",
    "encoder": "same_s_encoder_f32.npz",
    "decoder": "same_s_decoder_f32.npz",
    "text": "t5gemma_f16.npz",
}
_TYPES: dict[_Part, str] = {"dit": "float16", "encoder": "float32", "decoder": "float32", "text": "float16"}
# What the files' precision costs; tests/export/checkpoints/test_optimized.py measures it.
SOURCE = {
    "source precision": "float16 (transformer, text encoder), float32 (autoencoder, conditioner)",
    "source cost": "63 to 68 dB SNR a step against float32 weights, measured on a tiny checkpoint of random weights",
}
_TEXT_META, _TEXT_NO_WEIGHTS = "META", ("META", "TOKENIZER_MODEL", "rope_inv_freq")
# Names within the published prefix, and in the files.
_DIT_NAMES = ((r"\.to_local_embed\.(\d)", r".to_local_embed.seq.\1"), (r"\.gamma$", ".weight"))
_BLOCK_NAMES = ((r"^self_attn\.", "attn."), (r"^ff\.ff\.0\.proj\.", "ff.glu_proj."), (r"^ff\.ff\.2\.", "ff.proj_out."))
_CONDITIONER_NAMES = {
    "conditioner.conditioners.prompt.padding_embedding": "cond.padding_embedding",
    "conditioner.conditioners.seconds_total.embedder.embedding.1.weight": "cond.seconds_total_weight",
    "conditioner.conditioners.seconds_total.embedder.embedding.1.bias": "cond.seconds_total_bias",
}
_CODEC = "pretransform.model."
_CODEC_PARTS: tuple[tuple[str, _Part, str], ...] = (
    ("encoder.layers.0.", "encoder", ""),
    ("encoder.layers.2.", "encoder", "project_out."),
    ("decoder.layers.1.", "decoder", "project_in."),
    ("decoder.layers.3.", "decoder", ""),
    ("bottleneck.", "encoder", ""),
)
# Derived, not stored: angles, and a tensor without elements.
_DERIVED = re.compile(r"^pretransform\.model\.(.*\.rope\.inv_freq|bottleneck\.noise_scaling_factor)$")


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies. `conv`: whether its axes are (out, k, in) there, not (out, in, k)."""

    part: _Part
    key: str
    conv: bool = False


def is_optimized(folder: Path) -> bool:
    """Whether a folder holds this layout."""
    return not (folder / "model.safetensors").exists() and any(folder.glob(_FILES["dit"]))


def weights_file(folder: Path) -> Path:
    """The transformer's file, which tells one model from another. Raises CheckpointError unless there is just one."""
    found = sorted(folder.glob(_FILES["dit"]))
    if len(found) != 1:
        raise CheckpointError(
            f"{folder} holds {listed([path.name for path in found]) or 'no ' + _FILES['dit']}; one model is exported"
        )
    return found[0]


def open_optimized(
    folder: Path, shapes: Shapes, text_shapes: Shapes, text_config: TextEncoderConfig
) -> tuple[Weights, Weights]:
    """The model's and the text encoder's weights; `shapes`: what the published layout holds for the configs.

    Raises CheckpointError.
    """
    paths = {part: folder / name for part, name in _FILES.items()} | {"dit": weights_file(folder)}
    files = {part: _Npz(path) for part, path in paths.items()}
    shapes = {_unnormed(name): shape for name, shape in shapes.items() if not name.endswith(".mapping.weight_g")}
    model = _OptimizedWeights(folder, {part: files[part] for part in ("dit", "encoder", "decoder")}, shapes)
    model.check(also={"decoder": ("running_std",)})
    if not np.array_equal(files["encoder"].read("running_std"), files["decoder"].read("running_std")):
        raise CheckpointError(f"{folder}: running_std of the encoder's and the decoder's file differ")
    text = _OptimizedWeights(folder, {"text": files["text"]}, text_shapes)
    text.check(also={"text": [name for name in _TEXT_NO_WEIGHTS if name in files["text"].shapes]})
    _check_meta(files["text"], text_config)
    return model, text


def _unnormed(name: str) -> str:
    return name.removesuffix("_v") if name.endswith(".mapping.weight_v") else name


def _place(name: str) -> _Place | None:
    """Where a tensor of the published layout lies, None for what is derived."""
    if _DERIVED.match(name):
        return None
    if name in _CONDITIONER_NAMES:
        return _Place("dit", _CONDITIONER_NAMES[name])
    if name.startswith("model.model."):
        key = _renamed(name.removeprefix("model.model."), _DIT_NAMES)
        return _Place("dit", key, conv=key in {"preprocess_conv.weight", "postprocess_conv.weight"})
    if name.startswith("model.encoder."):
        return _Place("text", name.removeprefix("model.encoder."))
    for prefix, part, inside in _CODEC_PARTS:
        if name.startswith(_CODEC + prefix):
            key = name.removeprefix(_CODEC + prefix)
            if block := re.match(r"transformers\.(\d+)\.(.*)", key):
                key = f"blocks.{block[1]}.{_renamed(block[2], _BLOCK_NAMES)}"
            return _Place(part, inside + key)
    raise AssertionError(f"{name} has no place in this layout")


def _renamed(name: str, table: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name


class _OptimizedWeights(Weights):
    def __init__(self, folder: Path, files: "dict[_Part, _Npz]", shapes: Shapes):
        self.path, self.shapes, self._files = folder, shapes, files
        self._places = {name: _place(name) for name in shapes}

    def check(self, also: "dict[_Part, Iterable[str]]") -> None:
        """Raise CheckpointError unless the files hold these tensors, and but for the keys `also` nothing else."""
        for part, file in self._files.items():
            placed = {place.key: (name, place) for name, place in self._places.items() if place and place.part == part}
            expected = {
                key: (shape[0], shape[2], shape[1]) if place.conv else shape
                for key, (name, place) in placed.items()
                for shape in [self.shapes[name]]
            }
            stored = {key: shape for key, shape in file.shapes.items() if key not in also.get(part, ())}
            check_shapes(file.path, stored, expected)
            for key in expected:
                allowed = {_TYPES[part], "float32"} if key.startswith("cond.") else {_TYPES[part]}
                if file.types[key] not in allowed:
                    raise CheckpointError(f"{file.path}: {key} is {file.types[key]}, expected {_TYPES[part]}")

    def _read(self, name: str) -> Tensor:
        place = self._places[name]
        if place is None:
            shape = self.shapes[name]
            return inverse_frequencies(shape[0]) if name.endswith("inv_freq") else torch.zeros(shape)
        file = self._files[place.part]
        array = file.read(place.key)
        tensor = torch.from_numpy(array.transpose(0, 2, 1).copy() if place.conv else array)
        if name.endswith("rotary_pos_emb.inv_freq"):
            exact = inverse_frequencies(len(tensor))
            if not torch.equal(exact.half(), tensor):
                raise CheckpointError(
                    f"{file.path}: {place.key} is not 1 / {ROTARY_BASE:g}^(2i/{2 * len(tensor)}) rounded to float16, "
                    "the only rotary base that is computed"
                )
            return exact
        if place.key == "embed_tokens.weight":
            table = tensor.bfloat16()  # as published; what float16 kept of it, bfloat16 holds
            if not torch.equal(table.half(), tensor):
                raise CheckpointError(f"{file.path}: {place.key} is no bfloat16 table stored in float16")
            return table
        return tensor


class _Npz:
    """An .npz file of stored members: shapes and types at once, arrays one at a time."""

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist")
        self.shapes: Shapes = {}
        self.types: dict[str, str] = {}
        with self._opened() as archive:
            for member in archive.infolist():
                key = member.filename.removesuffix(".npy")
                if key == member.filename or key in self.shapes or member.compress_type != zipfile.ZIP_STORED:
                    raise CheckpointError(f"{path}: {member.filename} is no stored array, or is there twice")
                with self._said(key), archive.open(member) as file:
                    shape, dtype = _read_header(file)
                self.shapes[key], self.types[key] = shape, str(dtype)
                if dtype.hasobject or dtype.byteorder == ">":
                    raise CheckpointError(f"{path}: {key} holds {dtype}, no little-endian numbers")

    def read(self, key: str) -> NDArray[Any]:
        """An array, in C order. Raises CheckpointError."""
        with self._opened() as archive, self._said(key), archive.open(f"{key}.npy") as file:
            array: NDArray[Any] = _NPY.read_array(file, allow_pickle=False)
        return np.ascontiguousarray(array)

    def _opened(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CheckpointError(f"{self.path} is not a whole .npz file: {error}") from None

    def _said(self, key: str) -> "_Explained":
        return _Explained(lambda reason: f"{self.path}: {key} cannot be read: {reason}")


class _Explained:
    """Raises what a broken file makes zipfile and NumPy raise as CheckpointError."""

    def __init__(self, message: Callable[[object], str]):
        self._message = message

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError, NotImplementedError)):
            raise CheckpointError(self._message(error)) from None


def _read_header(file: Any) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    read = {1: _NPY.read_array_header_1_0, 2: _NPY.read_array_header_2_0}
    major, _ = _NPY.read_magic(file)
    if major not in read:
        raise ValueError(f"version {major} of the format")
    shape, _, dtype = read[major](file)
    return shape, dtype


def _check_meta(file: _Npz, config: TextEncoderConfig) -> None:
    """Raise CheckpointError where the file says another size of itself than the config beside it; further keys are
    allowed, the file may be without."""
    if _TEXT_META not in file.shapes:
        return
    try:
        said = json.loads(file.read(_TEXT_META).tobytes())
        differing = [
            f"{key} is {said[key]}, the config says {getattr(config, key)}"
            for key in TextEncoderConfig.__dataclass_fields__
            if key in said and said[key] != getattr(config, key)
        ]
    except (ValueError, TypeError, RecursionError):
        raise CheckpointError(f"{file.path}: {_TEXT_META} is no JSON object") from None
    if differing:
        raise CheckpointError(f"{file.path} does not fit its config; {'; '.join(differing)}")
