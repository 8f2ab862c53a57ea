"""The decoder's and the encoder's graphs, and the tiles that a host cuts a clip into for them."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from sa3_edge.manifest import Tiles, Tiling
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.config.model import ModelConfig
from sa3_export.config.same import ResamplerConfig
from sa3_export.graphs.graph import Axes, Graph, TensorSpec, up_to
from sa3_export.networks.same import Autoencoder

# SAME-S: about 20 MB of activations; shorter tiles repeat more overlap, longer ones gain nothing. SAME-L overlaps by 12
# frames: to a tile of 64 they add 37 % of work, to one of 128 19 %.
_WINDOWED_TILE_FRAMES, _SLIDING_TILE_FRAMES = 64, 128


class DecoderGraph(nn.Module):
    def __init__(self, autoencoder: Autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)


class EncoderGraph(nn.Module):
    def __init__(self, autoencoder: Autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, audio: Tensor) -> Tensor:
        return self.autoencoder.encode(audio)


def tiling(config: ModelConfig) -> Tiling:
    """How a host cuts clips for the decoder and the encoder.

    SAME-S: the shifted grid makes half a window wrong at each end of a tile. Decoding, the convolution after it reaches
    one patch further: a window of overlap is enough. Encoding, the convolution comes first: a wrong patch is carried
    through its window of the one grid and half a window on by the other, so it takes two.

    SAME-L: a token hears a frame's length to either side in each block, and its convolutions reach no further: as many
    frames as there are blocks, both ways, and a tile may begin on any frame.
    """
    decoder, encoder = config.autoencoder.decoder, config.autoencoder.encoder
    return Tiling(decoder=_tiles(decoder, windows=1), encoder=_tiles(encoder, windows=2))


def _tiles(resampler: ResamplerConfig, windows: int) -> Tiles:
    window = resampler.frames_per_window
    if window is None:
        return Tiles(frames=_SLIDING_TILE_FRAMES, overlap=resampler.depth, multiple=1)
    return Tiles(frames=max(_WINDOWED_TILE_FRAMES // window, 1) * window, overlap=windows * window, multiple=window)


def build_decoder(checkpoint: Checkpoint) -> Graph:
    """The decoder's graph, its weights loaded."""
    description = "Latent frames, a whole number of windows, to audio."
    latents, audio = _specs(checkpoint.config)
    return _build(checkpoint, "decoder", description, DecoderGraph, latents, audio, 1)


def build_encoder(checkpoint: Checkpoint) -> Graph:
    """The encoder's graph, its weights loaded."""
    description = "Audio of whole latent frames, a whole number of windows, to latents."
    latents, audio = _specs(checkpoint.config)
    return _build(checkpoint, "encoder", description, EncoderGraph, audio, latents, checkpoint.config.samples_per_frame)


def _specs(config: ModelConfig) -> tuple[TensorSpec, TensorSpec]:
    """Latents and audio."""
    return (
        TensorSpec("latents", (1, config.latent_channels, "frames")),
        TensorSpec("audio", (1, config.autoencoder.audio_channels, "samples")),
    )


def _build(
    checkpoint: Checkpoint,
    name: Literal["decoder", "encoder"],
    description: str,
    module: Callable[[Autoencoder], nn.Module],
    taken: TensorSpec,
    given: TensorSpec,
    per_frame: int,
) -> Graph:
    """The graph from `taken` to `given`; `per_frame`: how many of its leading axis are a latent frame."""
    config, autoencoder = checkpoint.config, checkpoint.autoencoder(name)
    tiles = tiling(config).decoder if name == "decoder" else tiling(config).encoder
    # Parity is measured at the shortest tile, a short one, one of several overlaps.
    lengths = up_to(min(40, config.max_frames), tiles.multiple, 8)
    leading_axis = taken.shape[2]
    assert isinstance(leading_axis, str)
    return Graph(
        name=name,
        description=description,
        module=module(autoencoder),
        arranged=module(autoencoder.folded()),
        inputs=(taken,),
        outputs=(given,),
        leading_axis=leading_axis,
        longest=config.max_frames * per_frame,
        step=tiles.multiple * per_frame,
        lengths=tuple(frames * per_frame for frames in lengths),
        sizes=partial(Axes.of(config).sizes, name),
        tiles=tiles,
    )
