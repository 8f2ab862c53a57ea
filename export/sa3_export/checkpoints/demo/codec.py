"""The demo's SAME autoencoder: its weights are written down, not trained.

The corpus is linear in its latents, so the codec has one exact answer: 16 linear maps, a map a patch of the frame. What
the architecture lacks is a way to say which patch a token is, and each side gets it in its first block: four attention
heads turn the rotary angles between a token and the frames' own tokens into four profiles over the window, and the MLP,
solved on the window's 34 places, writes a flag a patch and the parity of the frame.

Decoder: block 2 fetches the latents of the token's own frame (by parity, over the shifted grid), and its MLP has a
unit for each latent and each patch: latent times flag, which is 16 linear maps. The convolution is their basis.
Encoder, the transpose: block 2 has the same units over the coordinates of a patch, block 3 gathers a frame's patches.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa3_export.checkpoints.demo.atoms import CHANNELS, FRAME, bank
from sa3_export.checkpoints.demo.corpus import compose
from sa3_export.checkpoints.demo.examples import latent_scale
from sa3_export.networks import kernels
from sa3_export.networks.layers import member
from sa3_export.networks.same import Autoencoder, Block, Resampler

PATCH = 256
PATCHES = FRAME // PATCH
PLACE_UNITS = 384  # random hidden units on which the places are solved
# Gates of units: silu of 12 where the flag is 1, of -12 where it is 0. There, rounding of the flags hardly matters.
_GATE = 12.0
_ON = _GATE / (1 + math.exp(-_GATE))
_ALPHA = 0.01  # tanh stays straight up to about 20
_EMPHASIS = 0.9

# Channels of the residual stream.
_FLAG, _PROFILES, _CONSTANT, _PARITY, _OWN_PARITY, _PLACES, _FREE = 0, 1, 5, 6, 7, 8, 8 + PATCHES


def decoder_units(latents: int) -> int:
    return PATCHES * latents


@dataclass(frozen=True)
class _Side:
    """One side of the codec: its stage, its blocks and their sizes."""

    stage: Resampler
    width: int
    head: int

    @property
    def heads(self) -> int:
        return self.width // self.head

    def rows(self, part: str, head: int) -> slice:
        """Rows of a head in the fused projection."""
        start = ("q", "k", "v", "q_diff", "k_diff").index(part) * self.width + head * self.head
        return slice(start, start + self.head)


@torch.no_grad()
def write_codec(codec: Autoencoder) -> None:
    """Write all weights of `codec`, whose depths are 3 (encoder) and 2 (decoder)."""
    for name, parameter in codec.named_parameters():
        parameter.zero_()
        if name.endswith("_norm.alpha"):
            parameter.fill_(_ALPHA)
        elif name.endswith("_norm.gamma"):
            parameter.fill_(1 / _ALPHA)
    codec.bottleneck.scaling_factor.fill_(1.0)
    _write_decoder(codec)
    _write_encoder(codec)


def _write_places(side: _Side, block: Block, own_tokens: tuple[int, int], flags: tuple[float, float]) -> None:
    """Attention and MLP of a first block: what a token is, from where it lies in the window of two frames.

    own_tokens: the frames' own tokens; flags: what their flag channel holds, and that of patches
    """
    width, head, half = side.width, side.head, side.head // 4
    weight = block.self_attn.to_qkv.weight
    sharpness = 3.2
    for number, (frequency, phase) in enumerate(((0, 0.0), (0, math.pi / 2), (2, 0.7), (1, math.pi / 2))):
        q, k, v = (side.rows(part, number) for part in "qkv")
        weight[q][frequency, _CONSTANT] = sharpness * math.cos(phase)
        weight[q][half + frequency, _CONSTANT] = sharpness * math.sin(phase)
        weight[k][frequency, _CONSTANT] = weight[k][frequency, _FLAG] = sharpness / 2
        weight[v][0, _CONSTANT] = weight[v][0, _FLAG] = 0.5
        block.self_attn.to_out.weight[_PROFILES + number, number * head] = 20
    tokens = 2 * (PATCHES + 1)
    x = torch.zeros(1, tokens, width)
    x[..., _CONSTANT], x[..., _FLAG] = 1, flags[1]
    x[0, list(own_tokens), _FLAG] = flags[0]
    cos, sin = block.rope(tokens)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return kernels.attention(kernels.rotary(q, cos, sin), kernels.rotary(k, cos, sin), v)

    x = x + block.self_attn(block.pre_norm(x), attend)
    features = block.ff_norm(x)[0, :, :_CONSTANT]

    wanted = torch.zeros(tokens, 2 + PATCHES)
    for token in range(tokens):
        parity = 1.0 if token <= PATCHES else -1.0
        wanted[token, 0] = parity
        if token in own_tokens:
            wanted[token, 1] = parity
        else:
            first = own_tokens[0] == 0  # the own token comes before the patches, or after them
            wanted[token, 2 + (token % (PATCHES + 1)) - first] = 1
    # A random hidden layer and the smallest output weights that solve the 34 equations.
    generator = torch.Generator().manual_seed(0)
    mean, spread = features.mean(0), features.std(0) + 1e-6
    entering = torch.randn(2 * PLACE_UNITS, _CONSTANT, generator=generator) * 1.5 / spread
    bias = torch.randn(2 * PLACE_UNITS, generator=generator) - (entering * mean).sum(1)
    both = features @ entering.T + bias
    hidden = (both[:, :PLACE_UNITS] * F.silu(both[:, PLACE_UNITS:])).double()
    gram = hidden @ hidden.T
    gram += 1e-6 * PLACE_UNITS * hidden.square().mean() * torch.eye(tokens)
    leaving = (hidden.T @ torch.linalg.solve(gram, wanted.double())).float()
    glu, out = block.ff.input_projection, block.ff.output_projection
    for start, part in ((0, slice(0, PLACE_UNITS)), (out.in_features, slice(PLACE_UNITS, None))):
        glu.weight[start : start + PLACE_UNITS, :_CONSTANT] = entering[part]
        glu.bias[start : start + PLACE_UNITS] = bias[part]
    targets = [_PARITY, _OWN_PARITY, *range(_PLACES, _PLACES + PATCHES)]
    out.weight[targets, :PLACE_UNITS] = leaving.T


def _convolution(stage: Resampler) -> nn.Conv1d:
    assert isinstance(stage.mapping, nn.Conv1d)
    return stage.mapping


def _patches_of_atoms() -> Tensor:
    """Waveforms of unit latents, patch by patch: (16, latents, 512), channel-major as the network has them."""
    waves = torch.from_numpy(bank().waves / latent_scale()[:, None]).double()
    split = waves.view(-1, CHANNELS, PATCHES, PATCH)
    return split.permute(2, 0, 1, 3).reshape(PATCHES, -1, CHANNELS * PATCH)


def _latent_covariance() -> Tensor:
    songs = [compose(np.random.default_rng([11, index]), 128).activations for index in range(200)]
    latents = torch.from_numpy(np.concatenate(songs) * latent_scale()).double()
    covariance = latents.T @ latents / len(latents)
    return covariance + 1e-4 * torch.eye(len(covariance), dtype=torch.float64)


def _basis(patches: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The best `size` waveforms for the corpus's patches, to a pre-emphasised ear: (512, size), and the patches'
    coordinates (16, latents, size), which are of variance 1."""
    emphasis = torch.eye(PATCH, dtype=torch.float64) - _EMPHASIS * torch.diag(torch.ones(PATCH - 1), -1).double()
    emphasis = torch.kron(torch.eye(CHANNELS, dtype=torch.float64), emphasis)
    root = torch.linalg.cholesky(_latent_covariance())
    heard = (root.T @ patches @ emphasis.T).reshape(-1, patches.shape[-1])
    _, _, directions = torch.linalg.svd(heard, full_matrices=False)
    directions = directions[:size]
    coordinates = patches @ emphasis.T @ directions.T
    deviation = (root.T @ coordinates).square().sum(1).mean(0).sqrt() + 1e-5
    waves = torch.linalg.solve(emphasis, directions.T)
    return waves * deviation, coordinates / deviation


