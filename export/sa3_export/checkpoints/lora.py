"""LoRA adapters, merged into a checkpoint's weights before they are exported.

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

import torch
from torch import Tensor, nn

from sa3_edge import manifest as m
from sa3_edge.errors import RequestError
from sa3_edge.files import sha256_of
from sa3_export.errors import CheckpointError

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
            raise CheckpointError(f"{self.path} will not be read: only safetensors is safe to open, convert it first")
        if not self.path.is_file():
            hint = "a folder; name the .safetensors file in it" if self.path.is_dir() else "no such file"
            raise RequestError(f"{self.path}: {hint}")

    @property
    def described(self) -> m.Adapter:
        """The adapter's entry in the manifest."""
        return m.Adapter(file=self.path.name, sha256=sha256_of(self.path), strength=self.strength)

    @classmethod
    def parse(cls, text: str) -> "AdapterFile":
        """From `FILE` or `FILE:strength`; a path may hold colons. Raises RequestError."""
        head, colon, tail = text.rpartition(":")
        if not colon or Path(text).is_file():
            return cls(Path(text))
        strength = _float(tail)
        if strength is not None:
            return cls(Path(head), strength)
        if Path(head).is_file():
            raise RequestError(f"{text}: the strength must be a number, got {tail!r}")
        return cls(Path(text))


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Update:
    """What an adapter does to one weight: a (rank, inputs), b (outputs, rank), magnitudes with their norms' axes."""

    a: Tensor
    b: Tensor
    scale: float  # alpha / rank
    magnitudes: tuple[tuple[Tensor, int], ...]

    def apply(self, weight: Tensor, strength: float) -> Tensor:
        """Weight (outputs, inputs) in fp64 -> the adapted weight."""
        adapted = weight + strength * self.scale * (self.b.double() @ self.a.double())
        for magnitude, axis in self.magnitudes:
            norm = weight.norm(dim=axis, keepdim=True)
            goal = norm + strength * (magnitude.double().unsqueeze(axis) - norm)
            adapted = adapted / (adapted.norm(dim=axis, keepdim=True) + _NORM_EPS) * goal
        return adapted


@dataclass(frozen=True)
class Adapter:
    """An adapter that was read and fits: its updates by the checkpoint's name of the layer."""

    file: AdapterFile
    updates: Mapping[str, Update]


def merge_adapters(module: nn.Module, prefix: str, adapters: Sequence[Adapter]) -> None:
    """Replace the weights of `module`, which the checkpoint stores under `prefix`, by adapted ones.

    Raises CheckpointError for a weight that is no longer finite.
    """
    for name, layer in module.named_modules():
        active = [adapter for adapter in adapters if adapter.file.strength and prefix + name in adapter.updates]
        if not active:
            continue
        weight = layer.get_parameter("weight")
        adapted = weight.double().flatten(1)
        for adapter in active:
            adapted = adapter.updates[prefix + name].apply(adapted, adapter.file.strength)
        adapted = adapted.view_as(weight).to(weight.dtype)
        if not torch.isfinite(adapted).all():
            names = ", ".join(f"{adapter.file.path.name} at strength {adapter.file.strength:g}" for adapter in active)
            raise CheckpointError(f"{prefix}{name}.weight overflows when merged with {names}")
        layer.weight = nn.Parameter(adapted, requires_grad=False)
