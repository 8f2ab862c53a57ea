"""Adapter files: two layouts, read into updates by layer.

    reference   LAYER.parametrizations.weight.0.{lora_A, lora_B, magnitude, magnitude_r, magnitude_c},
                config as JSON in the file's metadata, `lora_config`: adapter_type, rank, alpha (the rank by default)
    PEFT        base_model.model.LAYER.{lora_A, lora_B}.weight, LAYER.lora_magnitude_vector,
                adapter_config.json beside the file; without it alpha equals the rank

Layers are named from the diffusion transformer, from its wrapper ("model.") or from the whole model ("model.model.").
The reference adapts the duration's embedding ("conditioners.") as well.

Sources: `stable_audio_3/models/lora/utils.py` of the public `Stability-AI/stable-audio-3`; `peft/tuners/lora` of
`huggingface/peft`.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from sa3_edge.adapters.lora import Adapter, AdapterFile, Array, Update
from sa3_edge.adapters.names import PEFT_CONFIG
from sa3_edge.errors import AdapterError, listed
from sa3_edge.files import read_small

Parts = Mapping[str, NDArray[Any]]
Layers = dict[str, dict[str, NDArray[Any]]]  # by layer as the file names it, then by part
Magnitudes = tuple[tuple[str, int], ...]

# Each kind's magnitudes, in the order of use: the tensor's name and the axis of (outputs, inputs) that norms run over.
KINDS: dict[str, Magnitudes] = {
    "lora": (),
    "dora-rows": (("magnitude", 1),),
    "dora-cols": (("magnitude", 0),),
    "bora": (("magnitude_r", 1), ("magnitude_c", 0)),
}
_ROOTS = ("model.model.", "model.", "", "conditioner.")
_REFERENCE_KEY = re.compile(r"(?P<layer>.+)\.parametrizations\.weight\.0\.(?P<part>\w+)")
_PEFT_KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<layer>.+)\.(?P<part>(?:lora_A|lora_B)(?=\.weight)|lora_magnitude_vector)(?:\.weight)?"
)
# Norms of another base's weights, for loaders that lack ours, and a mask of ones from training: neither is needed.
_REFERENCE_IGNORED = frozenset({"baked_vnorm_row", "lora_dropout_mask"})
# PEFT features that change what the tensors mean, and initialisations that leave the base weights alone: the others
# (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) subtract from the base, so their tensors do not fit the published weights.
_PEFT_REFUSED = (
    "fan_in_fan_out",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
_PEFT_INITIALISATIONS = (True, False, "gaussian", "eva", "orthogonal", "mica")
LARGEST_FILE = 4 << 30  # bytes; a LoRA of every layer of the published model, of rank 128, has 0.3 GB
_LARGEST_CONFIG, _LARGEST_NUMBER = 16 << 20, 1e9
_PEFT_DEFAULT = 8  # of r and of lora_alpha


@dataclass(frozen=True)
class _Settings:
    """How a file's tensors are meant. `scale` takes a layer's name and stored rank, raises AdapterError."""

    kind: str
    scale: Callable[[str, int], float]


def fingerprint(file: AdapterFile) -> tuple[object, ...]:
    """Changes when an adapter's files do: sizes and times. Raises AdapterError if they cannot be looked at."""
    seen: list[object] = []
    try:
        for path in (file.path, file.path.with_name(PEFT_CONFIG)):
            if path == file.path or path.exists():
                found = path.stat()
                seen += [found.st_size, found.st_mtime_ns, found.st_ino]
    except OSError as error:
        raise AdapterError(f"{file.path} cannot be read: {error.strerror or error}") from None
    return tuple(seen)


def read_adapter(file: AdapterFile, weights: Mapping[str, tuple[int, ...]]) -> Adapter:
    """Read an adapter for a checkpoint with these weights, by layer, at least two-dimensional.

    Raises AdapterError, naming the tensors, for a file that is in neither layout, is of a kind that is not
    computed, or does not fit.
    """
    layers, settings = _read(file.path)
    try:
        return Adapter(file, _updates(layers, weights, settings))
    except AdapterError as error:
        raise AdapterError(f"{file.path}: {error}") from None


@dataclass(frozen=True)
class Summary:
    """What an adapter is: its kind, a key of KINDS, how many layers it adapts, and the ranks that it has, ascending."""

    kind: str
    layers: int
    ranks: tuple[int, ...]


def summarize(path: Path) -> Summary:
    """What is in a file, whatever model it is for. Raises AdapterError as `read_adapter`."""
    layers, settings = _read(path)
    ranks = {int(parts["lora_A"].shape[0]) for parts in layers.values() if parts.get("lora_A", np.zeros(())).ndim}
    return Summary(settings.kind, len(layers), tuple(sorted(ranks)))


