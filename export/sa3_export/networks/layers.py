"""Small parts that several networks share."""

import copy
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa3_export.networks import kernels as ops

ROTARY_BASE = 10000.0  # of the published checkpoints; a text encoder's config states its own

_Module = TypeVar("_Module", bound=nn.Module)


def member(kind: type[_Module], modules: nn.Sequential | nn.ModuleList, index: int) -> _Module:
    """A member of a container as what it is: to PyTorch's types it is any module."""
    module = modules[index]
    assert isinstance(module, kind)
    return module


def with_the_same_weights(module: _Module) -> _Module:
    """A copy whose parameters are the module's own until they are replaced: two denoisers would take gigabytes.

    Whoever arranges a graph otherwise for a format works on such a copy: the original is what the result is measured
    against.
    """
    shared = itertools.chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def inverse_frequencies(count: int, base: float = ROTARY_BASE) -> Tensor:
    """Radians a position by which `count` pairs of channels are rotated, (count,)."""
    return 1.0 / base ** (torch.arange(0, 2 * count, 2, device="cpu").float() / (2 * count))


class RotaryEmbedding(nn.Module):
    """Cosines and sines of the rotary angles, (length, R/2) each, for positions from 0.

    The tables are constants, so they are made on the CPU even while the module is built without memory.
    """

    cos: Tensor
    sin: Tensor
    inv_freq: Tensor

    def __init__(self, rotated_dim: int, max_length: int, base: float = ROTARY_BASE, *, stored: bool = True):
        super().__init__()
        inv_freq = inverse_frequencies(rotated_dim // 2, base)
        # fp32 angles, as in the reference; in bf16 the late positions of a long clip would be radians off.
        angles = torch.arange(max_length, device="cpu").float()[:, None] * inv_freq
        self.register_buffer("inv_freq", inv_freq, persistent=stored)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        return self.cos[:length], self.sin[:length]


class RMSNorm(nn.Module):
    """x / rms(x) * gamma."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Normalise the last axis; `scale` multiplies gamma by 1 + scale (adaptive norms)."""
        gamma = self.gamma if scale is None else self.gamma * (1 + scale)
        return ops.rms_norm(x, gamma, self.eps)


class DynamicTanh(nn.Module):
    """gamma * tanh(alpha x) + beta, in the place of a norm. A factor that is None is in a linear layer beside it."""

    alpha: nn.Parameter | None
    gamma: nn.Parameter | None
    beta: nn.Parameter | None

    def __init__(self, dim: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        self.gamma = nn.Parameter(torch.ones(dim))
        self.beta = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        squashed = torch.tanh(x if self.alpha is None else self.alpha * x)
        return squashed if self.gamma is None or self.beta is None else self.gamma * squashed + self.beta

    def fold_into_next(self, linear: nn.Linear) -> None:
        """Leave gamma and beta to the one layer that reads the norm."""
        assert self.gamma is not None
        assert self.beta is not None
        shift = linear.weight @ self.beta
        linear.bias = nn.Parameter(shift if linear.bias is None else linear.bias + shift, requires_grad=False)
        linear.weight = nn.Parameter(linear.weight * self.gamma, requires_grad=False)
        self.gamma = self.beta = None


def equal_parts(stacked: Tensor, count: int) -> list[Tensor]:
    """The parts of a fused weight. Slices, not chunks: exporters fold a slice of a constant, not a split."""
    size = stacked.shape[0] // count
    return [stacked[index * size : (index + 1) * size] for index in range(count)]


class HiddenScale(NamedTuple):
    """A tensor inside a module: made linearly by `rows` of `writer` and read by `reader` alone, so that its channels
    may be scaled down in the one and up in the other."""

    writer: nn.Linear
    rows: slice
    reader: nn.Linear

    def divide(self, scale: Tensor) -> None:
        """Divide the channels of the tensor by `scale`, and leave what the reader makes of it as it was."""
        writer, reader = self.writer, self.reader
        for name, parameter in list(writer.named_parameters()):
            scaled = parameter.detach().clone()
            scaled[self.rows] /= scale.view(-1, *[1] * (scaled.ndim - 1))
            setattr(writer, name, nn.Parameter(scaled, requires_grad=False))
        reader.weight = nn.Parameter(reader.weight * scale, requires_grad=False)


class _GLU(nn.Module):
    def __init__(self, dim: int, inner_dim: int, *, sine: bool):
        super().__init__()
        self.sine = sine
        self.proj = nn.Linear(dim, 2 * inner_dim)

    def forward(self, x: Tensor) -> Tensor:
        # Two products on the halves of the weight: splitting one wide result would copy it.
        weights, biases = equal_parts(self.proj.weight, 2), equal_parts(self.proj.bias, 2)
        value, gate = (F.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))
        return value * (torch.sin(math.pi * gate) if self.sine else F.silu(gate))


class FeedForward(nn.Module):
    """SwiGLU: (value * silu(gate)) W + b; the gate is the second half of the first projection. With `sine` the gate is
    sin(pi * gate)."""

    def __init__(self, dim: int, inner_dim: int, *, sine: bool = False):
        super().__init__()
        # Index 1 is a rearrangement without weights in the reference, hence the checkpoint's ff.0 and ff.2.
        self.ff = nn.Sequential(_GLU(dim, inner_dim, sine=sine), nn.Identity(), nn.Linear(inner_dim, dim))

    @property
    def input_projection(self) -> nn.Linear:
        """The layer that reads x: value and gate."""
        return member(_GLU, self.ff, 0).proj

    @property
    def output_projection(self) -> nn.Linear:
        return member(nn.Linear, self.ff, 2)

    @property
    def hidden(self) -> HiddenScale:
        """value * f(gate): in proportion to value."""
        reader = self.output_projection
        return HiddenScale(self.input_projection, slice(reader.in_features), reader)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ff(x)
        return out


def mlp(in_dim: int, dim: int, out_dim: int | None = None, *, bias: bool) -> nn.Sequential:
    """Linear, SiLU, Linear."""
    return nn.Sequential(nn.Linear(in_dim, dim, bias=bias), nn.SiLU(), nn.Linear(dim, out_dim or dim, bias=bias))


class ExpoFourierFeatures(nn.Module):
    """[cos(2 pi f x), sin(2 pi f x)] for frequencies spaced evenly in log between 0.5 and 10000."""

    frequencies: Tensor

    def __init__(self, dim: int):
        super().__init__()
        # Rounded as the reference rounds: at 10000 Hz the last bit of a frequency is a visible angle.
        ramp = torch.linspace(0, 1, dim // 2, device="cpu")
        frequencies = (ramp * (math.log(10000.0) - math.log(0.5)) + math.log(0.5)).exp()
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # (B,) -> (B, dim)
        # Not to be merged into one constant: rounded that way, the angles at 10000 Hz are 40 dB worse.
        angles = ops.rounded_here(x[:, None] * self.frequencies) * (2 * math.pi)
        return torch.cat((angles.cos(), angles.sin()), dim=-1)


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """(B, S, H*D) -> (B, S, H, D)."""
    return x.reshape(*x.shape[:-1], -1, head_dim)


def projections(x: Tensor, linear: nn.Linear, count: int, head_dim: int) -> list[Tensor]:
    """Each of the `count` equal parts of a fused projection of x, split into heads."""
    weights = equal_parts(linear.weight, count)
    biases = [None] * count if linear.bias is None else equal_parts(linear.bias, count)
    return [split_heads(F.linear(x, weight, bias), head_dim) for weight, bias in zip(weights, biases, strict=True)]


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys, values (B, S, H, D) -> (B, S, H, D)


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; with `differential`, by one pair of queries and keys minus by another, over
    the same values."""

    def __init__(self, dim: int, head_dim: int, norm: Callable[[], nn.Module], *, differential: bool):
        super().__init__()
        self.head_dim, self.differential = head_dim, differential
        self.to_qkv = nn.Linear(dim, (5 if differential else 3) * dim, bias=False)  # q, k, v, and q, k to subtract
        self.to_out = nn.Linear(dim, dim, bias=False)
        self.q_norm, self.k_norm = norm(), norm()

    @property
    def hidden(self) -> HiddenScale:
        """What is attended: means of values, the third part of the projection."""
        width = self.to_out.in_features
        return HiddenScale(self.to_qkv, slice(2 * width, 3 * width), self.to_out)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """x (B, S, W); `attend` rotates by position what it is given, and says who attends to whom."""
        q, k, v, *subtracted = projections(x, self.to_qkv, 5 if self.differential else 3, self.head_dim)
        attended = attend(self.q_norm(q), self.k_norm(k), v)
        if self.differential:
            q, k = subtracted
            attended = attended - attend(self.q_norm(q), self.k_norm(k), v)
        out: Tensor = self.to_out(attended.flatten(2))
        return out
