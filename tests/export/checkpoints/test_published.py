"""Checkpoints are read strictly: what does not fit is refused by name."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sa3_export import CheckpointError
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.checkpoints.synthetic import write_synthetic_checkpoint
from sa3_export.networks.same import fold_weight_norm

TEXT_FOLDER = "t5gemma-b-b-ul2"


@pytest.fixture
def checkpoint_copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to break; big files are linked until a test replaces them."""
    copy = tmp_path / "checkpoint"
    (copy / TEXT_FOLDER).mkdir(parents=True)
    for name in ("model_config.json", f"{TEXT_FOLDER}/config.json", f"{TEXT_FOLDER}/tokenizer.json"):
        shutil.copyfile(tiny_checkpoint / name, copy / name)
    for name in ("model.safetensors", f"{TEXT_FOLDER}/model.safetensors"):
        (copy / name).symlink_to(tiny_checkpoint / name)
    return copy


@pytest.fixture
def edit_config(checkpoint_copy: Path) -> Callable[..., Path]:
    """Set (or with ... as the value, delete) a key of model_config.json by its dotted path."""

    def edit(path: str, value: Any) -> Path:
        file = checkpoint_copy / "model_config.json"
        config = json.loads(file.read_text())
        *parents, key = path.split(".")
        section = config
        for parent in parents:
            section = section[int(parent)] if parent.isdigit() else section[parent]
        if value is ...:
            del section[key]
        else:
            section[key] = value
        file.write_text(json.dumps(config))
        return checkpoint_copy

    return edit


def _rewrite(checkpoint: Path, change: Callable[[dict[str, torch.Tensor]], None], folder: str = "") -> None:
    path = checkpoint / folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    path.unlink()
    save_file(tensors, path)


def test_tiny_checkpoint_is_whole(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint(tiny_checkpoint)
    assert checkpoint.unknown_keys == ()
    assert checkpoint.config.max_frames == 1292
    assert checkpoint.text_encoder().embed_tokens.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("size", ["tiny"])
def test_synthetic_checkpoint_is_read_and_is_finite(size: str, tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "synthetic", size)
    checkpoint = Checkpoint(tmp_path / "synthetic")
    audio = checkpoint.autoencoder().decode(torch.randn(1, checkpoint.config.latent_channels, 4))
    assert torch.isfinite(audio).all()
    assert 0.01 < audio.std() < 0.5


def test_null_is_as_good_as_absent(edit_config: Callable[..., Path]) -> None:
    edit_config("model.diffusion.sampling_distribution_shift_options", None)
    schedule = Checkpoint(edit_config("model.diffusion.config.ff_kwargs", {"mult": 2.0})).config.schedule
    assert (schedule.logsnr_start, schedule.logsnr_end) == (-6.2, 2.0)


@pytest.mark.parametrize(("frames", "longest"), [(40, 40), (131, 130), (1000, 1000), (1300, 1300)])
def test_the_longest_clip_is_whole_windows(edit_config: Callable[..., Path], frames: int, longest: int) -> None:
    assert Checkpoint(edit_config("sample_size", frames * 4096)).config.max_frames == longest


@pytest.mark.parametrize(("head_dim", "rotated"), [(32, 32), (64, 32), (128, 64)])
def test_positions_rotate_half_a_head_but_32_channels_at_least(
    tiny_checkpoint: Path, head_dim: int, rotated: int
) -> None:
    config = Checkpoint(tiny_checkpoint).config
    dit = replace(config.dit, embed_dim=2 * head_dim, num_heads=2)
    assert dit.rotated_dim == rotated
    assert replace(config.autoencoder.decoder, head_dim=head_dim).rotated_dim == head_dim // 2


def test_weight_norm_of_rounded_weights_is_computed_in_fp32(checkpoint_copy: Path) -> None:
    rounded: dict[str, torch.Tensor] = {}

    def round_weights(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if "decoder" in name and ".mapping.weight_" in name]:
            tensors[name] = tensors[name].bfloat16()
            rounded[name[-1]] = tensors[name].double()

    _rewrite(checkpoint_copy, round_weights)
    weights = Checkpoint(checkpoint_copy).autoencoder().decoder.state_dict()
    (weight,) = [tensor for name, tensor in weights.items() if name.endswith("mapping.weight")]
    expected = rounded["g"] * rounded["v"] / rounded["v"].flatten(1).norm(dim=1).view_as(rounded["g"])
    assert (weight - expected).abs().max() < 1e-6 * expected.abs().max()


def test_unknown_keys_are_kept_by_name(edit_config: Callable[..., Path]) -> None:
    edit_config("model.diffusion.config.brand_new", 3)
    checkpoint = Checkpoint(edit_config("training", {"learning_rate": 1}))
    assert checkpoint.unknown_keys == ("model.diffusion.config.brand_new",)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("model_type", "autoencoder", "model_type"),
        ("model.diffusion.diffusion_objective", "v", "diffusion_objective"),
        ("model.diffusion.config.global_cond_type", ..., "global_cond_type is absent"),
        ("model.diffusion.config.attn_kwargs", {"qk_norm": "ln"}, "attn_kwargs.qk_norm"),
        ("model.diffusion.config.timestep_features_logsnr", True, "timestep_features_logsnr"),
        ("model.diffusion.config.patch_size", 2, "patch_size"),
        ("model.diffusion.config.embed_dim", "wide", "embed_dim must be int"),
        ("model.diffusion.config.depth", 0, "depth must be from 1 to 256, got 0"),
        ("model.diffusion.config.num_heads", 8, "heads of 16 channels are not computed"),
        ("model.diffusion.config.cross_attn_rotary_pos_emb", True, "cross_attn_rotary_pos_emb"),
        ("sample_size", 4096, "sample_size 4096 is less than"),
        ("model.diffusion.sampling_distribution_shift_options", {"type": "flux"}, "shift_options.type"),
        ("model.pretransform.config.decoder.config.sinusoidal_blocks", [2, 2], "sinusoidal_blocks"),
        ("model.pretransform.config.encoder.config.strides", [4, 4], "strides"),
        ("model.pretransform.config.encoder.config.differential", False, "differential"),
        ("model.pretransform.config.bottleneck.type", "vae", "bottleneck.type"),
        ("model.pretransform.config.downsampling_ratio", 2048, "downsampling_ratio"),
        ("model.conditioning.configs.0.config.padding_mode", "zero", "padding_mode"),
        ("model.conditioning.configs.0.config.subfolder", "../elsewhere", "subfolder"),
        ("model.conditioning.configs.1.config.fourier_features_type", ..., "fourier_features_type"),
        ("model.conditioning.cond_dim", 32, "must be equal"),
        ("sample_rate", ..., "sample_rate is missing"),
    ],
)
def test_a_config_that_is_not_computed_is_refused_by_name(
    edit_config: Callable[..., Path], path: str, value: Any, named: str
) -> None:
    with pytest.raises(CheckpointError, match=named):
        Checkpoint(edit_config(path, value))


