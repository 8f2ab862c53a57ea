"""`model_config.json`, read into typed, frozen sizes.

Source: the constructors of the public `Stability-AI/stable-audio-3` repository.
"""

from dataclasses import dataclass
from pathlib import Path

from sa3_edge.manifest import Objective
from sa3_export.config.conditioning import ConditionerConfig, read_conditioning
from sa3_export.config.dit import DiTConfig, ScheduleConfig, read_diffusion
from sa3_export.config.same import AutoencoderConfig, read_autoencoder
from sa3_export.config.section import Reading, Section, agree, read_config
from sa3_export.errors import CheckpointError

# Sections that only matter for training or for demos in the training loop.
_NOT_FOR_INFERENCE = frozenset({"training", "dataset", "demo", "version", "lora"})


@dataclass(frozen=True)
class ModelConfig:
    """Everything that shapes the graphs, from one `model_config.json`."""

    sample_rate: int
    max_frames: int
    objective: Objective
    schedule: ScheduleConfig
    dit: DiTConfig
    autoencoder: AutoencoderConfig
    conditioner: ConditionerConfig

    @property
    def samples_per_frame(self) -> int:
        return self.autoencoder.samples_per_frame

    @property
    def latent_channels(self) -> int:
        return self.dit.io_channels


def read_model_config(path: Path, reading: Reading | None = None) -> ModelConfig:
    """Read `model_config.json`; unknown keys are left in `reading`. Raises CheckpointError, naming the key."""
    root = Section(read_config(path), "", reading or Reading())
    root.only("model_type", "diffusion_cond_inpaint")
    sample_rate = root.size("sample_rate")
    audio_channels = root.size("audio_channels", 2)
    sample_size = root.size("sample_size", most=1 << 32)
    root.ignore(*_NOT_FOR_INFERENCE)

    model = root.section("model")
    latent_channels = model.size("io_channels")
    autoencoder = read_autoencoder(model.section("pretransform"), audio_channels)
    conditioner = read_conditioning(model.section("conditioning"))
    diffusion = read_diffusion(model.section("diffusion"))
    model.close()
    root.close()

    dit = diffusion.dit
    agree(
        {
            "model.io_channels": latent_channels,
            "model.diffusion.config.io_channels": dit.io_channels,
            "the encoder's latent_dim": autoencoder.encoder.latent_dim,
            "the decoder's latent_dim": autoencoder.decoder.latent_dim,
        }
    )
    agree(
        {
            "model.conditioning.cond_dim": conditioner.text_dim,
            "model.diffusion.config.cond_token_dim": dit.cond_token_dim,
            "model.diffusion.config.global_cond_dim": dit.global_cond_dim,
        }
    )
    agree({"local_add_cond_dim": dit.local_add_cond_dim, "io_channels + 1 (mask)": dit.io_channels + 1})
    return ModelConfig(
        sample_rate=sample_rate,
        max_frames=_max_frames(sample_size, autoencoder),
        objective=diffusion.objective,
        schedule=diffusion.schedule,
        dit=dit,
        autoencoder=autoencoder,
        conditioner=conditioner,
    )


def _max_frames(sample_size: int, autoencoder: AutoencoderConfig) -> int:
    """The longest pass, in latent frames that the codec can make: the config's `sample_size`.

    Published: 5 292 032 samples (1292 frames, 120 s) for the small models after post-training, 5 324 800 (1300) for
    their bases, 16 777 216 (4096, 380 s) for medium. The reference caps a pass at the `sample_size` that its
    `generate()` is called with: 5 292 032 whatever the model if the caller says nothing, the config's by its command
    line and its web page, which is what people compare with. A clip's frames are capped by the host, as
    `generation/lengths.py` does.
    """
    multiple = max(autoencoder.decoder.multiple, autoencoder.encoder.multiple)
    max_frames = sample_size // autoencoder.samples_per_frame // multiple * multiple
    if max_frames < 1:
        raise CheckpointError(f"sample_size {sample_size} is less than the {multiple} frames of a window")
    return max_frames