def _fetch(side: _Side, block: Block, first: int, key: int, size: int, gain: float, own: float) -> None:
    """Attention that reads `size` channels from `first` on from the tokens of the same frame: from its own token
    (own = 1) or from its patches (own = -1). What is subtracted looks where those channels are zero."""
    weight, middle = block.self_attn.to_qkv.weight, side.head // 2  # the first channel that is not rotated
    each = -(-size // side.heads)
    sharpness = 6.0  # its square, by sqrt(head), is the logit: 6.4 and -6.4; more would amplify rounding of the parity
    for head in range(side.heads):
        q, k, v, q_diff, k_diff = (side.rows(part, head) for part in ("q", "k", "v", "q_diff", "k_diff"))
        weight[q][middle, _PARITY] = weight[k][middle, key] = sharpness
        weight[q][middle + 1, _CONSTANT] = sharpness
        weight[k][middle + 1, _CONSTANT], weight[k][middle + 1, _FLAG] = sharpness / 2, own * sharpness / 2
        weight[q_diff][middle + 1, _CONSTANT] = sharpness
        weight[k_diff][middle + 1, _CONSTANT], weight[k_diff][middle + 1, _FLAG] = sharpness / 2, -own * sharpness / 2
        for index in range(each):
            channel = head * each + index
            if channel < size:
                weight[v][index, first + channel] = 1
                block.self_attn.to_out.weight[first + channel, head * side.head + index] = gain


def _open_at(glu: nn.Linear, gates: slice, patch: int) -> None:
    glu.weight[gates, _PLACES + patch] = 2 * _GATE
    glu.bias[gates] = -_GATE


def _write_decoder(codec: Autoencoder) -> None:
    net, config = codec.decoder, codec.config.decoder
    project, stage = member(nn.Linear, net.layers, 1), member(Resampler, net.layers, 3)
    side = _Side(stage, config.width, config.head_dim)
    latents, width = config.latent_dim, config.width
    first = width - latents  # channels of the latents
    project.weight[first:] = torch.eye(latents)
    project.bias[_FLAG] = project.bias[_CONSTANT] = 1
    stage.new_tokens[0, 0, _FLAG], stage.new_tokens[0, 0, _CONSTANT] = -1, 1
    place, draw = stage.blocks
    _write_places(side, place, (0, PATCHES + 1), (1.0, -1.0))
    _fetch(side, draw, first, _OWN_PARITY, latents, 1.0, 1.0)

    free = list(range(_PLACES, width))  # by now places and latents may be overwritten
    waves, coordinates = _basis(_patches_of_atoms(), len(free))
    _convolution(stage).weight[:, free, 1] = waves.float()
    glu, out = draw.ff.input_projection, draw.ff.output_projection
    hidden = out.in_features
    for patch in range(PATCHES):
        units = slice(patch * latents, (patch + 1) * latents)
        glu.weight[units, first:] = torch.eye(latents)
        _open_at(glu, slice(hidden + units.start, hidden + units.stop), patch)
        out.weight[free, units] = (coordinates[patch].T / _ON).float()
        out.weight[first:, units] -= torch.eye(latents) / _ON  # the fetched latents go
    # And the flags of the places: read by the convolution, they would be a click a patch.
    for patch in range(PATCHES):
        unit = PATCHES * latents + patch
        glu.weight[unit, _CONSTANT] = 1
        _open_at(glu, slice(hidden + unit, hidden + unit + 1), patch)
        out.weight[_PLACES + patch, unit] = -1 / _ON


def _write_encoder(codec: Autoencoder) -> None:
    net, config = codec.encoder, codec.config.encoder
    stage, project = member(Resampler, net.layers, 0), member(nn.Linear, net.layers, 2)
    side = _Side(stage, config.width, config.head_dim)
    latents, width = config.latent_dim, config.width
    first = width - latents
    mapping = _convolution(stage)
    assert mapping.bias is not None
    mapping.bias[_FLAG], mapping.bias[_CONSTANT] = -1, 1
    stage.new_tokens[0, 0, _FLAG] = stage.new_tokens[0, 0, _CONSTANT] = 1
    place, read, gather = stage.blocks
    _write_places(side, place, (PATCHES, 2 * PATCHES + 1), (1.0, -1.0))

    # The linear map that recovers the latents of a frame of the corpus, and of the patches what it mostly reads.
    patches = _patches_of_atoms()
    frames = patches.permute(1, 0, 2).flatten(1)
    inverse = torch.linalg.solve(frames @ frames.T, frames).view(latents, PATCHES, -1).permute(1, 0, 2)
    covariance = _latent_covariance()
    heard = torch.einsum("rlw,lm,rmv->wv", patches, covariance, patches) / PATCHES
    heard += torch.eye(len(heard)) * float(heard.diagonal().mean()) * 1e-3
    root = torch.linalg.cholesky(heard)
    size = first - _FREE
    _, _, directions = torch.linalg.svd((inverse @ root).reshape(-1, len(root)), full_matrices=False)
    # Orthonormal coordinates: white noise, which parity feeds, stays in the straight part of tanh.
    reading = torch.linalg.solve(root.T, directions[:size].T)
    orthonormal = torch.linalg.qr(reading).Q
    # Solved anew for these coordinates: exact on the corpus as far as they reach.
    seen = (patches @ orthonormal).permute(1, 0, 2).flatten(1)  # (latents, 16 * size)
    normal = seen @ seen.T
    normal += torch.eye(latents) * float(normal.diagonal().mean()) * 1e-6
    weights = torch.linalg.solve(normal, seen).view(latents, PATCHES, size).permute(1, 0, 2)
    mapping.weight[_FREE:first, :, 0] = orthonormal.T.float()
    glu, out = read.ff.input_projection, read.ff.output_projection
    hidden = out.in_features
    for patch in range(PATCHES):
        units = slice(patch * latents, (patch + 1) * latents)
        glu.weight[units, _FREE:first] = weights[patch].float()
        _open_at(glu, slice(hidden + units.start, hidden + units.stop), patch)
        out.weight[first:, units] = torch.eye(latents) / _ON
    _fetch(side, gather, first, _PARITY, latents, float(PATCHES), -1.0)
    project.weight[:, first:] = torch.eye(latents)
