"""The operations that each target wants spelled in its own way.

Modules call `attention`, `rms_norm` and `rotary`. In PyTorch they are what their names say; inside
`use_kernels(...)` an exporter puts its target's fused operators in their place, so that one set of modules
serves eager PyTorch, ONNX and Core ML.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Kernels(Protocol):
    """What a target provides. Heads stay next to their width: (B, S, H, D) in, (B, S, H, D) out."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor: ...

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor: ...

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor: ...

    def rounded_here(self, x: Tensor) -> Tensor: ...


class TorchKernels:
    """Plain PyTorch: the definition that every other target is measured against."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, S, D)
        return F.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), eps=eps) * weight

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = cos.shape[-1]
        cos, sin = cos[:, None, :], sin[:, None, :]  # (S, 1, half), the same for every head
        first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)

    def rounded_here(self, x: Tensor) -> Tensor:
        return x


_kernels: ContextVar[Kernels] = ContextVar("kernels", default=TorchKernels())  # noqa: B039 - stateless


@contextmanager
def use_kernels(kernels: Kernels) -> Iterator[None]:
    """Run or trace modules with another target's operators."""
    token = _kernels.set(kernels)
    try:
        yield
    finally:
        _kernels.reset(token)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v over (B, S, H, D); keys and values may be of another length K.

    bias: (1, K), of keys, or (B, 1, S, K).
    """
    return _kernels.get().attention(q, k, v, bias)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, computed in fp32."""
    return _kernels.get().rms_norm(x, weight, eps)


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, half split, of the first `2 * cos.shape[-1]` of D. x (B, S, H, D), cos (S, R/2)."""
    return _kernels.get().rotary(x, cos, sin)


def rounded_here(x: Tensor) -> Tensor:
    """x >= 0 as it is. A target that would merge constant factors before and after it, and so round another
    product, is kept from it."""
    return _kernels.get().rounded_here(x)
