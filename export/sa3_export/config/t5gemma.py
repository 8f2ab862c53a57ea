"""The text encoder's `config.json`, as Hugging Face writes it."""

from dataclasses import dataclass
from pathlib import Path

from sa3_export.config.section import MOST_LAYERS, Reading, Section, read_config
from sa3_export.errors import CheckpointError


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


def read_text_encoder_config(path: Path, max_tokens: int, reading: Reading | None = None) -> TextEncoderConfig:
    """Read the encoder half, for prompts of up to `max_tokens`.

    Unknown keys are not reported: the file is full of what describes the decoder, training and files. Raises
    CheckpointError, naming the key.
    """
    root = Section(read_config(path), "", reading or Reading())
    root.only("model_type", "t5gemma")
    encoder = root.section("encoder")
    num_heads = encoder.size("num_attention_heads", 12)
    encoder.only("num_key_value_heads", num_heads)
    encoder.only("hidden_activation", "gelu_pytorch_tanh", default="gelu_pytorch_tanh")
    encoder.only("attention_bias", False, default=False)
    for key in ("rope_scaling", "rope_parameters"):  # older and newer names of what would move the angles
        encoder.only(key, None, default=None)
    sliding_window = encoder.size("sliding_window", 4096)
    if sliding_window < 2 * max_tokens:  # half of it to each side
        raise CheckpointError(f"encoder.sliding_window {sliding_window} would mask a prompt of {max_tokens} tokens")
    return TextEncoderConfig(
        vocab_size=encoder.size("vocab_size"),
        hidden_size=encoder.size("hidden_size"),
        num_hidden_layers=encoder.size("num_hidden_layers", most=MOST_LAYERS),
        num_attention_heads=num_heads,
        head_dim=encoder.size("head_dim", 256),
        intermediate_size=encoder.size("intermediate_size"),
        query_pre_attn_scalar=encoder.value("query_pre_attn_scalar", float, 256.0),
        rope_theta=encoder.value("rope_theta", float, 10000.0),
        rms_norm_eps=encoder.value("rms_norm_eps", float, 1e-6),
    )
