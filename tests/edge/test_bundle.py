"""A bundle is verified before any of it is used."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sa3_edge.bundle import Bundle
from sa3_edge.errors import BundleError
from sa3_edge.manifest import decode_manifest
from sa3_edge.models.catalog import DEMO, resolve_model


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve_model(DEMO), tmp_path / "bundle"))


@pytest.fixture
def edit(copy: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    def apply(change: Callable[[dict[str, Any]], object]) -> Path:
        path = copy / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        return copy

    return apply


def test_a_whole_bundle_loads_and_has_an_id(copy: Path) -> None:
    bundle = Bundle.load(copy)
    assert bundle.manifest.model.name == DEMO
    assert not bundle.manifest.model.synthetic
    assert bundle.id == Bundle.load(resolve_model(DEMO)).id


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        Bundle.load(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.load(tmp_path / "absent")


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "denoiser.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"denoiser\.onnx\.data is missing"):
        Bundle.load(copy)


def test_a_truncated_file_is_named(copy: Path) -> None:
    os.truncate(copy / "decoder.onnx.data", 1000)
    with pytest.raises(BundleError, match=r"decoder\.onnx\.data has 1000 bytes"):
        Bundle.load(copy)


def test_an_altered_byte_is_found_even_after_a_good_load(copy: Path) -> None:
    Bundle.load(copy)
    path = copy / "decoder.onnx.data"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle.load(copy)


def test_verified_files_are_not_hashed_again(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Bundle.load(copy)
    hashed: list[Path] = []

    def hash_nothing(path: Path) -> str:
        hashed.append(path)
        return ""

    monkeypatch.setattr("sa3_edge.bundle.sha256_of", hash_nothing)
    Bundle.load(copy)
    assert hashed == []
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle.load(copy, trust_cache=False)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "deeper/../../outside"])
def test_files_outside_the_folder_are_refused(edit: Callable[..., Path], copy: Path, path: str) -> None:
    (copy.parent / "outside").write_text("{}")

    def change(manifest: dict[str, Any]) -> None:
        manifest["text"]["tokenizer"]["path"] = path

    with pytest.raises(BundleError, match="outside the bundle"):
        Bundle.load(edit(change))


def test_a_link_out_of_the_folder_is_refused(copy: Path) -> None:
    outside = copy.parent / "tokenizer.json"
    (copy / "tokenizer.json").rename(outside)
    (copy / "tokenizer.json").symlink_to(outside)
    with pytest.raises(BundleError, match="outside the bundle"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.update(schema_version=99), "schema version 99"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m["audio"].pop("sample_rate"), "sample_rate"),
        (lambda m: m["sampler"].update(objective="magic"), "objective"),
        (lambda m: m["audio"].update(channels="two"), "channels"),
        (lambda m: m["tiles"]["decoder"].update(frames=0), "frames"),
        (lambda m: m["graphs"]["decoder"]["artifacts"]["onnx"].update(files=[]), "length >= 1 .*files"),
    ],
)
def test_another_schema_is_refused_by_name(
    edit: Callable[..., Path], change: Callable[[dict[str, Any]], object], named: str
) -> None:
    with pytest.raises(BundleError, match=named):
        Bundle.load(edit(change))


def test_a_broken_manifest_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_bytes(b"\xff{")
    with pytest.raises(BundleError, match="not valid"):
        Bundle.load(copy)


def test_a_graph_that_is_not_there_is_named(copy: Path) -> None:
    bundle = Bundle.load(copy)
    with pytest.raises(BundleError, match="no coreml files for decoder, only onnx"):
        bundle.artifact("decoder", "coreml")


def _schema_2(manifest: dict[str, Any]) -> dict[str, Any]:
    """What an exporter of schema 2 wrote of the same model."""
    older = {**manifest, "schema_version": 2}
    del older["memory_tokens"]
    package = {
        "files": [{"path": "denoiser.mlpackage/Manifest.json", "sha256": "0" * 64, "bytes": 1}],
        "precision": "fp16",
        "parity": [],
        "inputs": [
            {"name": name, "dtype": "float16", "shape": shape}
            for name, shape in (("x", [1, 4, "frames"]), ("local_embed", [2, "rows", 8]), ("key_bias", ["keys"]))
        ],
        "functions": {"frames_16": {"frames": 16, "keys": 258, "rows": 24}},
    }
    older["graphs"]["denoiser"]["artifacts"]["coreml"] = package
    return older


def test_bundles_of_schema_2_are_read_as_what_schema_3_says(tiny_bundle: Path) -> None:
    written = json.loads((tiny_bundle / "manifest.json").read_text())
    read = decode_manifest(json.dumps(_schema_2(written)).encode())
    assert read.memory_tokens == 8
    package = read.graphs["denoiser"].artifacts["coreml"]
    assert {tensor.name: (tensor.pad, tensor.per) for tensor in package.inputs} == {
        "x": ("zeros", "step"),
        "local_embed": ("repeat_last", "run"),
        "key_bias": ("mask", "run"),
    }


@pytest.mark.parametrize("graphs", [None, [], {"denoiser": None}, {"denoiser": {"artifacts": 3}}])
def test_a_misshapen_manifest_of_schema_2_is_refused_by_field(tiny_bundle: Path, graphs: object) -> None:
    older = {**json.loads((tiny_bundle / "manifest.json").read_text()), "schema_version": 2, "graphs": graphs}
    with pytest.raises(BundleError, match="not valid"):
        decode_manifest(json.dumps(older).encode())
