"""The diffusion transformer's part of `model_config.json`: sizes, what it predicts, the schedule of its sampler."""

from dataclasses import dataclass

from sa3_edge.manifest import Objective
from sa3_export.config.section import MOST_LAYERS, Section
from sa3_export.errors import CheckpointError

LEAST_ROTATED = 32  # channels of a head that positions rotate, however narrow it is


@dataclass(frozen=True)
class DiTConfig:
    """Widths in channels, depth in layers. `differential`: of both attentions another one is subtracted."""

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
    differential: bool

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def cross_key_heads(self) -> int:
        """Heads that cross-attention has keys for: those of the attention that is subtracted follow the others."""
        return self.num_heads * (2 if self.differential else 1)

    @property
    def rotated_dim(self) -> int:
        """Of a head's channels, those that positions rotate."""
        return max(self.head_dim // 2, LEAST_ROTATED)


@dataclass(frozen=True)
class ScheduleConfig:
    """Timesteps lie on a line in log-SNR: from `logsnr_start` at t = 1 to `logsnr_end` at t = 0."""

    logsnr_start: float
    logsnr_end: float


@dataclass(frozen=True)
class DiffusionConfig:
    """The transformer and how it is sampled."""

    dit: DiTConfig
    objective: Objective
    schedule: ScheduleConfig


def read_diffusion(diffusion: Section) -> DiffusionConfig:
    """Read `model.diffusion`. Raises CheckpointError, naming the key."""
    diffusion.only("type", "dit")
    objective: Objective = diffusion.only("diffusion_objective", "rf_denoiser", "rectified_flow", default="v")
    diffusion.only("cross_attention_cond_ids", ["prompt", "seconds_total"])
    diffusion.only("global_cond_ids", ["seconds_total"])
    diffusion.only("local_add_cond_ids", ["inpaint_mask", "inpaint_masked_input"])
    for key in ("input_concat_ids", "prepend_cond_ids"):
        diffusion.only(key, [], default=[])
    # distribution_shift_options is the schedule of training; the sampler's has a section of its own.
    diffusion.ignore("distribution_shift_options", "use_effective_length_for_schedule")
    schedule = _schedule(diffusion.section("sampling_distribution_shift_options", {}))
    diffusion.only("mask_padding_attention", True, default=False)
    dit = _dit(diffusion.section("config"))
    diffusion.close()
    return DiffusionConfig(dit, objective, schedule)


def _schedule(shift: Section) -> ScheduleConfig:
    shift.only("type", "logsnr", default="logsnr")
    shift.only("rate", 0.0, 0, default=0.0)  # else the schedule would depend on the clip's length
    schedule = ScheduleConfig(
        logsnr_start=shift.value("anchor_logsnr", float, -6.2),
        logsnr_end=shift.value("logsnr_end", float, 2.0),
    )
    shift.ignore("anchor_length")
    shift.close()
    return schedule


def _dit(config: Section) -> DiTConfig:
    embed_dim, num_heads = config.size("embed_dim", 768), config.size("num_heads", 8)
    if embed_dim % num_heads:
        raise CheckpointError(f"embed_dim {embed_dim} is no multiple of num_heads {num_heads}")
    if embed_dim // num_heads < LEAST_ROTATED:
        raise CheckpointError(
            f"heads of {embed_dim // num_heads} channels are not computed, only of {LEAST_ROTATED} up"
        )
    ff = config.section("ff_kwargs", {})
    ff_dim = ff.scaled("mult", embed_dim, 4.0)
    ff.only("no_bias", False, default=False)
    ff.only("glu", True, default=True)
    ff.only("use_conv", False, default=False)
    ff.only("sinusoidal", False, default=False)
    ff.ignore("zero_init_output", "conv_kernel_size")
    ff.close()
    attention = config.section("attn_kwargs", {})
    attention.only("qk_norm", "rms", default="none")
    attention.only("qk_norm_eps", 1e-6, default=1e-6)
    differential = attention.value("differential", bool, False)
    for key in ("feat_scale", "causal"):
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
    config.ignore("zero_init_branch_outputs", "checkpointing")
    dit = DiTConfig(
        io_channels=config.size("io_channels", 32),
        embed_dim=embed_dim,
        depth=config.size("depth", 12, most=MOST_LAYERS),
        num_heads=num_heads,
        cond_token_dim=config.size("cond_token_dim"),
        global_cond_dim=config.size("global_cond_dim"),
        local_add_cond_dim=config.size("local_add_cond_dim"),
        num_memory_tokens=config.size("num_memory_tokens"),
        ff_dim=ff_dim,
        timestep_features_dim=config.size("timestep_features_dim", 256),
        differential=differential,
    )
    config.close()
    return dit