def _read(path: Path) -> tuple[Layers, _Settings]:
    """A file's tensors by layer, and how they are meant. Raises AdapterError."""
    tensors, metadata = _read_tensors(path)
    try:
        for pattern, read_settings in ((_REFERENCE_KEY, _reference_settings), (_PEFT_KEY, _peft_settings)):
            layers, strangers = _group(tensors, pattern)
            if layers:
                if strangers:
                    raise AdapterError(f"not part of a LoRA that is known here: {listed(strangers)}")
                return layers, read_settings(path, metadata, layers)
        raise AdapterError(f"neither the reference's LoRA layout nor PEFT's; it holds {listed(sorted(tensors))}")
    except AdapterError as error:
        raise AdapterError(f"{path}: {error}") from None


# By the format's name of the type. NumPy has no bf16: the upper halves of fp32.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def _read_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """A safetensors file's tensors, of real numbers or, for messages, of any type as bytes; and its metadata."""
    try:
        data = read_small(path, LARGEST_FILE)
        # Checks the header: its length, every tensor's type, shape and place, that they fill the file.
        stored = deserialize(data)  # type: ignore[no-untyped-call]
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except (SafetensorError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path} is not a whole safetensors file: {error}") from None
    except OSError as error:
        raise AdapterError(f"{path} is not a whole safetensors file: {error.strerror or error}") from None
    del data
    tensors = {}
    for name, tensor in stored:
        flat: NDArray[Any] = np.frombuffer(tensor["data"], _DTYPES.get(tensor["dtype"], "u1"))
        if tensor["dtype"] == "BF16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = flat.reshape(tensor["shape"]) if tensor["dtype"] in _DTYPES else flat
    return tensors, metadata


def _group(tensors: Mapping[str, NDArray[Any]], pattern: re.Pattern[str]) -> tuple[Layers, list[str]]:
    """Tensors by layer and part, and the names of those that the pattern does not know."""
    layers: Layers = {}
    strangers = []
    for name, tensor in sorted(tensors.items()):
        if not (match := pattern.fullmatch(name)):
            strangers.append(name)
        elif match["part"] not in _REFERENCE_IGNORED:
            part = "magnitude" if match["part"] == "lora_magnitude_vector" else match["part"]
            layers.setdefault(match["layer"], {})[part] = tensor
    return layers, strangers


def _reference_settings(path: Path, metadata: Mapping[str, str], layers: Layers) -> _Settings:
    config = _json_object(metadata.get("lora_config", "{}"), "lora_config")
    kind = config.get("adapter_type", "lora")
    if kind == "dora":  # older files: the magnitude's shape says which, (1, inputs) or (outputs, 1)
        shapes = [parts["magnitude"].shape for parts in layers.values() if "magnitude" in parts]
        kind = "dora-cols" if shapes and len(shapes[0]) == 2 and shapes[0][0] == 1 else "dora-rows"
    if not isinstance(kind, str) or kind not in KINDS:
        hint = " (its singular vectors are not in the file)" if str(kind).endswith("-xs") else ""
        raise AdapterError(f"adapter_type {kind!r} is not computed{hint}; only {', '.join(KINDS)} or dora")

    def scale(layer: str, stored: int) -> float:
        rank = _number(config, "rank", stored)
        _check_rank(layer, stored, rank)
        return _number(config, "alpha", rank) / stored

    return _Settings(kind, scale)


def _peft_settings(path: Path, metadata: Mapping[str, str], layers: Layers) -> _Settings:
    config_path = path.with_name(PEFT_CONFIG)
    has_magnitudes = any("magnitude" in parts for parts in layers.values())
    if not (config_path.exists() or config_path.is_symlink()):
        return _Settings("dora-rows" if has_magnitudes else "lora", lambda layer, stored: 1.0)
    try:
        config = _json_object(read_small(config_path, _LARGEST_CONFIG).decode(errors="replace"), config_path.name)
    except OSError as error:
        raise AdapterError(f"{config_path.name} cannot be read: {error.strerror or error}") from None
    if (kind := config.get("peft_type", "LORA")) != "LORA":
        raise AdapterError(f"peft_type {kind!r} is not computed, only LORA")
    if refused := [key for key in _PEFT_REFUSED if config.get(key)]:
        raise AdapterError(f"{config_path.name} uses {listed(refused)}, which is not computed")
    if (start := config.get("init_lora_weights", True)) not in _PEFT_INITIALISATIONS:
        raise AdapterError(
            f"init_lora_weights {start!r} changes the base weights; save the adapter converted to plain LoRA "
            "(PEFT: path_initial_model_for_weight_conversion)"
        )
    use_dora, use_rslora = bool(config.get("use_dora")), bool(config.get("use_rslora"))

    def scale(layer: str, stored: int) -> float:
        rank = _number(*_by_pattern(config, "rank_pattern", layer, "r"), _PEFT_DEFAULT)
        alpha = _number(*_by_pattern(config, "alpha_pattern", layer, "lora_alpha"), _PEFT_DEFAULT)
        _check_rank(layer, stored, rank)
        return alpha / (math.sqrt(stored) if use_rslora else stored)

    return _Settings("dora-rows" if use_dora else "lora", scale)


