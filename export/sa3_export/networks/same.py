"""SAME, the autoencoder: patches of a waveform to latent frames and back.

SAME-S works on windows of two frames, half the blocks on the grid and half on a grid shifted by a frame; SAME-L on one
sequence, each token attending to a frame's length on either side.
Noise that the reference adds while decoding is left out: a seed gives the same audio each time.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa3_edge.manifest import MASKED_LOGIT
from sa3_export.config.same import AutoencoderConfig, ResamplerConfig
from sa3_export.networks import kernels as ops
from sa3_export.networks.layers import (
    DynamicTanh,
    FeedForward,
    RotaryEmbedding,
    SelfAttention,
    member,
    with_the_same_weights,
)


def _fold_scales(attention: SelfAttention) -> None:
    """Leave the alphas of the norms of queries and keys to the projection that they follow."""
    q_norm, k_norm = attention.q_norm, attention.k_norm
    assert isinstance(q_norm, DynamicTanh)
    assert isinstance(k_norm, DynamicTanh)
    assert q_norm.alpha is not None
    assert k_norm.alpha is not None
    parts = (q_norm.alpha, k_norm.alpha, torch.ones(1), q_norm.alpha, k_norm.alpha)  # q, k, v, and q, k to subtract
    scales = torch.cat(parts).repeat_interleave(attention.to_out.in_features)
    attention.to_qkv.weight = nn.Parameter(attention.to_qkv.weight * scales[:, None], requires_grad=False)
    if attention.to_qkv.bias is not None:
        attention.to_qkv.bias = nn.Parameter(attention.to_qkv.bias * scales, requires_grad=False)
    q_norm.alpha = k_norm.alpha = None


class Block(nn.Module):
    """Tokens of a batch of windows, each attending to all of its own; with `sliding`, those of a sequence of frames,
    each attending to the tokens within a frame's length to either side."""

    def __init__(self, config: ResamplerConfig, *, sine: bool):
        super().__init__()
        self.sliding = config.frames_per_window is None
        self.frame_tokens = config.frame_tokens
        self.pre_norm = DynamicTanh(config.width)
        self.self_attn = SelfAttention(
            config.width, config.head_dim, partial(DynamicTanh, config.head_dim), differential=True
        )
        self.ff_norm = DynamicTanh(config.width)
        self.ff = FeedForward(config.width, config.ff_dim, sine=sine)
        # Only differences of positions count: a sliding window is three frames, wherever it is.
        self.rope = RotaryEmbedding(config.rotated_dim, (config.frames_per_window or 3) * config.frame_tokens)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (windows, tokens, W), or sliding (frames, tokens, W) and their `bias` (frames, 1, tokens, 3 tokens)."""

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return self._attend(q, k, v, bias)

        x = x + self.self_attn(self.pre_norm(x), attend)
        out: Tensor = x + self.ff(self.ff_norm(x))
        return out

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        cos, sin = self.rope.cos, self.rope.sin
        if not self.sliding:
            return ops.attention(ops.rotary(q, cos, sin), ops.rotary(k, cos, sin), v)
        middle = slice(self.frame_tokens, 2 * self.frame_tokens)
        k, v = _with_neighbours(k), _with_neighbours(v)
        return ops.attention(ops.rotary(q, cos[middle], sin[middle]), ops.rotary(k, cos, sin), v, bias)


def _with_neighbours(frames: Tensor) -> Tensor:
    """Frames (F, n, H, D) -> each between the one before and the one after (F, 3 n, H, D), zeros beyond the ends."""
    nothing = torch.zeros_like(frames[:1])
    padded = torch.cat((nothing, frames, nothing))
    return torch.cat((padded[:-2], frames, padded[2:]), dim=1)


class _SlidingWindow(nn.Module):
    """Who sees whom in a sequence of frames whose tokens see a frame's length to either side."""

    unreached: Tensor

    def __init__(self, tokens: int):
        super().__init__()
        self.tokens = tokens
        positions = torch.arange(3 * tokens, device="cpu")
        distance = positions[None] - positions[tokens : 2 * tokens, None]
        self.register_buffer("unreached", (distance.abs() > tokens).float() * MASKED_LOGIT, persistent=False)

    def bias(self, frames: Tensor) -> Tensor:
        """For frames (F, tokens, W): 0 on the logits of what is seen, MASKED_LOGIT and less on what is out of reach or
        beyond the ends. (F, 1, tokens, 3 tokens)"""
        there = frames[:, :1, :1] * 0
        beyond = there[:1] + MASKED_LOGIT
        before, after = torch.cat((beyond, there[1:])), torch.cat((there[1:], beyond))
        ends = torch.cat([each.expand(-1, -1, self.tokens) for each in (before, there, after)], dim=2)
        return self.unreached + ends[:, None]


