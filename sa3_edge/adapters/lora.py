"""LoRA adapters, merged into weights: those of a checkpoint before it is exported, those of a graph when it is loaded.

Of strength s, an adapter makes of a weight W (outputs, inputs; kernels of convolutions flattened into the inputs)

    V  = W + s * alpha / rank * B @ A
    W' = V                                       lora
    W' = V / ||V|| * (||W|| + s * (m - ||W||))   dora-rows, PEFT's DoRA: m and norms by output; dora-cols: by input
                                                 bora: by output, then once more by input

At strength 1 the last factor is m, the trained magnitude; at 0, W' is W. Adapters stack in the order given, each on
the weight that those before it left: the deltas of plain LoRAs add, DoRA takes its norms from the weight that it
meets. All in fp64.

Source: `stable_audio_3/models/lora/{model,loader}.py` of the public `Stability-AI/stable-audio-3`, whose adapters are
parametrizations that chain the same way. `peft/tuners/lora` of `huggingface/peft` agrees at strength 1; elsewhere it
scales V alone, so that a DoRA of strength 0 would still replace ||W|| by m.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa3_edge import manifest as m
from sa3_edge.adapters.names import installed_adapters
from sa3_edge.errors import AdapterError, RequestError, did_you_mean
from sa3_edge.files import sha256_of

Array = NDArray[np.float32]

_PICKLES = frozenset({".ckpt", ".pt", ".pth", ".bin"})
_NORM_EPS = 1e-12


@dataclass(frozen=True)
class AdapterFile:
    """An adapter to merge: a safetensors file, and how strongly (1 as trained, 0 not at all, any finite number)."""

    path: Path
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength):
            raise RequestError(f"the strength of {self.path.name} must be a finite number, got {self.strength}")
        if self.path.suffix.lower() in _PICKLES:
            raise AdapterError(f"{self.path} will not be read: only safetensors is safe to open, convert it first")
        if not self.path.is_file():
            hint = "a folder; name the .safetensors file in it" if self.path.is_dir() else "no such file"
            if self.path.name == str(self.path) and not self.path.is_dir():
                hint += f", and no adapter has that name{did_you_mean(self.path.name, installed_adapters())}"
            raise RequestError(f"{self.path}: {hint}")

    @property
    def described(self) -> m.Adapter:
        """The adapter's entry in the manifest."""
        return m.Adapter(file=self.path.name, sha256=sha256_of(self.path), strength=self.strength)

    @classmethod
    def parse(cls, text: str) -> "AdapterFile":
        """From `FILE` or `FILE:strength`, or the name of an installed adapter; a path may hold colons.

        Raises RequestError.
        """
        head, colon, tail = text.rpartition(":")
        if not colon or Path(text).is_file():
            return cls(_named(text))
        strength = _float(tail)
        if strength is not None:
            return cls(_named(head), strength)
        if Path(head).is_file():
            raise RequestError(f"{text}: the strength must be a number, got {tail!r}")
        return cls(Path(text))


def _named(text: str) -> Path:
    """A file that is here, else the installed adapter of this name."""
    path = Path(text)
    return path if path.is_file() else installed_adapters().get(text, path)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True, eq=False)
class Update:
    """What an adapter does to one weight: a (rank, inputs), b (outputs, rank), magnitudes with their norms' axes."""

    a: Array
    b: Array
    scale: float  # alpha / rank
    magnitudes: tuple[tuple[Array, int], ...]

    def apply(self, weight: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
        """Weight (outputs, inputs) -> the adapted weight."""
        adapted = weight + strength * self.scale * (self.b.astype(np.float64) @ self.a.astype(np.float64))
        for magnitude, axis in self.magnitudes:
            norm = np.linalg.norm(weight, axis=axis, keepdims=True)
            goal = norm + strength * (np.expand_dims(magnitude.astype(np.float64), axis) - norm)
            adapted = adapted / (np.linalg.norm(adapted, axis=axis, keepdims=True) + _NORM_EPS) * goal
        return adapted


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter that was read and fits: its updates by the checkpoint's name of the layer."""

    file: AdapterFile
    updates: Mapping[str, Update]


def adapts(adapters: Sequence[Adapter], layer: str) -> bool:
    """Whether a layer's weight is another with these adapters."""
    return any(adapter.file.strength and layer in adapter.updates for adapter in adapters)


def adapted_weight(layer: str, weight: Array, adapters: Sequence[Adapter]) -> Array:
    """A layer's weight (outputs, ...) -> the adapted one, of the same shape. Whoever merges, merges by this.

    Raises AdapterError if it is no longer finite.
    """
    active = [adapter for adapter in adapters if adapts([adapter], layer)]
    adapted = weight.reshape(len(weight), -1).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for adapter in active:
            adapted = adapter.updates[layer].apply(adapted, adapter.file.strength)
        merged = adapted.astype(np.float32).reshape(weight.shape)
    if not np.isfinite(merged).all():
        names = ", ".join(f"{adapter.file.path.name} at strength {adapter.file.strength:g}" for adapter in active)
        raise AdapterError(f"{layer}.weight overflows when merged with {names}")
    return merged