def _by_pattern(config: Mapping[str, Any], patterns_key: str, layer: str, key: str) -> tuple[Mapping[str, Any], str]:
    """Where PEFT looks a layer's number up: under the first pattern that fits the end of its name, else under `key`."""
    patterns = config.get(patterns_key) or {}
    if not isinstance(patterns, dict):
        raise AdapterError(f"{patterns_key} must be a JSON object, got {type(patterns).__name__}")
    try:
        for pattern in patterns:
            _check_pattern(patterns_key, pattern)
            if re.match(rf"(.*\.)?({pattern})$", layer):
                return patterns, pattern
    except re.error as error:
        raise AdapterError(f"{patterns_key} {pattern!r} is not a regular expression: {error}") from None
    return config, key


def _check_pattern(key: str, pattern: str) -> None:
    """Raise AdapterError for a regular expression of a stranger that could take long to match.

    It takes at most as many tries as there are choices: of the place where each repetition ends, of what is optional,
    of alternatives in groups.
    """
    text = re.sub(r"\\.", "", pattern)
    repetitions, choices = len(re.findall(r"[*+{]", text)), text.count("?") + text.count("|") * ("(" in text)
    if len(pattern) > 1000 or re.search(r"\)[*+{]", text) or "(?" in text or repetitions > 2 or choices > 8:
        raise AdapterError(f"{key} {pattern[:60]!r} is too intricate a regular expression; name the layers plainly")


def _json_object(text: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also for numbers of thousands of digits
        raise AdapterError(f"{name} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise AdapterError(f"{name} must be a JSON object, got {type(value).__name__}")
    return value


def _number(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST_NUMBER:
        raise AdapterError(
            f"{key} must be a number, got {value!r:.40}" + (" (too large)" if type(value) in (int, float) else "")
        )
    return value


def _check_rank(layer: str, stored: int, rank: float) -> None:
    if stored != rank:
        raise AdapterError(f"{layer} is of rank {stored}, the config says {rank:g}")


def _updates(layers: Layers, weights: Mapping[str, tuple[int, ...]], settings: _Settings) -> dict[str, Update]:
    """The updates by the checkpoint's layer names. Raises AdapterError with all that does not fit."""
    updates: dict[str, Update] = {}
    problems: dict[str, list[str]] = {}
    for layer, parts in layers.items():
        target = next((root + layer for root in _ROOTS if root + layer in weights), None)
        if target is None:
            problems.setdefault("not in the checkpoint", []).append(layer)
        elif target in updates:
            problems.setdefault("twice in the file", []).append(layer)
        elif said := _misfit(layer, parts, KINDS[settings.kind], weights[target]):
            problems.setdefault(f"not a {settings.kind} for the checkpoint's weights", []).append(said)
        else:
            updates[target] = _update(parts, KINDS[settings.kind], settings.scale(layer, parts["lora_A"].shape[0]))
    if problems:
        raise AdapterError("; ".join(f"{what}: {listed(names)}" for what, names in problems.items()))
    return updates


def _misfit(layer: str, parts: Parts, magnitudes: Magnitudes, shape: tuple[int, ...]) -> str | None:
    """What is wrong with a layer's tensors, for a weight of `shape`."""
    expected = {"lora_A", "lora_B"} | {name for name, _ in magnitudes}
    if parts.keys() != expected:
        missing, unexpected = sorted(expected - parts.keys()), sorted(parts.keys() - expected)
        return (
            f"{layer} ("
            + "; ".join(
                f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has", unexpected)) if names
            )
            + ")"
        )
    outputs, inputs = shape[0], math.prod(shape[1:])
    for name, tensor in parts.items():
        if not np.issubdtype(tensor.dtype, np.floating) or not np.isfinite(tensor).all():
            return f"{layer}.{name} holds NaN, infinity or no real numbers"
    a, b = parts["lora_A"], parts["lora_B"]
    rank = a.shape[0] if a.ndim else 0
    if not rank or min(a.ndim, b.ndim) < 2 or a.size != rank * inputs or (len(b), b.size) != (outputs, outputs * rank):
        return f"{layer}: lora_A {tuple(a.shape)}, lora_B {tuple(b.shape)}, the weight is {shape}"
    for name, axis in magnitudes:
        tensor, size = parts[name], (outputs, inputs)[1 - axis]
        if tensor.size != size or max(tensor.shape, default=0) != size:
            return f"{layer}: {name} {tuple(tensor.shape)}, the weight is {shape}, expected {size} values"
    return None


def _update(parts: Parts, magnitudes: Magnitudes, scale: float) -> Update:
    return Update(
        _rows(parts["lora_A"]),
        _rows(parts["lora_B"]),
        scale,
        tuple((parts[name].ravel(), axis) for name, axis in magnitudes),
    )


def _rows(tensor: NDArray[Any]) -> Array:
    return tensor.reshape(len(tensor), -1)
