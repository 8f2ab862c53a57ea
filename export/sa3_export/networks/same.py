"""SAME-S, the autoencoder: patches of a waveform to latent frames and back.

Both directions work on windows of two frames, half the blocks on the grid and half on a grid shifted by a frame.
Noise that the reference adds while decoding is left out: a seed gives the same audio each time.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa3_export.config.same import AutoencoderConfig, ResamplerConfig
from sa3_export.networks import kernels as ops
from sa3_export.networks.layers import DynamicTanh, FeedForward, HiddenScale, RotaryEmbedding, projections


def _window_tokens(config: ResamplerConfig) -> int:
    assert config.frames_per_window is not None
    return config.frames_per_window * config.frame_tokens


class _DifferentialAttention(nn.Module):
    """Attention by one pair of queries and keys minus attention by another, over the same values."""

    def __init__(self, dim: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.to_qkv = nn.Linear(dim, 5 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)
        self.q_norm = DynamicTanh(head_dim)
        self.k_norm = DynamicTanh(head_dim)

    @property
    def hidden(self) -> HiddenScale:
        """What is attended: means of values, one minus the other, the third part of the projection."""
        width = self.to_out.in_features
        return HiddenScale(self.to_qkv, slice(2 * width, 3 * width), self.to_out)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v, q_diff, k_diff = projections(x, self.to_qkv, 5, self.head_dim)
        q, q_diff = (ops.rotary(self.q_norm(each), cos, sin) for each in (q, q_diff))
        k, k_diff = (ops.rotary(self.k_norm(each), cos, sin) for each in (k, k_diff))
        attended = ops.attention(q, k, v) - ops.attention(q_diff, k_diff, v)
        out: Tensor = self.to_out(attended.flatten(2))
        return out

    def fold_scales(self) -> None:
        """Leave the alphas of the norms of queries and keys to the projection that they follow."""
        q_scale, k_scale = self.q_norm.alpha, self.k_norm.alpha
        assert q_scale is not None
        assert k_scale is not None
        parts = (q_scale, k_scale, torch.ones(1), q_scale, k_scale)  # q, k, v, q_diff, k_diff
        scales = torch.cat(parts).repeat_interleave(self.to_out.in_features)
        self.to_qkv.weight = nn.Parameter(self.to_qkv.weight * scales[:, None], requires_grad=False)
        if self.to_qkv.bias is not None:
            self.to_qkv.bias = nn.Parameter(self.to_qkv.bias * scales, requires_grad=False)
        self.q_norm.alpha = self.k_norm.alpha = None


class _Block(nn.Module):
    def __init__(self, config: ResamplerConfig):
        super().__init__()
        self.pre_norm = DynamicTanh(config.width)
        self.self_attn = _DifferentialAttention(config.width, config.head_dim)
        self.ff_norm = DynamicTanh(config.width)
        self.ff = FeedForward(config.width, config.ff_dim)
        self.rope = RotaryEmbedding(config.rotated_dim, _window_tokens(config))

    def forward(self, x: Tensor) -> Tensor:  # (windows, tokens, W)
        x = x + self.self_attn(self.pre_norm(x), *self.rope(x.shape[1]))
        out: Tensor = x + self.ff(self.ff_norm(x))
        return out


class _Resampler(nn.Module):
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
        self.transformers = nn.ModuleList(_Block(config) for _ in range(config.depth))

    def attend(self, frames: Tensor) -> Tensor:
        """Run the blocks over frames (n, 1 + stride, W), n even."""
        width, tokens = self.config.width, 1 + self.config.stride
        window = _window_tokens(self.config)
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


class _EncoderStage(_Resampler):
    def __init__(self, config: ResamplerConfig):
        super().__init__(config, config.patch_channels, config.width)

    def forward(self, patches: Tensor) -> Tensor:  # (1, patch channels, stride * n) -> (1, n, W)
        x = self.mapping(patches).transpose(1, 2).reshape(-1, self.config.stride, self.config.width)
        frames = torch.cat((x, self.new_tokens.expand(x.shape[0], -1, -1)), dim=1)
        return self.attend(frames)[:, -1][None]


class _DecoderStage(_Resampler):
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
    """SAME-S with its patching and its bottleneck."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config.encoder)
        self.decoder = _Decoder(config.decoder)
        self.bottleneck = _Bottleneck(config.encoder.latent_dim)

    def encode(self, audio: Tensor) -> Tensor:
        """Audio (1, channels, N), N a multiple of two frames -> latents (1, C, N / samples per frame)."""
        # (1, channels, patches, patch_size)
        patches = audio.reshape(1, self.config.audio_channels, -1, self.config.patch_size)
        z = self.encoder(patches.transpose(2, 3).flatten(1, 2))
        bottleneck = self.bottleneck
        out: Tensor = (z * bottleneck.scaling_factor + bottleneck.bias) / bottleneck.running_std
        return out

    def folded(self) -> "Autoencoder":
        """The same function in fewer passes over the activations: what norms multiply by and add is in the linear
        layers beside them."""
        copied = copy.deepcopy(self)
        for block in copied.modules():
            if isinstance(block, _Block):
                block.pre_norm.fold_into_next(block.self_attn.to_qkv)
                block.ff_norm.fold_into_next(block.ff.input_projection)
                block.self_attn.fold_scales()
        return copied

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (1, C, n), n even -> audio (1, channels, n * samples per frame)."""
        patches: Tensor = self.decoder(latents * self.bottleneck.running_std)  # (1, channels * patch_size, patches)
        split = patches.reshape(1, self.config.audio_channels, self.config.patch_size, -1)
        return split.transpose(2, 3).flatten(2)


def fold_weight_norm(weight_g: Tensor, weight_v: Tensor) -> Tensor:
    """The plain weight g * v / ||v||, the norm over all axes but the first."""
    return weight_g * F.normalize(weight_v.flatten(1), dim=1).view_as(weight_v)
