"""The ungated layout: the tiny checkpoint in NumPy's files as the publisher names them, and what is refused of it."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sa3_export import CheckpointError, ExportPlan, export_bundle
from sa3_export.checkpoints.published import Checkpoint, identity
from sa3_export.parity import snr_db
from tests.conftest import RunCli
from tests.stand_ins.optimized import optimized_folder

DIT, ENCODER, DECODER, TEXT = (
    "dit_sm-music_f16.npz",
    "same_s_encoder_f32.npz",
    "same_s_decoder_f32.npz",
    "t5gemma_f16.npz",
)
Arrays = dict[str, NDArray[Any]]
Change = Callable[[str, Callable[[Arrays], object]], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files as they come from the repository, with config and tokenizer beside them."""
    return optimized_folder(tmp_path / "tiny-optimized")


@pytest.fixture
def changed(folder: Path) -> Change:
    """The folder with one file rewritten."""

    def change(name: str, how: Callable[[Arrays], object]) -> Path:
        with np.load(folder / name, allow_pickle=False) as file:
            arrays = dict(file)
        how(arrays)
        np.savez(folder / name, **arrays)
        return folder

    return change


def test_every_weight_is_the_published_one_as_rounded(folder: Path, tiny_checkpoint: Path) -> None:
    """Transformer and text encoder to float16; the rest, angles and the embedding table too, as it was."""
    exact, ours = Checkpoint(tiny_checkpoint), Checkpoint(folder)
    for name, load in {
        "dit": Checkpoint.dit,
        "conditioners": Checkpoint.conditioners,
        "text encoder": Checkpoint.text_encoder,
        "autoencoder": Checkpoint.autoencoder,
    }.items():
        expected, loaded = load(exact).state_dict(), load(ours).state_dict()
        assert expected.keys() == loaded.keys(), name
        for key, tensor in expected.items():
            rounds = name in {"dit", "text encoder"} and key != "embed_tokens.weight"
            if key.endswith(("mapping.weight", "inv_freq")):  # folded, computed: in another order of products
                torch.testing.assert_close(loaded[key], tensor, rtol=1e-6, atol=1e-7)
            elif key == "embed_tokens.weight":  # what float16 cannot hold of it is below 2^-17
                torch.testing.assert_close(loaded[key].float(), tensor.float(), rtol=0, atol=2**-25)
                assert loaded[key].dtype == torch.bfloat16
            else:
                assert torch.equal(loaded[key], tensor.half().to(tensor.dtype) if rounds else tensor), (name, key)


