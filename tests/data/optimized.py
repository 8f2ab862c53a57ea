"""The tiny checkpoint in the layout of `stabilityai/stable-audio-3-optimized`, written apart from its reader.

usage: python optimized.py OUT
writes OUT/*.npz; config and tokenizer are those of tiny/
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_bf16

Tensors = dict[str, NDArray[Any]]
_TINY = Path(__file__).resolve().parent / "tiny"
_TEXT = _TINY / "t5gemma-b-b-ul2"
_CODEC = "pretransform.model."
_META = (
    *(
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
    ),
    *("vocab_size", "max_position_embeddings", "rope_theta", "rms_norm_eps", "attn_logit_softcapping"),
    "query_pre_attn_scalar",
)


def transformer(published: Tensors) -> Tensors:
    """In fp16, norms named as MLX names them, convolutions' axes (out, k, in); the conditioner in fp32."""
    made: Tensors = {}
    for name, tensor in published.items():
        if name.startswith("model.model."):
            key = name.removeprefix("model.model.")
            key = re.sub(r"(norm)\.gamma$", r"\1.weight", key)
            key = re.sub(r"(to_local_embed)\.(\d)", r"\1.seq.\2", key)
            made[key] = (tensor.transpose(0, 2, 1) if "process_conv" in key else tensor).astype(np.float16)
    conditioners = "conditioner.conditioners."
    made["cond.padding_embedding"] = published[f"{conditioners}prompt.padding_embedding"]
    for part in ("weight", "bias"):
        made[f"cond.seconds_total_{part}"] = published[f"{conditioners}seconds_total.embedder.embedding.1.{part}"]
    return made


def codec(published: Tensors, half: str) -> Tensors:
    """The encoder or the decoder in fp32, its weight norm folded, without angles, which are computed."""
    resampler, projection = {
        "encoder": ("encoder.layers.0.", ("encoder.layers.2.", "project_out.")),
        "decoder": ("decoder.layers.3.", ("decoder.layers.1.", "project_in.")),
    }[half]
    made: Tensors = {}
    for name, tensor in published.items():
        key = name.removeprefix(_CODEC)
        if key.endswith(("inv_freq", "weight_g")):
            continue
        if key.startswith(resampler):
            key = key.removeprefix(resampler).replace("transformers.", "blocks.").replace("self_attn.", "attn.")
            key = key.replace("ff.ff.0.proj.", "ff.glu_proj.").replace("ff.ff.2.", "ff.proj_out.")
            if key == "mapping.weight_v":
                gain, direction = published[f"{_CODEC}{resampler}mapping.weight_g"], tensor.astype(np.float64)
                norm = np.sqrt(np.square(direction).sum(axis=(1, 2), keepdims=True))
                key, tensor = "mapping.weight", (gain * direction / norm).astype(np.float32)
            made[key] = tensor
        elif key.startswith(projection[0]):
            made[projection[1] + key.removeprefix(projection[0])] = tensor
    made["running_std"] = published[f"{_CODEC}bottleneck.running_std"]
    if half == "encoder":
        made |= {name: published[f"{_CODEC}bottleneck.{name}"] for name in ("scaling_factor", "bias")}
    return made


def text_encoder() -> Tensors:
    """The encoder in fp16; beside its weights the angles and what the config says."""
    prefix = "model.encoder."
    made: Tensors = {
        name.removeprefix(prefix): tensor.half().numpy()
        for name, tensor in load_bf16(_TEXT / "model.safetensors").items()
        if name.startswith(prefix)
    }
    config = json.loads((_TEXT / "config.json").read_text())["encoder"]
    pairs = config["head_dim"] // 2
    made["rope_inv_freq"] = (config["rope_theta"] ** -(np.arange(pairs) / pairs)).astype(np.float32)
    meta = json.dumps({name: config[name] for name in _META} | {"pad_token_id": 0})
    made["META"] = np.frombuffer(meta.encode(), np.uint8)
    return made


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    published = load_file(_TINY / "model.safetensors")
    files: dict[str, Any] = {"dit_sm-music_f16": transformer(published), "t5gemma_f16": text_encoder()}
    files |= {f"same_s_{half}_f32": codec(published, half) for half in ("encoder", "decoder")}
    for name, tensors in files.items():
        np.savez(out / f"{name}.npz", **tensors)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
