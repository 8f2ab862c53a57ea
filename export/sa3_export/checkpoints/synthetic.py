"""Checkpoints of random weights in the published layout, for demos, tests and benchmarks.

`small` and `medium` have the sizes of the published models, `tiny` a few hundred thousand weights. What such a model
makes is noise; the bundle says so, and so does everything made with it.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from sa3_export.checkpoints.published import expected_shapes, expected_text_encoder_shapes
from sa3_export.config.model import read_model_config
from sa3_export.config.t5gemma import read_text_encoder_config
from sa3_export.networks.layers import inverse_frequencies

_AUDIO_LEVEL = 0.02  # of the last layer: noise well below full scale
_TEXT_FOLDER = "t5gemma-b-b-ul2"


@dataclass(frozen=True)
class SyntheticSize:
    """Sizes that differ between the synthetic checkpoints; all else is as published."""

    latent_channels: int
    dit_width: int
    dit_depth: int
    dit_heads: int
    memory_tokens: int
    ff_mult: float
    codec_channels: int  # a width is channels * multiple
    codec_multiple: int
    codec_depth: int
    text_width: int
    text_layers: int
    text_heads: int
    text_ff: int
    vocabulary: int
    medium: bool = False  # differential attention, and a codec with sliding windows


SIZES = {
    "small": SyntheticSize(256, 1024, 20, 16, 64, 4.0, 128, 6, 6, 768, 12, 12, 2048, 256_000),
    "medium": SyntheticSize(256, 1536, 24, 24, 64, 4.0, 256, 6, 12, 768, 12, 12, 2048, 256_000, medium=True),
    "tiny": SyntheticSize(16, 128, 2, 2, 8, 2.0, 64, 1, 2, 64, 2, 2, 96, 512),
}


def model_config(size: SyntheticSize) -> dict[str, Any]:
    """A `model_config.json` with the keys of the published ones, of which some say nothing that is computed."""

    def resampler(patch_key: str, **own: object) -> dict[str, Any]:
        return {
            "type": "taae_v2",
            "requires_grad": False,
            "config": {
                patch_key: 512,
                "channels": size.codec_channels,
                "c_mults": [size.codec_multiple],
                "strides": [16],
                "latent_dim": size.latent_channels,
                "transformer_depths": [size.codec_depth],
                "differential": True,
                "dim_heads": 64,
                "variable_stride": True,
                "mapping_style": "none",
                "use_flash": True,
                **own,
            },
        }

    windowed = {"checkpointing": False, "dyt": True, "chunk_size": 32, "chunk_midpoint_shift": True}
    sliding = {"sliding_window": [1, 1]} | dict.fromkeys(
        ("conformer", "conv_bias", "enable_inner_layer_dropout", "layer_scale", "use_dilated_conv", "use_snake"), False
    )
    encoder: dict[str, object] = {**windowed, "conv_mapping": False, "mask_noise": 0.0}
    decoder: dict[str, object] = {
        **windowed, "conv_mapping": True, "mask_noise": 0.01, "sinusoidal_blocks": [0], "freeze_backbone": False
    }  # fmt: skip
    if size.medium:
        encoder = {**sliding, "checkpointing": True, "mask_noise": 0.001}
        # Blocks 5 to 11 of the published 12: one less than the number.
        decoder = {
            **sliding,
            "checkpointing": False,
            "mask_noise": 0.1,
            "sinusoidal_blocks": [size.codec_depth * 2 // 3],
        }
    not_trained: dict[str, object] = {} if size.medium else {"requires_grad": False}
    no_gradient: dict[str, object] = {} if size.medium else {"enable_grad": False}
    autoencoder = {
        "encoder": resampler("in_channels", **encoder),
        "decoder": resampler("out_channels", **decoder),
        "bottleneck": {
            "type": "softnorm",
            **not_trained,
            "config": {
                "dim": size.latent_channels,
                "noise_augment_dim": 0,
                "noise_regularize": True,
                "auto_scale": True,
                "freeze": True,
            },
        },
        "pretransform": {
            "type": "patched",
            **no_gradient,
            "config": {"patch_size": 256, "channels": 2},
        },
        "latent_dim": size.latent_channels,
        "downsampling_ratio": 4096,
        "io_channels": 2,
    }
    prompt = {
        "max_length": 256,
        "padding_mode": "learned",
        "repo_id": f"stabilityai/stable-audio-3-{'medium' if size.medium else 'small-music'}",
        "subfolder": _TEXT_FOLDER,
    }
    seconds = {"min_val": 0, "max_val": 384, "fourier_features_type": "expo"}
    transformer = {
        "io_channels": size.latent_channels,
        "embed_dim": size.dit_width,
        "depth": size.dit_depth,
        "num_heads": size.dit_heads,
        "cond_token_dim": size.text_width,
        "global_cond_dim": size.text_width,
        "local_add_cond_dim": size.latent_channels + 1,
        "global_cond_type": "adaLN",
        "timestep_features_type": "expo",
        **({} if size.medium else {"timestep_features_logsnr": False}),
        "attn_kwargs": {"qk_norm": "rms", "differential": size.medium},
        "norm_type": "rms_norm",
        "norm_kwargs": {"force_fp32": True},
        "ff_kwargs": {"mult": size.ff_mult},
        "num_memory_tokens": size.memory_tokens,
    }
    return {
        "model_type": "diffusion_cond_inpaint",
        "sample_size": 16_777_216 if size.medium else 5_292_032,
        "sample_rate": 44_100,
        "audio_channels": 2,
        "model": {
            "io_channels": size.latent_channels,
            "pretransform": {
                "type": "autoencoder",
                "iterate_batch": False,
                "chunked": True,
                **no_gradient,
                "config": autoencoder,
            },
            "conditioning": {
                "cond_dim": size.text_width,
                "configs": [
                    {"id": "prompt", "type": "t5gemma", "config": prompt},
                    {"id": "seconds_total", "type": "number", "config": seconds},
                ],
            },
            "diffusion": {
                "type": "dit",
                "diffusion_objective": "rf_denoiser",
                "cross_attention_cond_ids": ["prompt", "seconds_total"],
                "global_cond_ids": ["seconds_total"],
                "local_add_cond_ids": ["inpaint_mask", "inpaint_masked_input"],
                "distribution_shift_options": {
                    "min_length": 256,
                    "max_length": 4096,
                    **({} if size.medium else {"type": "full"}),
                },
                "mask_padding_attention": True,
                "use_effective_length_for_schedule": True,
                "config": transformer,
            },
        },
    }


def text_encoder_config(size: SyntheticSize) -> dict[str, Any]:
    """The encoder half of a T5Gemma `config.json`."""
    head_dim = size.text_width // size.text_heads
    encoder = {
        "model_type": "t5_gemma_module",
        "vocab_size": size.vocabulary,
        "hidden_size": size.text_width,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": size.text_heads,
        "num_key_value_heads": size.text_heads,
        "head_dim": head_dim,
        "query_pre_attn_scalar": head_dim,
        "intermediate_size": size.text_ff,
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "layer_types": [("sliding_attention", "full_attention")[layer % 2] for layer in range(size.text_layers)],
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
    }
    return {"model_type": "t5gemma", "is_encoder_decoder": True, "encoder": encoder}


def tokenizer() -> Tokenizer:
    """A Gemma-style BPE without merges: one token a letter, bytes for all else. 360 ids."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>"]
    pieces = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    pieces += [chr(code) for code in range(33, 127)]
    bpe = models.BPE(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[],
        unk_token="<unk>",  # noqa: S106 - a vocabulary entry
        byte_fallback=True,
        fuse_unk=True,
    )
    made = Tokenizer(bpe)
    made.add_special_tokens(specials)
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def _random_weights(shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Weights that keep activations near unit size, each kind of tensor by the end of its name."""
    for name, shape in shapes.items():
        kind = name.rsplit(".", 1)[-1]
        noise = torch.randn(shape, generator=generator)
        if kind == "inv_freq":
            yield name, inverse_frequencies(shape[0])
        elif kind == "weight_g" and ".decoder." in name:
            yield name, _AUDIO_LEVEL * (1 + 0.1 * noise)
        elif kind in {"gamma", "weight_g", "scaling_factor", "alpha"}:
            yield name, 1 + 0.1 * noise
        elif kind == "running_std":
            yield name, torch.ones(shape)
        elif kind in {"bias", "beta", "to_scale_shift_gate"} or (kind == "weight" and len(shape) == 1):
            yield name, 0.05 * noise
        elif kind in {"memory_tokens", "new_tokens", "padding_embedding"} or "embed_tokens" in name:
            yield name, noise
        else:
            yield name, noise / math.sqrt(math.prod(shape[1:]))


def _write_weights(path: Path, shapes: dict[str, tuple[int, ...]], weights: Iterable[tuple[str, Tensor]]) -> None:
    """fp32 tensors as a safetensors file, one at a time: medium's are 9 GB, and the library wants them all at once."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, weight in weights:
            assert weight.shape == shapes[name]
            file.write(weight.numpy().astype("<f4", copy=False).tobytes())


def write_synthetic_checkpoint(folder: Path, size_name: str, seed: int = 0) -> None:
    """Write a checkpoint of random weights into `folder`, which must not exist yet."""
    size = SIZES[size_name]
    text_folder = folder / _TEXT_FOLDER
    text_folder.mkdir(parents=True)
    (folder / "model_config.json").write_text(json.dumps(model_config(size), indent=1), encoding="utf-8")
    (text_folder / "config.json").write_text(json.dumps(text_encoder_config(size), indent=1), encoding="utf-8")
    tokenizer().save(str(text_folder / "tokenizer.json"))

    generator = torch.Generator().manual_seed(seed)
    config = read_model_config(folder / "model_config.json")
    shapes = expected_shapes(config)
    _write_weights(folder / "model.safetensors", shapes, _random_weights(shapes, generator))
    text_config = read_text_encoder_config(text_folder / "config.json", config.conditioner.max_tokens)
    text_shapes = expected_text_encoder_shapes(text_config)
    text = {name: weight.bfloat16() for name, weight in _random_weights(text_shapes, generator)}
    save_file(text, text_folder / "model.safetensors")
