"""The decoder's and the encoder's graphs, and the tiles that a host cuts a clip into for them."""

from functools import partial

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
    config, autoencoder = checkpoint.config, checkpoint.autoencoder("decoder")
    tiles = tiling(config).decoder
    return Graph(
        name="decoder",
        description="Latent frames, a whole number of windows, to audio.",
        module=DecoderGraph(autoencoder),
        arranged=DecoderGraph(autoencoder.folded()),
        inputs=(TensorSpec("latents", (1, config.latent_channels, "frames")),),
        outputs=(TensorSpec("audio", (1, config.autoencoder.audio_channels, "samples")),),
        leading_axis="frames",
        longest=config.max_frames,
        step=tiles.multiple,
        lengths=_lengths(tiles, config),
        sizes=partial(Axes.of(config).sizes, "decoder"),
        tiles=tiles,
    )


def build_encoder(checkpoint: Checkpoint) -> Graph:
    """The encoder's graph, its weights loaded."""
    config, autoencoder = checkpoint.config, checkpoint.autoencoder("encoder")
    tiles = tiling(config).encoder
    return Graph(
        name="encoder",
        description="Audio of whole latent frames, a whole number of windows, to latents.",
        module=EncoderGraph(autoencoder),
        arranged=EncoderGraph(autoencoder.folded()),
        inputs=(TensorSpec("audio", (1, config.autoencoder.audio_channels, "samples")),),
        outputs=(TensorSpec("latents", (1, config.latent_channels, "frames")),),
        leading_axis="samples",
        longest=config.max_frames * config.samples_per_frame,
        step=tiles.multiple * config.samples_per_frame,
        lengths=tuple(frames * config.samples_per_frame for frames in _lengths(tiles, config)),
        sizes=partial(Axes.of(config).sizes, "encoder"),
        tiles=tiles,
    )


def _lengths(tiles: Tiles, config: ModelConfig) -> tuple[int, ...]:
    """Where parity is measured: the shortest tile, a short one, one of several overlaps."""
    return up_to(min(40, config.max_frames), tiles.multiple, 8)
