"""What is installed, what it takes, and that models which share files do not depend on each other."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

import sa3_export
from sa3_edge.bundle import Bundle
from sa3_edge.engines.cache import cache_entry
from sa3_edge.models import installed
from sa3_edge.models.catalog import data_folder, installed_models, models_folder
from sa3_export import make_bundle
from sa3_export.graphs import GRAPHS
from tests.conftest import RunCli

DENOISER = "denoiser.onnx.data"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "data"))


def stage(folder: Path, name: str, salt: bytes = b"") -> Path:
    """A bundle that differs from others in the denoiser's weights, if `salt` does."""
    staged = folder / name
    shutil.copytree(installed_models()["demo"], staged)
    weights = staged / DENOISER
    weights.write_bytes(salt + weights.read_bytes()[len(salt) :])
    path = staged / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    manifest["model"]["name"] = name
    manifest["model"]["synthetic"] = False
    for file in manifest["graphs"]["denoiser"]["artifacts"]["onnx"]["files"]:
        file["sha256"] = hashlib.sha256((staged / file["path"]).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))
    return staged


def install(name: str, salt: bytes = b"") -> Path:
    with installed.staging() as folder:
        installed.install(stage(folder, name, salt), name)
    return models_folder() / name


def test_a_second_model_costs_only_what_differs() -> None:
    music = install("small-music")
    before = installed.bytes_on_disk()
    sfx = install("small-sfx", b"sfx")
    own = [DENOISER, "manifest.json"]
    assert installed.bytes_on_disk() - before == sum((sfx / name).stat().st_size for name in own)
    for path in music.iterdir():
        assert path.samefile(sfx / path.name) == (path.name not in own)
    for folder in (music, sfx):
        assert not any(path.is_symlink() for path in folder.iterdir())
        Bundle.load(folder, trust_cache=False)
    assert sorted(path.name for path in data_folder().iterdir()) == ["models"]


def test_graphs_of_the_same_weights_are_the_same_files(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_bundle, "GRAPHS", {"text_encoder": GRAPHS["text_encoder"]})
    other = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, other)
    weights = load_file(other / "model.safetensors")
    adapted = {name for name in weights if name.startswith("model.model.") and not name.endswith("inv_freq")}
    changed = {name: weight * 1.01 if name in adapted else weight for name, weight in weights.items()}
    save_file(changed, other / "model.safetensors")
    made = [sa3_export.export_bundle(path, tmp_path / f"{path.name}-bundle") for path in (tiny_checkpoint, other)]
    assert made[0].model.revision != made[1].model.revision
    assert made[0].graphs["text_encoder"] == made[1].graphs["text_encoder"]


def test_removing_one_model_leaves_the_other_whole() -> None:
    music = install("small-music")
    sfx = install("small-sfx", b"sfx")
    before = installed.bytes_on_disk()
    own = sum((music / name).stat().st_size for name in (DENOISER, "manifest.json"))
    assert installed.remove("small-music") == own
    assert installed.bytes_on_disk() == before - own
    assert not music.exists()
    Bundle.load(sfx, trust_cache=False)
    assert installed.remove("small-sfx") == before - own
    assert list(models_folder().iterdir()) == []


def test_replacing_a_model_keeps_what_both_have() -> None:
    folder = install("small-music")
    decoder = (folder / "decoder.onnx.data").stat().st_ino
    denoiser = (folder / DENOISER).stat().st_ino
    install("small-music", b"newer")
    assert (folder / "decoder.onnx.data").stat().st_ino == decoder
    assert (folder / DENOISER).stat().st_ino != denoiser
    assert (folder / "decoder.onnx.data").stat().st_nlink == 1
    Bundle.load(folder, trust_cache=False)


def test_where_links_are_not_supported_files_are_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*arguments: object) -> None:
        raise OSError("links are not supported here")

    music = install("small-music")
    monkeypatch.setattr(os, "link", unsupported)
    sfx = install("small-sfx", b"sfx")
    assert sorted(path.name for path in sfx.iterdir()) == sorted(path.name for path in music.iterdir())
    assert not (sfx / "decoder.onnx").samefile(music / "decoder.onnx")
    Bundle.load(sfx, trust_cache=False)


def test_a_damaged_file_is_not_shared() -> None:
    music = install("small-music")
    damaged = music / "decoder.onnx.data"
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    sfx = install("small-sfx", b"sfx")
    Bundle.load(sfx, trust_cache=False)
    assert (sfx / "encoder.onnx.data").samefile(music / "encoder.onnx.data")


