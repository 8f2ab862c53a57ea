"""The encoder of T5Gemma (Gemma 2 style), for one prompt without padding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa3_export.config.t5gemma import TextEncoderConfig
from sa3_export.networks import kernels as ops
from sa3_export.networks.layers import HiddenScale, RotaryEmbedding, split_heads


class _RMSNorm(nn.Module):
    """Gemma stores a norm's scale as its difference from 1."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, 1 + self.weight, self.eps)


class _Attention(nn.Module):
    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        self.config = config
        inner = config.num_attention_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # (1, n, W)
        config = self.config
        q, k, v = (split_heads(project(x), config.head_dim) for project in (self.q_proj, self.k_proj, self.v_proj))
        # Attention divides by sqrt(head_dim); Gemma may want another divisor. The config's soft cap on the logits
        # is not computed: the reference runs under PyTorch's fused attention, which has none (its outputs agree
        # with ours to 4e-7 without the cap, to 6e-4 with it).
        rescale = (config.head_dim / config.query_pre_attn_scalar) ** 0.5
        if rescale != 1:
            q = q * rescale
        attended = ops.attention(ops.rotary(q, cos, sin), ops.rotary(k, cos, sin), v)
        out: Tensor = self.o_proj(attended.flatten(2))
        return out


class _MLP(nn.Module):
    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    @property
    def hidden(self) -> HiddenScale:
        """gelu(gate) * up: in proportion to up."""
        return HiddenScale(self.up_proj, slice(None), self.down_proj)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))
        return out


class _Layer(nn.Module):
    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        dim, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = _Attention(config)
        self.mlp = _MLP(config)
        self.pre_self_attn_layernorm = _RMSNorm(dim, eps)
        self.post_self_attn_layernorm = _RMSNorm(dim, eps)
        self.pre_feedforward_layernorm = _RMSNorm(dim, eps)
        self.post_feedforward_layernorm = _RMSNorm(dim, eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.post_self_attn_layernorm(self.self_attn(self.pre_self_attn_layernorm(x), cos, sin))
        out: Tensor = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        return out


class TextEncoder(nn.Module):
    """Token ids (1, n) -> hidden states (1, n, W)."""

    def __init__(self, config: TextEncoderConfig, max_tokens: int):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = _RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = RotaryEmbedding(config.head_dim, max_tokens, config.rope_theta, stored=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        # The table keeps the checkpoint's bf16: half the bytes, and its rows widen without loss.
        x = self.embed_tokens(input_ids).float() * self.config.hidden_size**0.5
        rotary = self.rotary(input_ids.shape[1])
        for layer in self.layers:
            x = layer(x, *rotary)
        out: Tensor = self.norm(x)
        return out
