"""The demo's networks, and their forward pass in batches: the project's own modules, as training needs them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa3_edge.manifest import MASKED_LOGIT
from sa3_export.checkpoints.demo.clock import Clock
from sa3_export.config.model import ModelConfig
from sa3_export.config.t5gemma import TextEncoderConfig
from sa3_export.networks import kernels
from sa3_export.networks.conditioners import Conditioners
from sa3_export.networks.dit import DiffusionTransformer
from sa3_export.networks.layers import member, projections, split_heads
from sa3_export.networks.t5gemma import TextEncoder

_DURATIONS = 0.65  # of the frequencies of durations, the part that is used: periods of 1.2 s and more
Context = tuple[Tensor, Tensor, Tensor]  # tokens (B, S, W), bias of their logits (B, S), duration (B, W)


class _MaskedKeys(kernels.TorchKernels):
    """Attention of padded prompts: a bias (B, 1, 1, S) keeps the padding out."""

    def __init__(self, bias: Tensor):
        self._bias = bias

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, self._bias).transpose(1, 2)


class DemoNetworks(nn.Module):
    """Text encoder, conditioners and diffusion transformer, trained together."""

    def __init__(self, config: ModelConfig, text_config: TextEncoderConfig):
        super().__init__()
        self.config = config
        self.dit = DiffusionTransformer(config.dit, config.max_frames)
        self.conditioners = Conditioners(config.conditioner)
        self.text = TextEncoder(text_config, config.conditioner.max_tokens)
        self._initialise()
        self.clock = Clock(self.dit, config.dit, config.max_frames)
        self._look_past_padding()
        self.settle()

    @torch.no_grad()
    def _initialise(self) -> None:
        """All branches begin at zero, gates open; the latents go straight through the stream."""
        transformer = self.dit.transformer
        silent = ("to_out.weight", "ff.ff.2.weight", "ff.ff.2.bias", "o_proj.weight", "down_proj.weight")
        for name, parameter in self.named_parameters():
            if name.endswith(silent) or "to_local_embed.2" in name or "_conv." in name:
                parameter.zero_()
        channels = self.config.latent_channels
        for projection in (transformer.project_in.weight, transformer.project_out.weight.T):
            projection.zero_()
            projection[:channels] = torch.eye(channels)
        for layer in transformer.blocks:
            layer.to_scale_shift_gate.view(6, -1)[[2, 5]] = -1.0
        member(nn.Linear, transformer.global_cond_embedder, 2).weight.mul_(0.1)
        member(nn.Linear, transformer.global_cond_embedder, 2).bias.zero_()
        self.text.embed_tokens.weight.normal_(std=self.text.config.hidden_size**-0.5)
        self.conditioners.prompt.padding_embedding.normal_()
        member(nn.Linear, self.conditioners.seconds_total.embedder.embedding, 1).weight.mul_(2)

    @torch.no_grad()
    def settle(self) -> None:
        """Undo what a step of training did to what is to stay: the clock, and the numerics of durations.

        Fast frequencies have no weight: they tell a frame from the next, which is noise to what is learned. And the way
        into the modulation is small and straight: unused (durations are read by cross-attention), its units fall so far
        below zero that all they give is rounding.
        """
        self.clock.restore()
        seconds = member(nn.Linear, self.conditioners.seconds_total.embedder.embedding, 1)
        half = seconds.in_features // 2
        seconds.weight.mul_((torch.arange(half) < half * _DURATIONS).float().repeat(2))
        generator = torch.Generator().manual_seed(0)
        for index, size in ((0, 0.01), (2, 0.003)):
            weight = member(nn.Linear, self.dit.to_global_embed, index).weight
            weight.copy_(torch.randn(weight.shape, generator=generator) * size)

    @torch.no_grad()
    def _look_past_padding(self) -> None:
        """Queries begin as a constant that padding's key opposes: 250 pads would drown a prompt of three words."""
        padding = self.dit.to_cond_embed(self.conditioners.prompt.padding_embedding)
        padding = padding / padding.norm()
        for layer in self.dit.transformer.blocks[1:]:
            cross = layer.cross_attn
            cross.q_norm.gamma.fill_(1.5)
            cross.k_norm.gamma.fill_(1.5)
            toward = torch.randn(cross.to_q.out_features)
            cross.to_q.weight[:, self.clock.constant] = toward
            key = cross.to_kv.weight[: cross.to_q.out_features]
            key -= torch.outer(key @ padding + 4 * toward, padding)

    def context(self, ids: list[list[int]], seconds: Tensor, padding_scale: Tensor, context_scale: Tensor) -> Context:
        """Prompts as token ids, durations (B,) in seconds; scales (B,) of 0 leave out padding, or all context."""
        longest = max(1, *(len(each) for each in ids))
        tokens = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros(len(ids), longest, dtype=torch.bool)
        for row, each in enumerate(ids):
            tokens[row, : len(each)] = torch.tensor(each, dtype=torch.long)
            mask[row, : len(each)] = True
        seen = mask.clone()
        seen[:, 0] = True  # an empty prompt is not attended to below
        with kernels.use_kernels(_MaskedKeys(torch.where(seen, 0.0, MASKED_LOGIT)[:, None, None])):
            hidden = self.text(tokens)
        prompt = self.conditioners.prompt
        padding = prompt.padding_embedding * padding_scale[:, None, None]
        duration = self.conditioners.seconds_total(seconds)
        every = torch.cat((hidden, padding.expand(len(ids), 1, -1), duration[:, None]), dim=1)
        pads = (prompt.max_tokens - mask.sum(1, keepdim=True)).float().log()
        bias = torch.cat((torch.where(mask, 0.0, MASKED_LOGIT), pads, torch.zeros_like(pads)), dim=1)
        return every * context_scale[:, None, None], bias, duration

    def forward(self, x: Tensor, t: Tensor, context: Context, local: Tensor | None = None, offset: int = 0) -> Tensor:
        """Latents x (B, C, T) at times t (B,) -> velocity (B, C, T).

        local (B, T, 1 + C): what is kept; offset: frames of the clip before x, which are left out.
        """
        dit, transformer = self.dit, self.dit.transformer
        tokens, bias, duration = context
        embedded = dit.to_cond_embed(tokens)
        x = x + dit.preprocess_conv(x)
        memory = transformer.memory_tokens
        count = len(memory)
        h = torch.cat((memory.expand(len(x), -1, -1), transformer.project_in(x.transpose(1, 2))), dim=1)
        cos, sin = transformer.rotary_pos_emb(count + offset + x.shape[-1])
        if offset:
            cos, sin = (torch.cat((table[:count], table[count + offset :])) for table in (cos, sin))
        embed = dit.to_global_embed(duration) + dit.to_timestep_embed(dit.timestep_features(t))
        modulation = transformer.global_cond_embedder(embed)
        if local is None:
            local = x.new_zeros(1, 1, x.shape[1] + 1)
        key_bias = bias[:, None, None]

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return kernels.attention(kernels.rotary(q, cos, sin), kernels.rotary(k, cos, sin), v)

        for layer in transformer.blocks:
            parts = (layer.to_scale_shift_gate + modulation)[:, None].chunk(6, dim=-1)
            scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = parts
            attended = layer.self_attn(layer.pre_norm(h, scale_1) + shift_1, attend)
            h = h + attended * torch.sigmoid(1 - gate_1)
            cross = layer.cross_attn
            q = cross.q_norm(split_heads(cross.to_q(layer.cross_attend_norm(h)), cross.head_dim))
            k, v = projections(embedded, cross.to_kv, 2, cross.head_dim)
            q, k, v = (each.transpose(1, 2) for each in (q, cross.k_norm(k), v))
            heard = F.scaled_dot_product_attention(q, k, v, key_bias)
            h = h + cross.to_out(heard.transpose(1, 2).flatten(2))
            kept = layer.to_local_embed(local).expand(len(x), x.shape[-1], -1)
            h = h + F.pad(kept, (0, 0, count, 0))
            h = h + layer.ff(layer.ff_norm(h, scale_2) + shift_2) * torch.sigmoid(1 - gate_2)
        velocity = transformer.project_out(h[:, count:]).transpose(1, 2)
        out: Tensor = velocity + dit.postprocess_conv(velocity)
        return out
