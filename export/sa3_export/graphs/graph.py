"""The five graphs of a bundle: what goes in, what comes out, and which part of the checkpoint computes it.

A graph's inputs and outputs are named and shaped here, once; exporters, parity checks and the manifest follow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sa3_edge.manifest import GraphName, Tiles, Tiling
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.config.model import ModelConfig
from sa3_export.networks.conditioners import Conditioners
from sa3_export.networks.dit import Conditioning, DiffusionTransformer
from sa3_export.networks.same import Autoencoder
from sa3_export.networks.t5gemma import TextEncoder

Shape = tuple[int | str, ...]

_TILE_FRAMES = 64  # about 20 MB of activations; shorter tiles repeat more overlap, longer ones gain nothing


_FIXED_VALUES = {"t": 0.63, "seconds": 30.25, "padding_scale": 1.0}  # of inputs that are no random numbers


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. A string in the shape is an axis whose length may change from call to call.

    Integers are token ids, below `vocabulary`.
    """

    name: str
    shape: Shape
    dtype: torch.dtype = torch.float32
    vocabulary: int = 256

    def example(self, sizes: Mapping[str, int], generator: torch.Generator) -> Tensor:
        """Values as they are met in use, for concrete axis lengths; what int8 loses depends on their size."""
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in self.shape]
        if self.name in _FIXED_VALUES:
            return torch.full(shape, _FIXED_VALUES[self.name])
        if self.dtype == torch.int64:
            return torch.randint(0, self.vocabulary, shape, generator=generator)
        values = torch.randn(shape, generator=generator)
        # Keys are normalised, then divided by sqrt(head_dim).
        return values * shape[2] ** -0.5 if self.name == "cross_k" else values


@dataclass(frozen=True)
class Axes:
    """Of what length all named axes of a graph's inputs and outputs are, for one length of the leading axis.

    At its longest all are: those are the bounds of what a graph is asked for.
    """

    max_tokens: int
    max_frames: int
    samples_per_frame: int
    memory_tokens: int

    @classmethod
    def of(cls, config: ModelConfig) -> "Axes":
        return cls(
            config.conditioner.max_tokens, config.max_frames, config.samples_per_frame, config.dit.num_memory_tokens
        )

    def sizes(self, graph: GraphName, length: int) -> dict[str, int]:
        match graph:
            case "text_encoder":
                return {"tokens": length}
            case "conditioner":
                # Each token count meets another number of frames: 1 (text to audio), and the most the most.
                frames = self.max_frames if length == self.max_tokens else min(length, self.max_frames)
                rows = self.memory_tokens + frames
                return {"tokens": length, "keys": length + 2, "local_frames": frames, "rows": rows}
            case "denoiser":
                keys = (self.max_tokens if length == self.max_frames else min(length, self.max_tokens)) + 2
                return {"frames": length, "keys": keys, "rows": self.memory_tokens + length}
            case "decoder":
                return {"frames": length, "samples": length * self.samples_per_frame}
            case "encoder":
                return {"samples": length, "frames": length // self.samples_per_frame}


def _up_to(longest: int, *lengths: int) -> tuple[int, ...]:
    """Those of the lengths that a graph can take, and the longest."""
    return tuple(sorted({*(length for length in lengths if length < longest), longest}))


@dataclass(frozen=True)
class Graph:
    """A graph to export.

    `sizes` gives the lengths of all dynamic axes for one leading length; `lengths` are those that parity is
    measured at; `longest` bounds the leading axis, `step` is its granularity. `reference` says what `module` is.
    `arranged` computes what `module` defines, faster; None where there is no such arrangement. `tiles`: how a host cuts
    a clip for it, None for a graph that runs on the whole.
    """

    name: GraphName
    description: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    leading_axis: str
    longest: int
    step: int
    lengths: tuple[int, ...]
    sizes: Callable[[int], dict[str, int]]
    reference: str = "PyTorch"
    arranged: nn.Module | None = None
    tiles: Tiles | None = None

    @property
    def traced(self) -> nn.Module:
        """The module that is exported; `module` is what the result is measured against."""
        return self.module if self.arranged is None else self.arranged

    def example(self, length: int, seed: int = 0) -> dict[str, Tensor]:
        """Random inputs at one length of the leading axis."""
        generator = torch.Generator().manual_seed(seed)
        sizes = self.sizes(length)
        return {spec.name: spec.example(sizes, generator) for spec in self.inputs}


class _TextEncoderGraph(nn.Module):
    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(input_ids)
        return hidden


class _ConditionerGraph(nn.Module):
    def __init__(self, conditioners: Conditioners, dit: DiffusionTransformer):
        super().__init__()
        self.conditioners, self.dit = conditioners, dit

    def forward(
        self,
        hidden: Tensor,
        text_mask: Tensor,
        padding_scale: Tensor,
        seconds: Tensor,
        inpaint_mask: Tensor,
        inpaint_masked_input: Tensor,
    ) -> tuple[Tensor, ...]:
        tokens, bias = self.conditioners.prompt(hidden, text_mask, padding_scale)
        duration = self.conditioners.seconds_total(seconds)
        context = torch.cat((tokens, duration[None]), dim=1)
        local = torch.cat((inpaint_mask, inpaint_masked_input), dim=1)
        key_bias = torch.cat((bias, torch.zeros(1)))
        return (*self.dit.condition(context, duration, local), key_bias)


class _DenoiserGraph(nn.Module):
    def __init__(self, dit: DiffusionTransformer):
        super().__init__()
        self.dit = dit

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        cross_k: Tensor,
        cross_v: Tensor,
        global_embed: Tensor,
        local_embed: Tensor,
        key_bias: Tensor,
        frame_bias: Tensor | None = None,  # for targets of fixed lengths, see DiffusionTransformer.denoise
    ) -> Tensor:
        conditioning = Conditioning(cross_k, cross_v, global_embed, local_embed)
        return self.dit.denoise(x, t, conditioning, key_bias, frame_bias)


