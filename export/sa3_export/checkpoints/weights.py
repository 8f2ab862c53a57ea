"""Tensors of a checkpoint by their published names: shapes at once, values when a network is loaded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sa3_edge.errors import listed
from sa3_export.errors import CheckpointError
from sa3_export.networks.layers import ROTARY_BASE, RotaryEmbedding
from sa3_export.networks.same import fold_weight_norm

Shapes = dict[str, tuple[int, ...]]


class Weights(ABC):
    """What networks are loaded from.

    path: what errors name
    shapes: by published name
    notes: what the file says of itself
    """

    path: Path
    shapes: Shapes
    notes: Mapping[str, str] = {}

    def tensor(self, name: str) -> Tensor:
        """One tensor as stored. Raises CheckpointError for one that holds anything but numbers."""
        tensor = self._read(name)
        # A sum is finite only if every term is: one pass, no mask in memory.
        if not torch.isfinite(tensor.sum(dtype=torch.float64)):
            raise CheckpointError(f"{self.path}: {name} holds NaN or infinity")
        return tensor

    @abstractmethod
    def _read(self, name: str) -> Tensor: ...

    def load_into(self, module: nn.Module, prefix: str, dtype: torch.dtype = torch.float32) -> None:
        """Give a module built without memory its tensors, as `dtype`."""
        state: dict[str, Tensor] = {}
        for name in module.state_dict():
            stored = prefix + name
            if stored in self.shapes:
                state[name] = self.tensor(stored).to(dtype)
            else:
                gain, direction = (self.tensor(f"{stored}_{part}").to(dtype) for part in ("g", "v"))
                state[name] = fold_weight_norm(gain, direction)
        self._check_rotary(module, prefix, state)
        module.load_state_dict(state, strict=True, assign=True)
        module.requires_grad_(False).eval()

    def _check_rotary(self, module: nn.Module, prefix: str, state: Mapping[str, Tensor]) -> None:
        for name, part in module.named_modules():
            if isinstance(part, RotaryEmbedding) and f"{name}.inv_freq" in state:
                stored = state[f"{name}.inv_freq"]
                if not torch.allclose(stored, part.inv_freq, rtol=1e-5, atol=0):
                    raise CheckpointError(
                        f"{self.path}: {prefix}{name}.inv_freq is not 1 / {ROTARY_BASE:g}^(2i/{2 * len(stored)}), "
                        "the only rotary base that is computed"
                    )


class SafetensorsWeights(Weights):
    """A safetensors file, but for tensors whose names begin with one of `ignored`."""

    def __init__(self, path: Path, ignored: tuple[str, ...] = ()):
        if not path.is_file():
            pickles = [p.name for p in sorted(path.parent.glob("*")) if p.suffix in {".ckpt", ".pt", ".bin", ".pth"}]
            hint = f" ({listed(pickles)} will not be read: only safetensors is safe to open)" if pickles else ""
            raise CheckpointError(f"{path} does not exist{hint}")
        self.path = path
        try:
            with _opened(path) as file:
                names = [name for name in file.keys() if not name.startswith(ignored)]  # noqa: SIM118 - not a dict
                self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
                self.notes = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from None

    def _read(self, name: str) -> Tensor:
        with _opened(self.path) as file:  # again for each: a checkpoint lives longer than its file need be open
            tensor: Tensor = file.get_tensor(name)
        return tensor


def _opened(path: Path) -> Any:
    return safe_open(path, framework="pt", device="cpu")


def check_shapes(path: Path, stored: Shapes, expected: Shapes) -> None:
    """Raise CheckpointError, naming what is missing, unexpected or misshapen."""
    problems = []
    if missing := sorted(expected.keys() - stored.keys()):
        problems.append(f"missing: {listed(missing)}")
    if unexpected := sorted(stored.keys() - expected.keys()):
        problems.append(f"unexpected: {listed(unexpected)}")
    misshapen = [
        f"{name} is {stored[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in stored and stored[name] != shape
    ]
    if misshapen:
        problems.append(f"misshapen: {listed(misshapen)}")
    if problems:
        raise CheckpointError(f"{path} does not fit its config; {'; '.join(problems)}")