def test_its_cost_is_what_the_manifest_says(folder: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    made = export_bundle(folder, tmp_path / "bundle", ExportPlan(precision="fp32"), name="tiny")
    assert made.made_with["source precision"].startswith("float16 (transformer, text encoder)")
    assert "63 to 68 dB SNR a step" in made.made_with["source cost"]
    exact, ours = Checkpoint(tiny_checkpoint), Checkpoint(folder)
    from sa3_export.graphs import GRAPHS

    reference, rounded = (GRAPHS["denoiser"](checkpoint) for checkpoint in (exact, ours))
    for length in reference.lengths:
        inputs = reference.example(length, seed=length)
        with torch.no_grad():
            velocities = [graph.module(**inputs).numpy() for graph in (rounded, reference)]
        assert 62.5 < snr_db(*velocities) < 68.5


def test_a_published_checkpoint_says_nothing_of_its_source(tiny_checkpoint: Path) -> None:
    assert Checkpoint(tiny_checkpoint).source == {}


def test_its_identity_is_the_hash_of_the_transformer(folder: Path) -> None:
    import hashlib

    name, revision = identity(folder)
    assert (name, revision) == ("tiny-optimized", f"sha256:{hashlib.sha256((folder / DIT).read_bytes()).hexdigest()}")


@pytest.mark.parametrize(
    ("file", "key"),
    [
        (DIT, "transformer.layers.1.to_local_embed.seq.2.bias"),
        (DIT, "cond.padding_embedding"),
        (ENCODER, "scaling_factor"),
        (DECODER, "blocks.1.ff.glu_proj.weight"),
        (TEXT, "layers.0.self_attn.q_proj.weight"),
    ],
)
def test_a_key_that_is_missing_unknown_or_misshapen_is_named(changed: Change, file: str, key: str) -> None:
    def refused(how: Callable[[Arrays], object], expected: str) -> None:
        folder = changed(file, how)
        with pytest.raises(CheckpointError) as caught:
            Checkpoint(folder)
        assert expected in str(caught.value)
        assert file in str(caught.value)

    original: Arrays = {}
    refused(lambda arrays: original.update({key: arrays.pop(key)}), f"missing: {key}")
    refused(lambda arrays: arrays.update({key: original[key], "ema.weight": original[key]}), "unexpected: ema.weight")
    refused(
        lambda arrays: (arrays.pop("ema.weight"), arrays.update({key: original[key][..., None]})),
        f"misshapen: {key} is {(*original[key].shape, 1)}",
    )


def test_a_type_that_is_not_the_files_own_is_named(changed: Change) -> None:
    def widen(arrays: Arrays) -> None:
        arrays["layers.0.mlp.up_proj.weight"] = arrays["layers.0.mlp.up_proj.weight"].astype(np.float32)

    with pytest.raises(CheckpointError, match=r"mlp\.up_proj\.weight is float32, expected float16"):
        Checkpoint(changed(TEXT, widen))


def test_the_conditioner_may_be_in_float16_as_in_base_models(changed: Change) -> None:
    def narrow(arrays: Arrays) -> None:
        for key in [key for key in arrays if key.startswith("cond.")]:
            arrays[key] = arrays[key].astype(np.float16)

    Checkpoint(changed(DIT, narrow)).conditioners()


def test_other_angles_are_refused(changed: Change) -> None:
    folder = changed(DIT, lambda arrays: arrays["transformer.rotary_pos_emb.inv_freq"].__imul__(np.float16(1.01)))
    with pytest.raises(CheckpointError, match="the only rotary base"):
        Checkpoint(folder).dit()


def test_halves_of_two_autoencoders_are_refused(changed: Change) -> None:
    with pytest.raises(CheckpointError, match="running_std of the encoder's and the decoder's file differ"):
        Checkpoint(changed(DECODER, lambda arrays: arrays["running_std"].__iadd__(1)))


def test_a_table_that_is_not_bfloat16_is_refused(changed: Change) -> None:
    folder = changed(TEXT, lambda arrays: arrays["embed_tokens.weight"].__setitem__((0, 0), np.float16(1.0009766)))
    with pytest.raises(CheckpointError, match="no bfloat16 table"):
        Checkpoint(folder).text_encoder()


def test_a_text_encoder_of_another_size_says_so(changed: Change) -> None:
    def bigger(arrays: Arrays) -> None:
        meta = json.loads(arrays["META"].tobytes()) | {"query_pre_attn_scalar": 99, "of a later version": 1}
        arrays["META"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)

    with pytest.raises(CheckpointError, match="query_pre_attn_scalar is 99, the config says 32"):
        Checkpoint(changed(TEXT, bigger))


def test_two_transformers_are_no_model(folder: Path) -> None:
    shutil.copy(folder / DIT, folder / "dit_sm-sfx_f16.npz")
    with pytest.raises(CheckpointError, match=r"dit_sm-music_f16\.npz, dit_sm-sfx_f16\.npz; one model is exported"):
        Checkpoint(folder)


def test_pickles_and_compressed_files_are_not_read(folder: Path) -> None:
    with zipfile.ZipFile(folder / ENCODER, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", b"\0" * 1000)
    with pytest.raises(CheckpointError, match=r"bomb\.npy is no stored array"):
        Checkpoint(folder)
    with zipfile.ZipFile(folder / ENCODER, "w") as archive:
        header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
        said = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        archive.writestr("x.npy", header + said.ljust(117) + b"\n" + pickle.dumps([1]))
    with pytest.raises(CheckpointError, match="x holds object"):
        Checkpoint(folder)


@pytest.mark.parametrize("damage", ["cut", "empty", "no zip", "not there"])
def test_a_broken_file_is_one_line(folder: Path, run_cli: RunCli, tmp_path: Path, damage: str) -> None:
    path = folder / TEXT
    data = path.read_bytes()
    path.unlink()
    if damage != "not there":
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "no zip": b"x" * 4096}[damage])
    code, out, err = run_cli("export", folder, "--out", tmp_path / "out")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert TEXT in err
    assert not (tmp_path / "out").exists()


def test_what_the_repository_lacks_is_named(folder: Path) -> None:
    (folder / "model_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"model_config\.json"):
        Checkpoint(folder)