class _DecoderGraph(nn.Module):
    def __init__(self, autoencoder: Autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)


class _EncoderGraph(nn.Module):
    def __init__(self, autoencoder: Autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, audio: Tensor) -> Tensor:
        return self.autoencoder.encode(audio)


def _text_encoder(checkpoint: Checkpoint) -> Graph:
    config = checkpoint.config.conditioner
    vocabulary = checkpoint.text_config.vocab_size
    return Graph(
        name="text_encoder",
        description="Token ids of a prompt, without padding, to hidden states.",
        module=_TextEncoderGraph(checkpoint.text_encoder()),
        inputs=(TensorSpec("input_ids", (1, "tokens"), torch.int64, vocabulary),),
        outputs=(TensorSpec("hidden", (1, "tokens", config.text_dim)),),
        leading_axis="tokens",
        longest=config.max_tokens,
        step=1,
        lengths=_up_to(config.max_tokens, 1, 7),
        sizes=partial(Axes.of(checkpoint.config).sizes, "text_encoder"),
    )


def _conditioning_specs(config: ModelConfig) -> tuple[TensorSpec, ...]:
    """What the conditioner hands to the denoiser."""
    dit = config.dit
    return (
        TensorSpec("cross_k", (dit.depth, dit.num_heads, dit.head_dim, "keys")),
        TensorSpec("cross_v", (dit.depth, dit.num_heads, "keys", dit.head_dim)),
        TensorSpec("global_embed", (1, dit.embed_dim)),
        TensorSpec("local_embed", (dit.depth, "rows", dit.embed_dim)),
        TensorSpec("key_bias", ("keys",)),
    )


def _conditioner(checkpoint: Checkpoint) -> Graph:
    config = checkpoint.config
    text_dim, max_tokens = config.conditioner.text_dim, config.conditioner.max_tokens
    return Graph(
        name="conditioner",
        description="All that the steps of a run share: cross-attention keys and values, duration, inpainting.",
        module=_ConditionerGraph(checkpoint.conditioners(), checkpoint.dit()),
        inputs=(
            TensorSpec("hidden", (1, "tokens", text_dim)),
            TensorSpec("text_mask", (1, "tokens")),
            TensorSpec("padding_scale", (1,)),
            TensorSpec("seconds", (1,)),
            TensorSpec("inpaint_mask", (1, 1, "local_frames")),
            TensorSpec("inpaint_masked_input", (1, config.latent_channels, "local_frames")),
        ),
        outputs=_conditioning_specs(config),
        leading_axis="tokens",
        longest=max_tokens,
        step=1,
        lengths=_up_to(max_tokens, 1, 7),
        sizes=partial(Axes.of(config).sizes, "conditioner"),
    )


