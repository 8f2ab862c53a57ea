"""`model_config.json` and the text encoder's `config.json`, read into typed, frozen sizes.

Source: the constructors of the public `Stability-AI/stable-audio-3` repository.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa3_edge.manifest import Objective
from sa3_export.config.section import Section
from sa3_export.errors import CheckpointError

# The reference's generate() caps a pass at 5 292 032 samples: 120 s rounded up to whole frames.
LONGEST_PASS_SAMPLES = 5_292_032

LEAST_ROTATED = 32  # channels of a head of the transformer that positions rotate, however narrow it is

# Sections that only matter for training or for demos in the training loop.
_NOT_FOR_INFERENCE = frozenset({"training", "dataset", "demo", "version", "lora"})


@dataclass(frozen=True)
class DiTConfig:
    """The diffusion transformer. Widths in channels, depth in layers."""

    io_channels: int
    embed_dim: int
    depth: int
    num_heads: int
    cond_token_dim: int
    global_cond_dim: int
    local_add_cond_dim: int
    num_memory_tokens: int
    ff_dim: int
    timestep_features_dim: int

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def rotated_dim(self) -> int:
        """Of a head's channels, those that positions rotate."""
        return max(self.head_dim // 2, LEAST_ROTATED)


@dataclass(frozen=True)
class ResamplerConfig:
    """One SAME-S resampling stage, of the encoder or of the decoder."""

    patch_channels: int  # channels of a patch: patch_size * audio channels
    width: int
    latent_dim: int
    stride: int  # patches a frame
    depth: int
    head_dim: int
    ff_dim: int
    frames_per_window: int
    kernel_size: int  # of the convolution between patches and width

    @property
    def rotated_dim(self) -> int:
        """Of a head's channels, those that positions rotate."""
        return self.head_dim // 2

    @property
    def window_tokens(self) -> int:
        """Tokens that attend to each other: each frame's patches and its own latent token."""
        return self.frames_per_window * (self.stride + 1)


@dataclass(frozen=True)
class AutoencoderConfig:
    encoder: ResamplerConfig
    decoder: ResamplerConfig
    patch_size: int
    audio_channels: int


@dataclass(frozen=True)
class ConditionerConfig:
    text_dim: int
    max_tokens: int
    text_encoder_folder: str
    min_seconds: float
    max_seconds: float


@dataclass(frozen=True)
class ScheduleConfig:
    """Timesteps lie on a line in log-SNR: from `logsnr_start` at t = 1 to `logsnr_end` at t = 0."""

    logsnr_start: float
    logsnr_end: float


@dataclass(frozen=True)
class ModelConfig:
    """Everything that shapes the graphs, from one `model_config.json`."""

    sample_rate: int
    samples_per_frame: int
    max_frames: int
    objective: Objective
    schedule: ScheduleConfig
    dit: DiTConfig
    autoencoder: AutoencoderConfig
    conditioner: ConditionerConfig
    unknown_keys: tuple[str, ...]

    @property
    def latent_channels(self) -> int:
        return self.dit.io_channels


@dataclass(frozen=True)
class TextEncoderConfig:
    """The encoder half of T5Gemma."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    query_pre_attn_scalar: float
    rope_theta: float
    rms_norm_eps: float


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None


def read_model_config(path: Path) -> ModelConfig:
    """Read `model_config.json`. Raises CheckpointError, naming the key."""
    unknown: list[str] = []
    root = Section(_read_json(path), "", unknown)
    root.only("model_type", "diffusion_cond_inpaint")
    sample_rate = root.size("sample_rate")
    audio_channels = root.size("audio_channels", 2)
    sample_size = root.size("sample_size")
    root.ignore(*_NOT_FOR_INFERENCE)

    model = root.section("model")
    latent_channels = model.size("io_channels")
    autoencoder, samples_per_frame = _autoencoder(model.section("pretransform"), audio_channels)
    conditioner = _conditioner(model.section("conditioning"))
    dit, objective, schedule = _diffusion(model.section("diffusion"))
    model.close()
    root.close()

    _agree(
        {
            "model.io_channels": latent_channels,
            "model.diffusion.config.io_channels": dit.io_channels,
            "the encoder's latent_dim": autoencoder.encoder.latent_dim,
            "the decoder's latent_dim": autoencoder.decoder.latent_dim,
        }
    )
    _agree(
        {
            "model.conditioning.cond_dim": conditioner.text_dim,
            "model.diffusion.config.cond_token_dim": dit.cond_token_dim,
            "model.diffusion.config.global_cond_dim": dit.global_cond_dim,
        }
    )
    _agree({"local_add_cond_dim": dit.local_add_cond_dim, "io_channels + 1 (mask)": dit.io_channels + 1})
    window = autoencoder.decoder.frames_per_window
    max_frames = min(sample_size, LONGEST_PASS_SAMPLES) // samples_per_frame // window * window
    if max_frames < 1:
        raise CheckpointError(f"sample_size {sample_size} is less than the {window} frames of a window")
    return ModelConfig(
        sample_rate=sample_rate,
        samples_per_frame=samples_per_frame,
        max_frames=max_frames,
        objective=objective,
        schedule=schedule,
        dit=dit,
        autoencoder=autoencoder,
        conditioner=conditioner,
        unknown_keys=tuple(unknown),
    )


def _agree(sizes: Mapping[str, int]) -> None:
    if len(set(sizes.values())) > 1:
        raise CheckpointError("these must be equal: " + ", ".join(f"{k} = {v}" for k, v in sizes.items()))


def _autoencoder(pretransform: Section, audio_channels: int) -> tuple[AutoencoderConfig, int]:
    pretransform.only("type", "autoencoder")
    pretransform.only("scale", 1.0, 1, default=1.0)
    pretransform.ignore("iterate_batch", "model_half", "chunked", "enable_grad")
    config = pretransform.section("config")

    patches = config.section("pretransform")
    patches.only("type", "patched")
    patch_config = patches.section("config")
    patch_size, patch_audio_channels = patch_config.size("patch_size"), patch_config.size("channels")
    patch_config.close()
    patches.close()
    _agree({"audio_channels": audio_channels, "the patched pretransform's channels": patch_audio_channels})

    bottleneck = config.section("bottleneck")
    bottleneck.only("type", "softnorm")
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
    _agree({"the bottleneck's dim": bottleneck_dim, "the encoder's latent_dim": encoder.latent_dim})
    latent_dim = config.size("latent_dim")
    _agree({"the autoencoder's latent_dim": latent_dim, "the bottleneck's dim": bottleneck_dim})
    samples_per_frame = config.size("downsampling_ratio")
    config.only("io_channels", audio_channels)
    config.ignore("in_channels", "out_channels", "soft_clip")
    config.close()
    pretransform.close()
    for side in (encoder, decoder):
        _agree({"downsampling_ratio": samples_per_frame, "patch_size * stride": patch_size * side.stride})
    return AutoencoderConfig(encoder, decoder, patch_size, audio_channels), samples_per_frame


def _resampler(section: Section, patch_key: str, patch_channels: int) -> ResamplerConfig:
    section.only("type", "same")
    config = section.section("config")
    _agree({f"SAME's {patch_key}": config.size(patch_key, 2), "patch_size * audio channels": patch_channels})
    width = config.size("channels", 128) * config.stage("c_mults", [1, 2, 4, 8])
    stride = config.stage("strides", [2, 4, 8, 8])
    chunk_size = config.size("chunk_size", 128)
    if chunk_size % stride:
        raise CheckpointError(f"chunk_size {chunk_size} must be a multiple of the stride {stride}")
    if chunk_size // stride != 2:
        raise CheckpointError(f"windows of {chunk_size // stride} frames are not computed, only of 2")
    head_dim = config.size("dim_heads", 128)
    if width % head_dim:
        raise CheckpointError(f"width {width} is no multiple of dim_heads {head_dim}")
    config.only("differential", True, default=True)
    config.only("dyt", True, default=True)
    config.only("variable_stride", True, default=False)
    config.only("chunk_midpoint_shift", True, default=False)
    config.only("sinusoidal_blocks", [0], 0, default=[0])
    for key in ("conformer", "layer_scale", "causal", "feat_scale", "cross_attn"):
        config.only(key, False, default=False)
    config.only("sliding_window", None, default=None)
    config.only("mapping_bias", True, default=True)
    # Noise added while decoding is left out, so that a seed gives the same audio each time.
    config.ignore("mask_noise", "checkpointing", "use_flash", "freeze_backbone", "latent_noise")
    resampler = ResamplerConfig(
        patch_channels=patch_channels,
        width=width,
        latent_dim=config.size("latent_dim", 32),
        stride=stride,
        depth=config.stage("transformer_depths", [3, 3, 3, 3]),
        head_dim=head_dim,
        ff_dim=int(width * config.value("ff_mult", float, 3.0)),
        frames_per_window=chunk_size // stride,
        kernel_size=3 if config.value("conv_mapping", bool, False) else 1,
    )
    config.close()
    section.close()
    return resampler


def _conditioner(conditioning: Section) -> ConditionerConfig:
    text_dim = conditioning.size("cond_dim")
    configs = {}
    for index, entry in enumerate(conditioning.value("configs", list)):
        section = Section(entry, f"model.conditioning.configs[{index}]", conditioning.unknown)
        configs[section.value("id", str)] = section
    if set(configs) != {"prompt", "seconds_total"}:
        raise CheckpointError(
            f"model.conditioning.configs must be prompt and seconds_total, got {', '.join(sorted(configs))}"
        )

    prompt = configs["prompt"]
    prompt.only("type", "t5gemma")
    text = prompt.section("config")
    model_name = text.value("model_name", str, "google/t5gemma-b-b-ul2")
    folder = text.value("subfolder", str, model_name.rsplit("/", 1)[-1])
    if Path(folder).name != folder or folder in {"", ".", ".."}:
        raise CheckpointError(f"the text encoder's subfolder must be a plain folder name, got {folder!r}")
    max_tokens = text.size("max_length", 256)
    text.only("padding_mode", "learned", default="zero")
    text.only("project_out", False, default=False)
    text.ignore("repo_id", "enable_grad")

    seconds = configs["seconds_total"]
    seconds.only("type", "number")
    number = seconds.section("config")
    min_seconds, max_seconds = number.value("min_val", float, 0.0), number.value("max_val", float, 1.0)
    if not min_seconds < max_seconds:
        raise CheckpointError(f"seconds_total: min_val {min_seconds} must be below max_val {max_seconds}")
    number.only("fourier_features_type", "expo", default="learned")

    for section in (text, prompt, number, seconds):
        section.close()
    conditioning.ignore("default_keys", "pre_encoded_keys")
    conditioning.close()
    return ConditionerConfig(text_dim, max_tokens, folder, min_seconds, max_seconds)


def _diffusion(diffusion: Section) -> tuple[DiTConfig, Objective, ScheduleConfig]:
    diffusion.only("type", "dit")
    objective: Objective = diffusion.only("diffusion_objective", "rf_denoiser", "rectified_flow", default="v")
    diffusion.only("cross_attention_cond_ids", ["prompt", "seconds_total"])
    diffusion.only("global_cond_ids", ["seconds_total"])
    diffusion.only("local_add_cond_ids", ["inpaint_mask", "inpaint_masked_input"])
    for key in ("input_concat_ids", "prepend_cond_ids"):
        diffusion.only(key, [], default=[])
    # The schedule of sampling; distribution_shift_options is the one of training.
    diffusion.ignore("distribution_shift_options", "use_effective_length_for_schedule")
    shift = diffusion.section("sampling_distribution_shift_options", {})
    shift.only("type", "logsnr", default="logsnr")
    shift.only("rate", 0.0, 0, default=0.0)  # else the schedule would depend on the clip's length
    schedule = ScheduleConfig(
        logsnr_start=shift.value("anchor_logsnr", float, -6.2),
        logsnr_end=shift.value("logsnr_end", float, 2.0),
    )
    shift.ignore("anchor_length")
    shift.close()
    diffusion.only("mask_padding_attention", True, default=False)

    config = diffusion.section("config")
    embed_dim, num_heads = config.size("embed_dim", 768), config.size("num_heads", 8)
    if embed_dim % num_heads:
        raise CheckpointError(f"embed_dim {embed_dim} is no multiple of num_heads {num_heads}")
    if embed_dim // num_heads < LEAST_ROTATED:
        raise CheckpointError(
            f"heads of {embed_dim // num_heads} channels are not computed, only of {LEAST_ROTATED} up"
        )
    ff = config.section("ff_kwargs", {})
    ff_dim = int(embed_dim * ff.value("mult", float, 4.0))
    ff.only("no_bias", False, default=False)
    ff.only("glu", True, default=True)
    ff.only("use_conv", False, default=False)
    ff.only("sinusoidal", False, default=False)
    ff.ignore("zero_init_output", "conv_kernel_size")
    ff.close()
    attention = config.section("attn_kwargs", {})
    attention.only("qk_norm", "rms", default="none")
    attention.only("qk_norm_eps", 1e-6, default=1e-6)
    for key in ("differential", "feat_scale", "causal"):
        attention.only(key, False, default=False)
    attention.ignore("zero_init_output")
    attention.close()
    config.only("norm_type", "rms_norm", default="layer_norm")
    norm = config.section("norm_kwargs", {})
    norm.only("eps", 1e-5, default=1e-5)
    norm.only("fix_scale", False, default=False)
    norm.ignore("force_fp32")  # we compute norms in fp32 whatever it says
    norm.close()
    config.only("global_cond_type", "adaLN", default="prepend")
    config.only("timestep_cond_type", "global", default="global")
    config.only("timestep_features_type", "expo", default="learned")
    config.only("timestep_features_logsnr", False, default=False)
    config.only("transformer_type", "continuous_transformer", default="continuous_transformer")
    config.only("patch_size", 1, default=1)
    config.only("input_concat_dim", 0, default=0)
    config.only("prepend_cond_dim", 0, default=0)
    for key in ("project_cond_tokens", "project_global_cond", "rotary_pos_emb"):
        config.only(key, True, default=True)
    for key in ("causal", "conformer", "use_sinusoidal_emb", "use_abs_pos_emb", "cross_attn_rotary_pos_emb"):
        config.only(key, False, default=False)
    config.only("sliding_window", None, default=None)
    dit = DiTConfig(
        io_channels=config.size("io_channels", 32),
        embed_dim=embed_dim,
        depth=config.size("depth", 12),
        num_heads=num_heads,
        cond_token_dim=config.size("cond_token_dim"),
        global_cond_dim=config.size("global_cond_dim"),
        local_add_cond_dim=config.size("local_add_cond_dim"),
        num_memory_tokens=config.size("num_memory_tokens"),
        ff_dim=ff_dim,
        timestep_features_dim=config.size("timestep_features_dim", 256),
    )
    config.ignore("zero_init_branch_outputs", "checkpointing")
    config.close()
    diffusion.close()
    return dit, objective, schedule


def read_text_encoder_config(path: Path, max_tokens: int) -> TextEncoderConfig:
    """Read the encoder half of T5Gemma's `config.json`, for prompts of up to `max_tokens`.

    Unknown keys are not reported: a Hugging Face config is full of what describes decoder, training and files.
    """
    root = Section(_read_json(path), "", [])
    root.only("model_type", "t5gemma")
    encoder = root.section("encoder")
    num_heads = encoder.size("num_attention_heads", 12)
    encoder.only("num_key_value_heads", num_heads)
    encoder.only("hidden_activation", "gelu_pytorch_tanh", default="gelu_pytorch_tanh")
    encoder.only("attention_bias", False, default=False)
    encoder.only("rope_scaling", None, default=None)
    sliding_window = encoder.size("sliding_window", 4096)
    if sliding_window < 2 * max_tokens:  # half of it to each side
        raise CheckpointError(f"encoder.sliding_window {sliding_window} would mask a prompt of {max_tokens} tokens")
    return TextEncoderConfig(
        vocab_size=encoder.size("vocab_size"),
        hidden_size=encoder.size("hidden_size"),
        num_hidden_layers=encoder.size("num_hidden_layers"),
        num_attention_heads=num_heads,
        head_dim=encoder.size("head_dim", 256),
        intermediate_size=encoder.size("intermediate_size"),
        query_pre_attn_scalar=encoder.value("query_pre_attn_scalar", float, 256.0),
        rope_theta=encoder.value("rope_theta", float, 10000.0),
        rms_norm_eps=encoder.value("rms_norm_eps", float, 1e-6),
    )
