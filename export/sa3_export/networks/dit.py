"""The diffusion transformer of small and medium, split into what all steps of a run share and what one step computes.

`condition` computes once what all steps share: the cross-attention keys and values of every layer, the projected
duration, the local (inpainting) embeddings. `denoise` is what is left to do in each step.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sa3_export.config.dit import DiTConfig
from sa3_export.networks import kernels as ops
from sa3_export.networks.layers import (
    ExpoFourierFeatures,
    FeedForward,
    RMSNorm,
    RotaryEmbedding,
    SelfAttention,
    member,
    mlp,
    projections,
    split_heads,
)

_NORM_EPS, _QK_NORM_EPS = 1e-5, 1e-6


class Conditioning(NamedTuple):
    """What every step of a run shares. S context keys, R = memory + T rows (or memory + 1: the last repeats)."""

    # (layers, heads, head_dim, S), divided by sqrt(head_dim); differential: then as many heads that are subtracted
    cross_k: Tensor
    cross_v: Tensor  # (layers, heads, S, head_dim)
    global_embed: Tensor  # (1, width)
    local_embed: Tensor  # (layers, R, width), zero on the memory tokens


class _CrossAttention(nn.Module):
    def __init__(self, dim: int, head_dim: int, *, differential: bool):
        super().__init__()
        self.head_dim, self.differential = head_dim, differential
        maps = 2 if differential else 1
        self.to_q = nn.Linear(dim, maps * dim, bias=False)  # q, and q of what is subtracted
        self.to_kv = nn.Linear(dim, (maps + 1) * dim, bias=False)  # k, k of what is subtracted, v
        self.to_out = nn.Linear(dim, dim, bias=False)
        self.q_norm = RMSNorm(head_dim, _QK_NORM_EPS)
        self.k_norm = RMSNorm(head_dim, _QK_NORM_EPS)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Context (1, S, W) -> scaled keys (H or 2 H, D, S), values (H, S, D)."""
        *keys, v = projections(context, self.to_kv, 3 if self.differential else 2, self.head_dim)
        k = torch.cat(keys, dim=2) if self.differential else keys[0]
        k = self.k_norm(k) * self.head_dim**-0.5
        return k[0].permute(1, 2, 0), v[0].permute(1, 0, 2)

    def forward(self, x: Tensor, k: Tensor, v: Tensor, key_bias: Tensor) -> Tensor:
        q = self.q_norm(split_heads(self.to_q(x), self.head_dim)).transpose(1, 2)  # (1, H or 2 H, S, D)
        weights = torch.softmax(q @ k + key_bias, dim=-1)
        if self.differential:
            heads = v.shape[0]
            weights = weights[:, :heads] - weights[:, heads:]
        out: Tensor = self.to_out((weights @ v).transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    def __init__(self, config: DiTConfig):
        super().__init__()
        dim = config.embed_dim
        self.to_scale_shift_gate = nn.Parameter(torch.zeros(6 * dim))
        self.pre_norm = RMSNorm(dim, _NORM_EPS)
        self.self_attn = SelfAttention(
            dim, config.head_dim, partial(RMSNorm, config.head_dim, _QK_NORM_EPS), differential=config.differential
        )
        self.cross_attend_norm = RMSNorm(dim, _NORM_EPS)
        self.cross_attn = _CrossAttention(dim, config.head_dim, differential=config.differential)
        self.to_local_embed = mlp(config.local_add_cond_dim, dim, bias=True)
        self.ff_norm = RMSNorm(dim, _NORM_EPS)
        self.ff = FeedForward(dim, config.ff_dim)

    def forward(
        self,
        h: Tensor,
        modulation: Tensor,
        rotary: tuple[Tensor, Tensor],
        cross: tuple[Tensor, Tensor, Tensor],
        local: Tensor,
        row_bias: Tensor | None,
    ) -> Tensor:
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = (self.to_scale_shift_gate + modulation).chunk(6)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return ops.attention(ops.rotary(q, *rotary), ops.rotary(k, *rotary), v, row_bias)

        attended = self.self_attn(self.pre_norm(h, scale_1) + shift_1, attend)
        h = h + attended * torch.sigmoid(1 - gate_1)
        h = h + self.cross_attn(self.cross_attend_norm(h), *cross)
        h = h + local
        fed: Tensor = self.ff(self.ff_norm(h, scale_2) + shift_2)
        return h + fed * torch.sigmoid(1 - gate_2)


class _Transformer(nn.Module):
    def __init__(self, config: DiTConfig, max_frames: int):
        super().__init__()
        dim = config.embed_dim
        self.memory_tokens = nn.Parameter(torch.zeros(config.num_memory_tokens, dim))
        self.project_in = nn.Linear(config.io_channels, dim, bias=False)
        self.project_out = nn.Linear(dim, config.io_channels, bias=False)
        self.rotary_pos_emb = RotaryEmbedding(config.rotated_dim, config.num_memory_tokens + max_frames)
        self.global_cond_embedder = mlp(dim, dim, 6 * dim, bias=True)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.depth))

    @property
    def blocks(self) -> list[Block]:
        return [member(Block, self.layers, index) for index in range(len(self.layers))]