def _denoiser(checkpoint: Checkpoint) -> Graph:
    config = checkpoint.config
    latents: Shape = (1, config.latent_channels, "frames")
    return Graph(
        name="denoiser",
        description="The velocity of latents x at time t.",
        module=_DenoiserGraph(checkpoint.dit()),
        inputs=(TensorSpec("x", latents), TensorSpec("t", (1,)), *_conditioning_specs(config)),
        outputs=(TensorSpec("velocity", latents),),
        leading_axis="frames",
        longest=config.max_frames,
        step=1,
        # The longest clip too: its last frames are where rotary angles are largest.
        lengths=_up_to(config.max_frames, 1, 7, 118),
        sizes=partial(Axes.of(config).sizes, "denoiser"),
    )


def tiling(config: ModelConfig) -> Tiling:
    """How a host cuts clips for the decoder and the encoder.

    The shifted grid makes half a window wrong at each end of a tile. Decoding, the convolution after it reaches one
    patch further: a window of overlap is enough. Encoding, the convolution comes first: a wrong patch is carried
    through its window of the one grid and half a window on by the other, so it takes two.
    """

    def tiles(window: int, overlap: int) -> Tiles:
        return Tiles(frames=max(_TILE_FRAMES // window, 1) * window, overlap=overlap, multiple=window)

    decoder, encoder = (part.multiple for part in (config.autoencoder.decoder, config.autoencoder.encoder))
    return Tiling(decoder=tiles(decoder, decoder), encoder=tiles(encoder, 2 * encoder))


def _decoder(checkpoint: Checkpoint) -> Graph:
    config, autoencoder = checkpoint.config, checkpoint.autoencoder()
    tiles = tiling(config).decoder
    return Graph(
        name="decoder",
        description="An even number of latent frames to audio.",
        module=_DecoderGraph(autoencoder),
        arranged=_DecoderGraph(autoencoder.folded()),
        inputs=(TensorSpec("latents", (1, config.latent_channels, "frames")),),
        outputs=(TensorSpec("audio", (1, config.autoencoder.audio_channels, "samples")),),
        leading_axis="frames",
        longest=config.max_frames,
        step=tiles.multiple,
        lengths=_up_to(min(40, config.max_frames), 2, 8),
        sizes=partial(Axes.of(config).sizes, "decoder"),
        tiles=tiles,
    )


def _encoder(checkpoint: Checkpoint) -> Graph:
    config, autoencoder = checkpoint.config, checkpoint.autoencoder()
    tiles = tiling(config).encoder
    return Graph(
        name="encoder",
        description="Audio of an even number of frames to latents.",
        module=_EncoderGraph(autoencoder),
        arranged=_EncoderGraph(autoencoder.folded()),
        inputs=(TensorSpec("audio", (1, config.autoencoder.audio_channels, "samples")),),
        outputs=(TensorSpec("latents", (1, config.latent_channels, "frames")),),
        leading_axis="samples",
        longest=config.max_frames * config.samples_per_frame,
        step=tiles.multiple * config.samples_per_frame,
        lengths=tuple(frames * config.samples_per_frame for frames in _up_to(min(40, config.max_frames), 2, 8)),
        sizes=partial(Axes.of(config).sizes, "encoder"),
        tiles=tiles,
    )


# Built one at a time: the caller drops a graph's weights before it asks for the next.
GRAPHS: dict[GraphName, Callable[[Checkpoint], Graph]] = {
    "text_encoder": _text_encoder,
    "conditioner": _conditioner,
    "denoiser": _denoiser,
    "decoder": _decoder,
    "encoder": _encoder,
}
