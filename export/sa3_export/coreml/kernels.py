"""The operators in the spelling that Core ML fuses and that fp16 survives."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class CoreMLKernels:
    """Attention as one fused operator, one batch; a norm whose squares stay within [0, 1]."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        # Windows become heads: the fused operator is wrong on the GPU of macOS 26.2 for batches of 10 and more
        # (coremltools issue 2650). No explicit scale: coremltools would take the operator apart.
        batch, length, heads, dim = q.shape
        if bias is not None:
            if bias.ndim == 2:
                bias = bias[None, None]  # (1, 1, 1, K)
            else:
                bias = bias.expand(-1, heads, -1, -1).reshape(1, -1, length, k.shape[1])
        q, k, v = (x.transpose(1, 2).reshape(1, -1, x.shape[1], dim) for x in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, bias)
        return attended.reshape(batch, heads, -1, dim).transpose(1, 2)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        # Core ML's own lowering adds eps to the scaled row: NaN on a zero row, 5 % off at an rms of 1e-2.
        # Scaled by the row's maximum and eps by the same, nothing here exceeds 1, in fp16 or out of it.
        root_eps = math.sqrt(eps)
        largest = x.abs().amax(dim=-1, keepdim=True).clamp(min=root_eps)
        scaled = x / largest
        scaled_root_eps = torch.tensor(root_eps) / largest  # not a reciprocal: the operator would add an eps
        mean = (scaled * scaled).mean(dim=-1, keepdim=True) + scaled_root_eps * scaled_root_eps
        return scaled * torch.rsqrt(mean) * weight

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = cos.shape[-1]
        cos, sin = cos[:, None, :], sin[:, None, :]
        first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        parts = [first * cos - second * sin, second * cos + first * sin]
        return torch.cat([*parts, rest] if x.shape[-1] > 2 * half else parts, dim=-1)

    def rounded_here(self, x: Tensor) -> Tensor:
        return x