class DiffusionTransformer(nn.Module):
    """Predicts the velocity of latents x at time t, given text, duration and what to keep."""

    def __init__(self, config: DiTConfig, max_frames: int):
        super().__init__()
        self.preprocess_conv = nn.Conv1d(config.io_channels, config.io_channels, 1, bias=False)
        self.postprocess_conv = nn.Conv1d(config.io_channels, config.io_channels, 1, bias=False)
        self.timestep_features = ExpoFourierFeatures(config.timestep_features_dim)
        self.to_timestep_embed = mlp(config.timestep_features_dim, config.embed_dim, bias=True)
        self.to_cond_embed = mlp(config.cond_token_dim, config.embed_dim, bias=False)
        self.to_global_embed = mlp(config.global_cond_dim, config.embed_dim, bias=False)
        self.transformer = _Transformer(config, max_frames)

    def condition(self, tokens: Tensor, global_cond: Tensor, local: Tensor) -> Conditioning:
        """Context tokens (1, S, cond), global (1, cond), local (1, 1 + C, L) with L = T or 1 -> Conditioning."""
        context = self.to_cond_embed(tokens)
        rows = local.transpose(1, 2)  # (1, L, 1 + C)
        no_memory = self.transformer.memory_tokens * 0
        keys, values, local_embeds = [], [], []
        for layer in self.transformer.blocks:
            k, v = layer.cross_attn.keys_values(context)
            keys.append(k)
            values.append(v)
            local_embeds.append(torch.cat((no_memory, layer.to_local_embed(rows)[0])))
        return Conditioning(
            torch.stack(keys),
            torch.stack(values),
            self.to_global_embed(global_cond),
            torch.stack(local_embeds),
        )

    def denoise(
        self,
        x: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        key_bias: Tensor,
        frame_bias: Tensor | None = None,
    ) -> Tensor:
        """Latents x (1, C, T) at times t (1,), key_bias (S,) on the cross-attention's logits -> velocity (1, C, T).

        For targets of fixed lengths, `frame_bias` (1, T) is added to the self-attention's logits of the frames'
        keys, MASKED_LOGIT on frames that are padding; the local embeddings then have all memory + T rows.
        """
        transformer = self.transformer
        memory = transformer.memory_tokens
        x = x + self.preprocess_conv(x)
        h = torch.cat((memory[None], transformer.project_in(x.transpose(1, 2))), dim=1)  # (1, memory + T, W)

        length = h.shape[1]
        rotary = transformer.rotary_pos_emb(length)
        local_embed, row_bias = conditioning.local_embed, None
        if frame_bias is None:
            # Text-to-audio has one local embedding for all frames: its last row stands for the rest.
            last_row = local_embed.shape[1] - 1
            rows = torch.arange(length).clamp(max=last_row)
        else:
            row_bias = torch.cat((torch.zeros(1, memory.shape[0]), frame_bias), dim=1)

        embed = conditioning.global_embed + self.to_timestep_embed(self.timestep_features(t))
        modulation = transformer.global_cond_embedder(embed)[0]
        for index, layer in enumerate(transformer.layers):
            cross = conditioning.cross_k[index], conditioning.cross_v[index], key_bias
            local = local_embed[index] if frame_bias is not None else local_embed[index].index_select(0, rows)
            h = layer(h, modulation, rotary, cross, local, row_bias)

        velocity: Tensor = transformer.project_out(h[:, memory.shape[0] :]).transpose(1, 2)
        postprocessed: Tensor = self.postprocess_conv(velocity)
        return velocity + postprocessed
