"""The autoencoder's part of `model_config.json`: SAME-S, with windows of two frames, or SAME-L, with a sliding one."""

from dataclasses import dataclass

from sa3_export.config.section import MOST_LAYERS, Section, agree
from sa3_export.errors import CheckpointError

_WINDOW_FRAMES = 2  # of SAME-S
# The name that every published file gives to both halves; the reference never reads it.
_TYPE = "taae_v2"


@dataclass(frozen=True)
class ResamplerConfig:
    """One resampling stage, of the encoder or of the decoder.

    SAME-S: tokens attend within windows of `frames_per_window`, in the second half of the blocks on a grid that is
    shifted by half a window. SAME-L (`frames_per_window` None): to the tokens within a frame's length on either side.
    The last `sine_blocks` have a sine in the place of SiLU.
    """

    patch_channels: int  # channels of a patch: patch_size * audio channels
    width: int
    latent_dim: int
    stride: int  # patches a frame
    depth: int
    head_dim: int
    ff_dim: int
    frames_per_window: int | None
    kernel_size: int  # of the convolution between patches and width
    sine_blocks: int = 0

    @property
    def rotated_dim(self) -> int:
        """Of a head's channels, those that positions rotate."""
        return self.head_dim // 2

    @property
    def frame_tokens(self) -> int:
        """Tokens of a frame: its patches and its own latent token."""
        return self.stride + 1

    @property
    def multiple(self) -> int:
        """Sequences are whole multiples of this many frames."""
        return self.frames_per_window or 1


@dataclass(frozen=True)
class AutoencoderConfig:
    encoder: ResamplerConfig
    decoder: ResamplerConfig
    patch_size: int
    audio_channels: int
    samples_per_frame: int


def read_autoencoder(pretransform: Section, audio_channels: int) -> AutoencoderConfig:
    """Read `model.pretransform`. Raises CheckpointError, naming the key."""
    pretransform.only("type", "autoencoder")
    pretransform.only("scale", 1.0, 1, default=1.0)
    # Whether long clips go through in chunks: ours always do, as the bundle's tiles say.
    pretransform.ignore("iterate_batch", "model_half", "chunked", "enable_grad")
    config = pretransform.section("config")

    patches = config.section("pretransform")
    patches.only("type", "patched")
    patches.ignore("enable_grad")
    patch_config = patches.section("config")
    patch_size, patch_audio_channels = patch_config.size("patch_size"), patch_config.size("channels")
    patch_config.close()
    patches.close()
    agree({"audio_channels": audio_channels, "the patched pretransform's channels": patch_audio_channels})

    bottleneck = config.section("bottleneck")
    bottleneck.only("type", "softnorm")
    bottleneck.ignore("requires_grad")
    bottleneck_config = bottleneck.section("config")
    bottleneck_dim = bottleneck_config.size("dim")
    bottleneck_config.only("noise_augment_dim", 0, default=0)
    bottleneck_config.only("auto_scale", True, default=False)
    bottleneck_config.ignore("noise_regularize", "freeze")
    bottleneck_config.close()
    bottleneck.close()

    patch_channels = patch_size * audio_channels
    encoder = _resampler(config.section("encoder"), "in_channels", patch_channels)
    decoder = _resampler(config.section("decoder"), "out_channels", patch_channels)
    agree({"the bottleneck's dim": bottleneck_dim, "the encoder's latent_dim": encoder.latent_dim})
    latent_dim = config.size("latent_dim")
    agree({"the autoencoder's latent_dim": latent_dim, "the bottleneck's dim": bottleneck_dim})
    samples_per_frame = config.size("downsampling_ratio")
    config.only("io_channels", audio_channels)
    config.ignore("in_channels", "out_channels", "soft_clip")
    config.close()
    pretransform.close()
    for side in (encoder, decoder):
        agree({"downsampling_ratio": samples_per_frame, "patch_size * stride": patch_size * side.stride})
    return AutoencoderConfig(encoder, decoder, patch_size, audio_channels, samples_per_frame)


def _resampler(section: Section, patch_key: str, patch_channels: int) -> ResamplerConfig:
    section.only("type", _TYPE)
    section.ignore("requires_grad")
    config = section.section("config")
    agree({f"SAME's {patch_key}": config.size(patch_key, 2), "patch_size * audio channels": patch_channels})
    width = config.size("channels", 128) * config.stage("c_mults", [1, 2, 4, 8])
    stride, depth = (
        config.stage("strides", [2, 4, 8, 8]),
        config.stage("transformer_depths", [3, 3, 3, 3], most=MOST_LAYERS),
    )
    head_dim = config.size("dim_heads", 128)
    if width % head_dim:
        raise CheckpointError(f"width {width} is no multiple of dim_heads {head_dim}")
    config.only("differential", True, default=True)
    config.only("dyt", True, default=True)
    config.only("variable_stride", True, default=False)
    for key in ("conformer", "layer_scale", "causal", "feat_scale", "cross_attn", "use_dilated_conv", "use_snake"):
        config.only(key, False, default=False)
    config.only("conv_bias", False, default=False)
    config.only("mapping_bias", True, default=True)
    # The reference adds `mask_noise` to the learned tokens; it is left out, so that a seed gives the same audio each
    # time. The others are for training, or name a faster way to the same.
    config.ignore(
        "mask_noise", "latent_noise", "checkpointing", "freeze_backbone", "use_flash", "mapping_style",
        "enable_inner_layer_dropout",
    )  # fmt: skip
    resampler = ResamplerConfig(
        patch_channels=patch_channels,
        width=width,
        latent_dim=config.size("latent_dim", 32),
        stride=stride,
        depth=depth,
        head_dim=head_dim,
        ff_dim=config.scaled("ff_mult", width, 3.0),
        frames_per_window=_frames_per_window(config, stride),
        kernel_size=3 if config.value("conv_mapping", bool, False) else 1,
        sine_blocks=_sine_blocks(config, depth),
    )
    config.close()
    section.close()
    return resampler


def _frames_per_window(config: Section, stride: int) -> int | None:
    chunk_size = config.size("chunk_size", 128)
    # In frames to either side; in the reference, in tokens a frame.
    if config.only("sliding_window", None, [1, 1], default=None) is not None:
        config.only("chunk_midpoint_shift", False, default=False)
        return None  # with a sliding window chunk_size is not used
    config.only("chunk_midpoint_shift", True, default=False)
    if chunk_size % stride:
        raise CheckpointError(f"chunk_size {chunk_size} must be a multiple of the stride {stride}")
    if chunk_size // stride != _WINDOW_FRAMES:
        raise CheckpointError(f"windows of {chunk_size // stride} frames are not computed, only of {_WINDOW_FRAMES}")
    return chunk_size // stride


def _sine_blocks(config: Section, depth: int) -> int:
    """How many of the last blocks have the sine. The reference gives it to block i of n if n - i < the config's number:
    one less than that number."""
    number = config.stage("sinusoidal_blocks", [0], least=0)
    return min(max(number - 1, 0), depth)