class Resampler(nn.Module):
    """The shared middle: a frame is `stride` patches and one latent token."""

    def __init__(self, config: ResamplerConfig, in_channels: int, out_channels: int):
        super().__init__()
        self.config = config
        self.mapping = (
            nn.Conv1d(in_channels, out_channels, config.kernel_size, padding="same")
            if in_channels != out_channels
            else nn.Identity()
        )
        self.new_tokens = nn.Parameter(torch.zeros(1, 1, config.width))
        self.window = _SlidingWindow(config.frame_tokens)
        first_sine = config.depth - config.sine_blocks
        self.transformers = nn.ModuleList(Block(config, sine=index >= first_sine) for index in range(config.depth))

    @property
    def blocks(self) -> list[Block]:
        return [member(Block, self.transformers, index) for index in range(len(self.transformers))]

    def attend(self, frames: Tensor) -> Tensor:
        """Run the blocks over frames (n, 1 + stride, W), n whole windows."""
        width, tokens = self.config.width, self.config.frame_tokens
        if self.config.frames_per_window is None:
            bias = self.window.bias(frames)
            for block in self.transformers:
                frames = block(frames, bias)
            return frames
        window = self.config.frames_per_window * tokens
        on_grid = self.config.depth // 2
        x = frames.reshape(-1, window, width)
        for block in self.transformers[:on_grid]:
            x = block(x)
        # Shift the grid by half a window; the ends are filled with copies of themselves.
        x = x.reshape(-1, width)
        half = window // 2
        x = torch.cat((x[:half], x, x[-half:])).reshape(-1, window, width)
        for block in self.transformers[on_grid:]:
            x = block(x)
        return x.reshape(-1, width)[half:-half].reshape(-1, tokens, width)


class _EncoderStage(Resampler):
    def __init__(self, config: ResamplerConfig):
        super().__init__(config, config.patch_channels, config.width)

    def forward(self, patches: Tensor) -> Tensor:  # (1, patch channels, stride * n) -> (1, n, W)
        x = self.mapping(patches).transpose(1, 2).reshape(-1, self.config.stride, self.config.width)
        frames = torch.cat((x, self.new_tokens.expand(x.shape[0], -1, -1)), dim=1)
        return self.attend(frames)[:, -1][None]


class _DecoderStage(Resampler):
    def __init__(self, config: ResamplerConfig):
        super().__init__(config, config.width, config.patch_channels)

    def forward(self, x: Tensor) -> Tensor:  # (1, n, W) -> (1, patch channels, stride * n)
        frames = x.reshape(-1, 1, self.config.width)
        new_tokens = self.new_tokens.expand(frames.shape[0], self.config.stride, -1)
        frames = self.attend(torch.cat((frames, new_tokens), dim=1))[:, 1:]
        patches: Tensor = self.mapping(frames.reshape(1, -1, self.config.width).transpose(1, 2))
        return patches


class _Encoder(nn.Module):
    def __init__(self, config: ResamplerConfig):
        super().__init__()
        # The reference keeps a transposition at index 1 and after the projection.
        self.layers = nn.ModuleList((_EncoderStage(config), nn.Identity(), nn.Linear(config.width, config.latent_dim)))

    def forward(self, patches: Tensor) -> Tensor:
        stage, _, project = self.layers
        latents: Tensor = project(stage(patches)).transpose(1, 2)
        return latents


class _Decoder(nn.Module):
    def __init__(self, config: ResamplerConfig):
        super().__init__()
        self.layers = nn.ModuleList(
            (nn.Identity(), nn.Linear(config.latent_dim, config.width), nn.Identity(), _DecoderStage(config))
        )

    def forward(self, latents: Tensor) -> Tensor:
        _, project, _, stage = self.layers
        patches: Tensor = stage(project(latents.transpose(1, 2)))
        return patches


class _Bottleneck(nn.Module):
    noise_scaling_factor: Tensor
    running_std: Tensor

    def __init__(self, latent_dim: int):
        super().__init__()
        self.scaling_factor = nn.Parameter(torch.ones(1, latent_dim, 1))
        self.bias = nn.Parameter(torch.zeros(1, latent_dim, 1))
        self.register_buffer("noise_scaling_factor", torch.zeros(1, 0, 1))
        self.register_buffer("running_std", torch.ones(1))


class Autoencoder(nn.Module):
    """SAME with its patching and its bottleneck."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config.encoder)
        self.decoder = _Decoder(config.decoder)
        self.bottleneck = _Bottleneck(config.encoder.latent_dim)

    def encode(self, audio: Tensor) -> Tensor:
        """Audio (1, channels, N), N whole windows -> latents (1, C, N / samples per frame)."""
        # (1, channels, patches, patch_size)
        patches = audio.reshape(1, self.config.audio_channels, -1, self.config.patch_size)
        z = self.encoder(patches.transpose(2, 3).flatten(1, 2))
        bottleneck = self.bottleneck
        out: Tensor = (z * bottleneck.scaling_factor + bottleneck.bias) / bottleneck.running_std
        return out

    def folded(self) -> "Autoencoder":
        """The same function in fewer passes over the activations: what norms multiply by and add is in the linear
        layers beside them."""
        copied = with_the_same_weights(self)
        for block in copied.modules():
            if isinstance(block, Block):
                block.pre_norm.fold_into_next(block.self_attn.to_qkv)
                block.ff_norm.fold_into_next(block.ff.input_projection)
                _fold_scales(block.self_attn)
        return copied

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (1, C, n), n whole windows -> audio (1, channels, n * samples per frame)."""
        patches: Tensor = self.decoder(latents * self.bottleneck.running_std)  # (1, channels * patch_size, patches)
        split = patches.reshape(1, self.config.audio_channels, self.config.patch_size, -1)
        return split.transpose(2, 3).flatten(2)


def fold_weight_norm(weight_g: Tensor, weight_v: Tensor) -> Tensor:
    """The plain weight g * v / ||v||, the norm over all axes but the first."""
    return weight_g * F.normalize(weight_v.flatten(1), dim=1).view_as(weight_v)
