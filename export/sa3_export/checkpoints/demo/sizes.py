"""Sizes of the demo, as a published `model_config.json` would give them."""

import json
import tempfile
from pathlib import Path
from typing import Any

from sa3_export.checkpoints.demo.clock import MEMORY_TOKENS
from sa3_export.checkpoints.demo.vocabulary import SIZE as VOCABULARY
from sa3_export.checkpoints.synthetic import SyntheticSize
from sa3_export.checkpoints.synthetic import model_config as synthetic_config
from sa3_export.checkpoints.synthetic import text_encoder_config as synthetic_text_config
from sa3_export.config.model import ModelConfig, read_model_config
from sa3_export.config.t5gemma import TextEncoderConfig, read_text_encoder_config

TEXT_FOLDER = "t5gemma-b-b-ul2"
LATENTS = 64
CODEC_HEAD = 32
# Width, depth and hidden units of each side.
CODEC = {"encoder": (192, 3, 16 * 64), "decoder": (160, 2, 16 * (64 + 1))}
_SIZE = SyntheticSize(
    latent_channels=LATENTS,
    dit_width=128,
    dit_depth=5,
    dit_heads=4,
    memory_tokens=MEMORY_TOKENS,
    ff_mult=2.0,
    codec_channels=128,
    codec_multiple=1,
    codec_depth=2,
    text_width=64,
    text_layers=2,
    text_heads=2,
    text_ff=128,
    vocabulary=VOCABULARY,
)


def model_config() -> dict[str, Any]:
    described = synthetic_config(_SIZE)
    described["sample_size"] = 5_292_032
    codec = described["model"]["pretransform"]["config"]
    for side, (width, depth, units) in CODEC.items():
        codec[side]["config"] |= {
            "channels": width,
            "transformer_depths": [depth],
            "dim_heads": CODEC_HEAD,
            "ff_mult": units / width,
        }
    return described


def text_encoder_config() -> dict[str, Any]:
    return synthetic_text_config(_SIZE)


def read_configs() -> tuple[ModelConfig, TextEncoderConfig]:
    """Both, read as a checkpoint's are."""
    with tempfile.TemporaryDirectory() as folder:
        model, text = Path(folder, "model.json"), Path(folder, "text.json")
        model.write_text(json.dumps(model_config()), encoding="utf-8")
        text.write_text(json.dumps(text_encoder_config()), encoding="utf-8")
        config = read_model_config(model)
        return config, read_text_encoder_config(text, config.conditioner.max_tokens)
