"""Attention, norms and rotary embeddings as the fused operators that ONNX Runtime has CPU kernels for."""

import torch
from torch import Tensor
from torch.onnx.ops import symbolic

from sa3_export.networks.layers import split_heads

OPSET = 23  # the first with RMSNormalization and RotaryEmbedding
_CONTRIB_VERSION = 1


class OnnxKernels:
    """The fused operators. Heads travel folded into the last axis, as the operators take them."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        length, heads, head_dim = q.shape[1:]
        if bias is not None and bias.ndim == 2:
            raise NotImplementedError("ONNX graphs take any length, so no frame is ever masked")
        if isinstance(length, int):
            # Windows, a few tokens each: opset 23's operator, which is done with them sooner.
            operator, version, attributes = "Attention", OPSET, ("q_num_heads", "kv_num_heads")
        else:
            # Whole sequences: ONNX Runtime's own, whose kernel works in tiles; the other stores all logits.
            operator, version, attributes = "com.microsoft::MultiHeadAttention", _CONTRIB_VERSION, ("num_heads",)
        folded = [each.flatten(2) for each in (q, k, v)]
        shape = folded[0].shape
        if bias is not None:
            folded.append(bias)
        attended: Tensor = symbolic(
            operator,
            folded,
            dict.fromkeys(attributes, heads),
            dtype=q.dtype,
            shape=shape,
            version=version,
        )
        return split_heads(attended, head_dim)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        normalized: Tensor = symbolic(
            "RMSNormalization",
            (x, weight),
            {"axis": -1, "epsilon": eps},
            dtype=x.dtype,
            shape=x.shape,
            version=OPSET,
        )
        return normalized

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads, head_dim = x.shape[2:]
        rotated: Tensor = symbolic(
            "RotaryEmbedding",
            (x.flatten(2), cos.expand(x.shape[0], -1, -1), sin.expand(x.shape[0], -1, -1)),
            {"num_heads": heads, "rotary_embedding_dim": 2 * cos.shape[-1]},
            dtype=x.dtype,
            shape=x.flatten(2).shape,
            version=OPSET,
        )
        return split_heads(rotated, head_dim)

    def rounded_here(self, x: Tensor) -> Tensor:
        return torch.relu(x)  # OpenVINO multiplies constants across anything less