def test_a_failed_replacement_puts_the_old_model_back(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = install("small-music")
    before = Bundle.load(folder).id
    rename = Path.rename

    def fails_for_the_new_one(path: Path, target: Path) -> Path:
        if path.name == "small-music" and target == folder:
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr("sa3_edge.files._exchange", lambda one, other: False)  # a system that cannot swap names

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(OSError, match="no"):
        install("small-music", b"newer")
    assert Bundle.load(folder, trust_cache=False).id == before
    assert [path.name for path in models_folder().iterdir()] == ["small-music"]


def test_models_are_listed_with_what_they_take_and_what_is_wrong(run_cli: RunCli) -> None:
    install("small-music")
    install("small-sfx", b"sfx")
    (models_folder() / "small-sfx" / DENOISER).unlink()
    (models_folder() / "empty").mkdir()
    code, out, _ = run_cli("models", "--json")
    assert code == 0
    report = json.loads(out)
    models = {model["name"]: model for model in report["models"]}
    assert sorted(models) == ["demo", "empty", "small-music", "small-sfx"]
    music = models["small-music"]
    assert (music["problem"], music["precisions"]) == (None, {"onnx": "fp32"})
    assert music["revision"].startswith("sha256:")
    assert 0 < music["shared_bytes"] < music["bytes"]
    assert report["bytes_on_disk"] == installed.bytes_on_disk()
    assert models["small-sfx"]["problem"] == f"{DENOISER} is missing"
    assert "manifest.json" in models["empty"]["problem"]
    assert not models["demo"]["synthetic"]

    code, out, _ = run_cli("models")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "onnx fp32" in lines["small-music"]
    assert "shared" in lines["small-music"]
    assert lines["small-sfx"].split(maxsplit=1)[1].startswith(f"broken: {DENOISER} is missing")
    assert "sa3-edge remove empty" in lines["empty"]
    assert "untrained" not in lines["demo"]
    assert lines["to"] == "to install: small-music-base, small-sfx-base, medium, medium-base, by sa3-edge pull NAME"


def test_remove_asks_unless_told(run_cli: RunCli) -> None:
    folder = install("small-music")
    code, _, err = run_cli("remove", "small-music")
    assert code == 2
    assert "sa3-edge remove small-music --yes" in err
    assert folder.exists()
    code, out, _ = run_cli("remove", "small-music", "--yes", "--json")
    assert code == 0
    assert json.loads(out)["removed"] == "small-music"
    assert json.loads(out)["freed_bytes"] > 5_000_000
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("demo", "demo is part of sa3-edge"),
        ("small-sfx", "no model called 'small-sfx' is installed; installed: small-music"),
        ("../models/small-music", "no model called '../models/small-music' is installed"),
    ],
)
def test_only_models_that_we_installed_can_be_removed(run_cli: RunCli, name: str, said: str) -> None:
    install("small-music")
    code, _, err = run_cli("remove", name, "--yes")
    assert code == 2
    assert said in err
    assert installed.find("small-music")


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    elsewhere = stage(tmp_path, "elsewhere")
    models_folder().mkdir(parents=True)
    (models_folder() / "mine").symlink_to(elsewhere)
    assert installed.find("mine")
    assert installed.remove("mine") == 0
    Bundle.load(elsewhere)


def test_an_unfinished_download_is_told_of_and_can_be_removed(run_cli: RunCli) -> None:
    folder = installed.download_folder("small-music") / "snapshots" / ("1" * 40)
    folder.mkdir(parents=True)
    (folder / "model.safetensors.0123.part").write_bytes(bytes(2_000_000))
    code, out, _ = run_cli("models")
    assert code == 0
    assert "2.0 MB downloaded, not installed; sa3-edge pull small-music goes on" in out
    code, out, _ = run_cli("remove", "small-music", "--yes")
    assert code == 0
    assert "2.0 MB are free again" in out
    assert not installed.unfinished_downloads()


def test_without_a_model_three_lines_say_how_to_get_one(run_cli: RunCli) -> None:
    code, out, err = run_cli("generate", "lofi piano", "--seconds", "90")
    assert (code, out) == (2, "")
    first, second, third = err.splitlines()
    assert "the model small-music is not installed" in first
    assert second == "To get it: sa3-edge pull small-music"
    assert "--model demo" in third


def test_with_other_models_installed_the_default_stays_and_they_are_named(run_cli: RunCli) -> None:
    install("small-sfx")
    code, _, err = run_cli("generate", "lofi piano")
    assert code == 2
    assert len(err.splitlines()) == 3
    assert "sa3-edge pull small-music" in err
    assert "--model small-sfx" in err
    code, _, err = run_cli("generate", "lofi piano", "--model", "nothing")
    assert code == 2
    assert "no model is called 'nothing' and no bundle lies there\nInstalled: --model small-sfx, --model demo" in err


def test_one_model_is_found_and_removed_without_looking_into_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("small-music", "small-sfx"):
        install(name)
    looked_into: list[str] = []
    describe = installed._describe

    def noting(name: str, path: Path) -> installed.InstalledModel:
        looked_into.append(name)
        return describe(name, path)

    monkeypatch.setattr(installed, "_describe", noting)
    found = installed.find("small-sfx")
    assert found is not None
    assert (found.name, found.problem) == ("small-sfx", None)
    assert installed.find("absent") is None
    installed.check_removable("small-sfx")
    assert looked_into == ["small-sfx"]


def test_removing_a_model_deletes_what_engines_compiled_of_its_own_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    manifest = Bundle.load(install("small-music", b"another")).manifest
    own, shared = (cache_entry("openvino", manifest.graphs[name].artifacts["onnx"]) for name in ("denoiser", "decoder"))
    for entry in (own, shared):
        (entry / "blob").write_bytes(b"x" * 1000)
    without = sum(path.stat().st_size for path in (models_folder() / "small-music").iterdir())
    assert installed.remove("small-music") == without + 1000
    assert not own.exists()
    assert shared.exists()  # the demo has the same decoder
