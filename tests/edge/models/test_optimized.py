"""Pulling without a login: the optimized repository's files, from a stand-in for the hub; the licence is asked once."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sa3_export
from sa3_edge.bundle import Bundle
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.models import download, installed, optimized
from sa3_edge.models.catalog import data_folder, installed_models, models_folder
from sa3_edge.models.licence import WEIGHTS as LICENCE
from sa3_edge.models.optimized import Pinned
from sa3_export.checkpoints.published import Checkpoint
from tests.conftest import DATA, Golden, RunCli
from tests.goldens import run_errors
from tests.stand_ins.hub import StandInHub
from tests.stand_ins.optimized import optimized_folder

NAME = "small-music"
DIT = "MLX/dit_sm-music_f16.npz"
YES = ("pull", NAME, "--accept-licence", "--precision", "fp32")


def pinned(path: str, data: bytes) -> Pinned:
    return Pinned(path, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No models, no token, and no way to the real hub."""
    from huggingface_hub import constants

    for variable in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "data"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """Two repositories, neither gated: the tiny model's files under their published names, and the base model's."""
    weights = {f"MLX/{path.name}": path.read_bytes() for path in (DATA / "tiny_optimized").glob("*.npz")}
    config = json.loads((DATA / "tiny" / "model_config.json").read_bytes())
    config["model"]["diffusion"]["diffusion_objective"] = "rectified_flow"
    texts = {
        path: (DATA / "tiny" / path).read_bytes()
        for path in ("t5gemma-b-b-ul2/config.json", "t5gemma-b-b-ul2/tokenizer.json")
    }
    base = StandInHub(
        optimized.BASE, {"model_config.json": json.dumps(config).encode(), **texts}, optimized.BASE_REVISION
    )
    served = StandInHub(optimized.REPOSITORY, weights, optimized.REVISION, beside=[base])
    files = tuple(pinned(path, data) for path, data in sorted(weights.items()))
    monkeypatch.setattr(optimized, "WEIGHTS", {NAME: files})
    monkeypatch.setattr(optimized, "TEXT", tuple(pinned(path, data) for path, data in texts.items()))
    monkeypatch.setattr(optimized, "_SAMPLE_SIZE", config["sample_size"])
    with served.serving():
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Make exports quick: what is looked at is what comes before them. The checkpoints that were exported."""
    exported: list[Path] = []

    def export_bundle(checkpoint: Path, out: Path, **options: Any) -> None:
        Checkpoint(checkpoint)
        exported.append(checkpoint)
        shutil.copytree(installed_models()["demo"], out)

    monkeypatch.setattr(sa3_export, "export_bundle", export_bundle)
    return exported


def assert_nothing_installed() -> None:
    assert not models_folder().exists() or list(models_folder().iterdir()) == []
    assert not list(data_folder().glob(".staging-*"))


def refused(result: tuple[int, str, str], code: int = 1) -> str:
    """What is said of a pull that failed: one message and what to do, nothing installed."""
    assert result[:2] == (code, "")
    assert_nothing_installed()
    lines = [line for line in result[2].splitlines() if not line.startswith("This takes ")]
    assert len(lines) <= 2, result[2]
    return lines[0]


def test_a_pull_needs_no_login_and_makes_what_the_goldens_are_within_its_cost(
    hub: StandInHub, run_cli: RunCli, golden: Golden, golden_arguments: dict[str, Any]
) -> None:
    code, out, err = run_cli(*YES)
    assert code == 0, err
    assert out.splitlines()[-1].startswith(f"{NAME} is installed")
    assert all(request.token is None for each in (hub, *hub.beside) for request in each.requests)
    bundle = Bundle.load(models_folder() / NAME)
    made_with = bundle.manifest.made_with
    assert made_with["source precision"].startswith("float16")
    assert re.fullmatch(rf"{LICENCE.name}, \d{{4}}-\d\d-\d\d", made_with["licence accepted"])
    assert bundle.manifest.model.revision == f"sha256:{hashlib.sha256(hub.files[DIT]).hexdigest()}"
    assert bundle.manifest.sampler.objective == "rf_denoiser"
    assert not installed.download_folder(NAME).exists()
    with Pipeline.load(NAME) as pipeline:
        errors = {
            key: error for run in golden_arguments["runs"][:1] for key, error in run_errors(pipeline, golden, run)
        }
    assert errors
    assert max(errors.values()) < 10 ** (-62 / 20), errors


def test_the_licence_is_asked_once_and_nothing_is_fetched_without_a_yes(
    hub: StandInHub, exports: list[Path], run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run_cli("pull", NAME)
    assert (code, out) == (2, "")
    assert LICENCE.name in err
    assert LICENCE.page in err
    assert all(term in err for term in LICENCE.terms)
    assert err.splitlines()[-1].endswith(f"pull {NAME} --accept-licence")
    assert hub.requests == hub.beside[0].requests == []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    asked: list[str] = []

    def answer(text: str, **options: object) -> bool:
        asked.append(text)
        return len(asked) > 1

    monkeypatch.setattr("typer.confirm", answer)
    code, out, err = run_cli("pull", NAME)
    assert (code, err.splitlines()[-1].endswith("its licence is not accepted")) == (2, True)
    assert hub.requests == []
    assert_nothing_installed()
    assert run_cli("pull", NAME, "--precision", "fp32")[0] == 0
    assert len(asked) == 2
    assert run_cli("pull", NAME)[0] == 0  # it is installed: nothing to ask
    assert len(asked) == 2


def test_a_cut_download_goes_on(hub: StandInHub, exports: list[Path], run_cli: RunCli) -> None:
    hub.cuts[DIT] = [500_000] + [0] * 10
    refused(run_cli(*YES))
    del hub.cuts[DIT]
    assert run_cli(*YES)[0] == 0
    assert hub.asked_for(DIT)[-1].start == 500_000
    assert len(hub.asked_for("MLX/t5gemma_f16.npz")) == 1


@pytest.mark.parametrize("path", [DIT, "MLX/same_s_encoder_f32.npz", "t5gemma-b-b-ul2/tokenizer.json"])
def test_a_file_that_is_not_the_pinned_one_is_thrown_away(
    hub: StandInHub, exports: list[Path], run_cli: RunCli, path: str
) -> None:
    where = hub if path in hub.files else hub.beside[0]
    where.altered[path] = where.files[path][:-1] + b"?"
    assert f"{path} of {where.repository} arrived altered" in refused(run_cli(*YES))
    where.altered.clear()
    assert run_cli(*YES)[0] == 0


def test_a_missing_file_is_named(hub: StandInHub, exports: list[Path], run_cli: RunCli) -> None:
    del hub.files["MLX/t5gemma_f16.npz"]
    assert "has no repository" in refused(run_cli(*YES))
    del hub.beside[0].files["model_config.json"]
    assert "has no model_config.json" in refused(run_cli(*YES))


def test_another_revision_than_the_pinned_one_is_refused(
    hub: StandInHub, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = json.loads(hub.beside[0].true_listing()) | {"sha": "2" * 40}
    hub.beside[0].listing = json.dumps(listing).encode()
    assert "answers with revision 2222" in refused(run_cli(*YES))


def test_a_full_disk_is_known_before_anything_is_fetched(
    hub: StandInHub, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 0, 10))
    assert "10 bytes are free" in refused(run_cli(*YES))
    assert hub.requests == []


def test_a_folder_of_these_files_will_do(exports: list[Path], run_cli: RunCli, tmp_path: Path) -> None:
    folder = optimized_folder(tmp_path / "here")
    code, _, err = run_cli("pull", NAME, "--from", folder)
    assert (code, err.splitlines()[-1].endswith(f"--from {folder} --accept-licence")) == (2, True)
    assert run_cli(*YES, "--from", folder)[0] == 0
    code, _, err = run_cli("pull", "small-sfx", "--accept-licence", "--from", folder)
    assert (code, len(err.splitlines())) == (2, 2)
    assert "is no checkpoint of small-sfx: it holds dit_sm-music_f16.npz" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--source", "elsewhere"), "--source must be optimized or checkpoint"),
        (("--source", "optimized", "--exact"), "--exact does not go with --source optimized"),
    ],
)
def test_invalid_ways_to_pull_are_refused(run_cli: RunCli, options: tuple[str, ...], said: str) -> None:
    assert said in refused(run_cli("pull", NAME, *options), code=2)


def test_a_model_that_is_a_checkpoint_only_says_so(run_cli: RunCli) -> None:
    assert "is published as a checkpoint only" in refused(run_cli("pull", "medium", "--source", "optimized"), code=2)