def test_missing_unexpected_and_misshapen_tensors_are_named(checkpoint_copy: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["model.model.to_cond_embed.0.weight"]
        tensors["model.model.extra"] = torch.zeros(1)
        tensors["model.model.transformer.project_in.weight"] = torch.zeros(128, 17)

    _rewrite(checkpoint_copy, change)
    with pytest.raises(CheckpointError) as caught:
        Checkpoint(checkpoint_copy)
    message = str(caught.value)
    assert "missing: model.model.to_cond_embed.0.weight" in message
    assert "unexpected: model.model.extra" in message
    assert "project_in.weight is (128, 17), expected (128, 16)" in message


def test_a_missing_text_tensor_is_named(checkpoint_copy: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["model.encoder.norm.weight"]

    _rewrite(checkpoint_copy, change, TEXT_FOLDER)
    with pytest.raises(CheckpointError, match=r"missing: model\.encoder\.norm\.weight"):
        Checkpoint(checkpoint_copy)


def test_weights_that_are_not_numbers_are_refused(checkpoint_copy: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.model.preprocess_conv.weight"][0, 0, 0] = float("nan")

    _rewrite(checkpoint_copy, change)
    with pytest.raises(CheckpointError, match=r"preprocess_conv\.weight holds NaN"):
        Checkpoint(checkpoint_copy).dit()


def test_another_rotary_base_is_refused(checkpoint_copy: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.model.transformer.rotary_pos_emb.inv_freq"] *= 2

    _rewrite(checkpoint_copy, change)
    with pytest.raises(CheckpointError, match="inv_freq"):
        Checkpoint(checkpoint_copy).dit()


def test_pickles_are_never_read(checkpoint_copy: Path) -> None:
    (checkpoint_copy / "model.safetensors").unlink()
    (checkpoint_copy / "model.ckpt").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match=r"model\.ckpt will not be read"):
        Checkpoint(checkpoint_copy)


def test_a_truncated_file_is_refused(checkpoint_copy: Path) -> None:
    weights = checkpoint_copy / "model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        Checkpoint(checkpoint_copy)


@pytest.mark.parametrize("name", ["model_config.json", f"{TEXT_FOLDER}/tokenizer.json"])
def test_missing_and_broken_json_is_named(checkpoint_copy: Path, name: str) -> None:
    (checkpoint_copy / name).write_text("{")
    with pytest.raises(CheckpointError, match=Path(name).name):
        Checkpoint(checkpoint_copy)
    (checkpoint_copy / name).unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        Checkpoint(checkpoint_copy)


def test_weight_norm_is_folded_as_pytorch_defines_it() -> None:
    convolution = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(3, 5, 2))
    weights = convolution.parametrizations.weight
    folded = fold_weight_norm(weights.original0, weights.original1)
    torch.testing.assert_close(folded, convolution.weight)


def test_the_files_of_weights_are_open_only_while_they_are_read(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    read: list[Path] = []

    @contextmanager
    def noting(path: Path, **options: Any) -> Iterator[Any]:
        opened.append(path)
        with safe_open(path, **options) as file:
            yield file
        opened.remove(path)
        read.append(path)

    monkeypatch.setattr("sa3_export.checkpoints.weights.safe_open", noting)
    checkpoint = Checkpoint(tiny_checkpoint)
    assert opened == []
    checkpoint.conditioners()
    assert opened == []
    assert len(read) > 2
