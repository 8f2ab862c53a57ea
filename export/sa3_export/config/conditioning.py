"""The conditioners' part of `model_config.json`: the prompt and the duration."""

from dataclasses import dataclass
from pathlib import Path

from sa3_export.config.section import Section
from sa3_export.errors import CheckpointError


@dataclass(frozen=True)
class ConditionerConfig:
    text_dim: int
    max_tokens: int
    text_encoder_folder: str
    min_seconds: float
    max_seconds: float


def read_conditioning(conditioning: Section) -> ConditionerConfig:
    """Read `model.conditioning`. Raises CheckpointError, naming the key."""
    text_dim = conditioning.size("cond_dim")
    configs = {}
    for index, entry in enumerate(conditioning.value("configs", list)):
        section = Section(entry, f"model.conditioning.configs[{index}]", conditioning.reading)
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
