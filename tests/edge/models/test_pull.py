"""Pulling a model, from a stand-in for the hub: what is installed, and that nothing is after each kind of failure."""

import errno
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.filesize import decimal

import sa3_export
from sa3_edge.bundle import Bundle
from sa3_edge.manifest import decode_manifest, encode_manifest
from sa3_edge.models import download, installed, pull
from sa3_edge.models.catalog import PUBLISHED, data_folder, installed_models, models_folder
from sa3_edge.models.hub import Snapshot
from sa3_export import make_bundle
from sa3_export.graphs import GRAPHS
from tests.conftest import RunCli
from tests.stand_ins.hub import StandInHub

NAME = "small-music"
REPOSITORY = PUBLISHED[NAME]
GATED = ("--source", "checkpoint")
WEIGHTS = "model.safetensors"
TEXT_CONFIG = "t5gemma-b-b-ul2/config.json"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No models, no token, no cache of Hugging Face, no waiting, and no way to the real hub."""
    from huggingface_hub import constants

    for variable in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "data"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0)


@pytest.fixture
def hub(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    stand_in = StandInHub.of_folder(REPOSITORY, tiny_checkpoint)
    with stand_in.serving():
        monkeypatch.setenv("HF_ENDPOINT", stand_in.endpoint)
        yield stand_in


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Make exports quick: the demo under another name. The checkpoints that were exported."""
    exported: list[Path] = []

    def export_bundle(checkpoint: Path, out: Path, *, name: str, **options: Any) -> None:
        exported.append(checkpoint)
        for path in pull.FILES:
            assert (checkpoint / path).is_file()
        shutil.copytree(installed_models()["demo"], out)
        manifest = json.loads((out / "manifest.json").read_bytes())
        manifest["model"] |= {"name": name, "revision": checkpoint.name}
        (out / "manifest.json").write_bytes(encode_manifest(decode_manifest(json.dumps(manifest).encode())))

    monkeypatch.setattr(sa3_export, "export_bundle", export_bundle)
    return exported


def assert_nothing_installed() -> None:
    assert not models_folder().exists() or list(models_folder().iterdir()) == []
    assert not list(data_folder().glob(".staging-*"))


def error_lines(result: tuple[int, str, str]) -> list[str]:
    """The two lines of an error, after what a pull that began takes; nothing else is printed, nothing is installed."""
    code, out, err = result
    assert (code, out) == (1, "")
    assert_nothing_installed()
    lines = [line for line in err.splitlines() if not line.startswith("This takes ")]
    assert len(lines) == 2, err
    return lines


@pytest.mark.parametrize(
    "revision",
    [
        "../../../../../home/new",
        "/home/x",
        ".",
        "..",
        "a/b",
        "main",
        "1" * 39,
        "G" * 40,
        "x" * 5000,
        "a\0b",
        7,
        ["1" * 40],
        None,
    ],
)
def test_a_revision_is_a_commit_or_nothing_is_fetched(
    hub: StandInHub, exports: list[Path], run_cli: RunCli, revision: Any
) -> None:
    """It becomes a folder's name: what lies beside that folder is the user's."""
    home = data_folder().parent
    (home / "photos").mkdir(parents=True)
    hub.revision = revision
    code, _, err = run_cli("pull", NAME, *GATED)
    assert (code, "fault" in err) == (1, False), err
    assert (home / "photos").is_dir()
    assert_nothing_installed()
    assert exports == []


def test_only_an_older_revision_becomes_a_newer_one() -> None:
    snapshots = installed.download_folder(NAME) / "snapshots"
    for name in ("mine", "2" * 40):
        (snapshots / name).mkdir(parents=True)
    (snapshots / "mine" / "letter").touch()
    snapshot = Snapshot(REPOSITORY, "3" * 40, ())
    assert pull._download_folder(NAME, snapshot).name == "3" * 40
    assert sorted(path.name for path in snapshots.iterdir()) == ["3" * 40, "mine"]


def test_a_model_is_downloaded_exported_and_installed(
    hub: StandInHub, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One graph is enough to see the real exporter at work; it takes a quarter of a minute for all five.
    monkeypatch.setattr(make_bundle, "GRAPHS", {"text_encoder": GRAPHS["text_encoder"]})
    hub.files["svd_bases.pt"] = b"not needed"
    code, out, err = run_cli("pull", NAME, *GATED, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["name"] == NAME
    assert result["path"] == str(models_folder() / NAME)
    assert result["revision"] == hub.revision
    assert result["precisions"] == {"onnx": "fp32"}
    assert {request.path for request in hub.requests} == {"", *pull.FILES}
    assert not installed.unfinished_downloads()
    made = Bundle.load(models_folder() / NAME, trust_cache=False).manifest
    assert made.model.name == NAME
    assert not made.model.synthetic


def test_what_is_installed_needs_no_network(
    hub: StandInHub, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exports: list[Path]
) -> None:
    assert run_cli("pull", NAME, *GATED)[0] == 0
    asked = len(hub.requests)

    def no_network(*arguments: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    code, _, err = run_cli("generate", "rain", "-s", "0.5", "-o", tmp_path / "rain.wav")
    assert code == 0, err
    for command in (("models",), ("inspect", NAME), ("pull", NAME, *GATED)):
        code, out, err = run_cli(*command)
        assert code == 0, err
        assert NAME in out
    assert len(hub.requests) == asked


def test_a_cut_download_goes_on_at_the_next_pull(hub: StandInHub, run_cli: RunCli, exports: list[Path]) -> None:
    size = len(hub.files[WEIGHTS])
    hub.cuts[WEIGHTS] = [3_000_000, 1_000_000, *[0] * 5]
    lines = error_lines(run_cli("pull", NAME, *GATED))
    assert "stopped answering" in lines[0]
    assert "what was downloaded is kept" in lines[1]
    assert installed.unfinished_downloads()[NAME] >= 4_000_000
    asked = len(hub.asked_for(WEIGHTS))
    assert asked == 7
    assert run_cli("pull", NAME, *GATED)[0] == 0
    assert [request.start for request in hub.asked_for(WEIGHTS)[asked:]] == [4_000_000]
    assert size > 4_000_000
    assert len(hub.asked_for(TEXT_CONFIG)) == 1
    assert not installed.unfinished_downloads()


def test_a_cut_is_mended_while_bytes_arrive(hub: StandInHub, run_cli: RunCli, exports: list[Path]) -> None:
    hub.cuts[WEIGHTS] = [500_000] * 10
    assert run_cli("pull", NAME, *GATED)[0] == 0
    starts = [request.start for request in hub.asked_for(WEIGHTS)]
    assert starts == [500_000 * count for count in range(11)]


def test_a_server_without_ranges_sends_all_again_and_not_for_ever(
    hub: StandInHub, run_cli: RunCli, exports: list[Path]
) -> None:
    hub.ignores_ranges = True
    hub.cuts[WEIGHTS] = [500_000]
    assert run_cli("pull", NAME, *GATED)[0] == 0
    assert run_cli("remove", NAME, "--yes")[0] == 0
    hub.requests.clear()
    hub.cuts[WEIGHTS] = [500_000] * 100
    assert run_cli("pull", NAME, *GATED)[0] == 1
    assert len(hub.asked_for(WEIGHTS)) == 6


@pytest.mark.parametrize("path", [WEIGHTS, TEXT_CONFIG])
def test_a_file_with_another_hash_is_thrown_away(
    hub: StandInHub, run_cli: RunCli, exports: list[Path], path: str
) -> None:
    content = hub.files[path]
    hub.altered[path] = bytes([content[0] ^ 1]) + content[1:]
    lines = error_lines(run_cli("pull", NAME, *GATED))
    assert f"{path} of {REPOSITORY} arrived altered" in lines[0]
    assert "pull again" in lines[1]
    assert exports == []
    assert not list((installed.download_folder(NAME) / "snapshots" / hub.revision).glob(f"{path}*"))
    hub.altered.clear()
    assert run_cli("pull", NAME, *GATED)[0] == 0


@pytest.mark.parametrize("length", [1000, 10_000_000])
def test_a_file_of_another_length_is_not_accepted(
    hub: StandInHub, run_cli: RunCli, exports: list[Path], length: int
) -> None:
    hub.altered[WEIGHTS] = (hub.files[WEIGHTS] * 2)[:length]
    error_lines(run_cli("pull", NAME, *GATED))
    assert exports == []


@pytest.mark.parametrize("refused", ["listing", "file"])
@pytest.mark.parametrize(
    ("status", "token", "said", "remedy"),
    [
        (401, None, "you are not logged in (401)", "Accept the licence at {page}, then: hf auth login"),
        (401, "hf_wrong", "does not accept your Hugging Face token (401", "/settings/tokens"),
        (403, "hf_right", f"no access to {REPOSITORY} (403)", "Accept the licence at {page}"),
        (404, None, f"no repository {REPOSITORY}", "See {page}"),
        (418, None, f"the hub answers 418 for {REPOSITORY}", "See {page}"),
        (503, None, f"the hub answers 503 for {REPOSITORY}", "Try again later"),
    ],
)
def test_a_refusal_says_which_page_to_visit(
    hub: StandInHub,
    run_cli: RunCli,
    exports: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
    status: int,
    token: str | None,
    said: str,
    remedy: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if refused == "listing":
        hub.listing_status = status
    else:
        hub.file_status["model_config.json"] = status
    lines = error_lines(run_cli("pull", NAME, *GATED))
    assert said in lines[0]
    assert remedy.format(page=f"{hub.endpoint}/{REPOSITORY}") in lines[1]
    assert {request.token for request in hub.requests} == {f"Bearer {token}" if token else None}
    assert len(hub.requests) <= 7
    assert not hub.asked_for(WEIGHTS)


def test_the_token_is_for_the_hub_and_not_for_its_storage(
    hub: StandInHub, run_cli: RunCli, exports: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with StandInHub(REPOSITORY, hub.files).serving() as storage:
        hub.storage = storage.endpoint
        assert run_cli("pull", NAME, *GATED)[0] == 0
        assert {request.token for request in hub.requests} == {"Bearer hf_right"}
        assert storage.asked_for(WEIGHTS)
        assert {request.token for request in storage.requests} == {None}


def test_without_a_connection_nothing_is_lost(run_cli: RunCli, exports: list[Path]) -> None:
    lines = error_lines(run_cli("pull", NAME, *GATED))
    assert "http://127.0.0.1:1 cannot be reached" in lines[0]
    assert "--from DIR" in lines[1]


def test_offline_mode_is_kept(hub: StandInHub, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lines = error_lines(run_cli("pull", NAME, *GATED))
    assert "HF_HUB_OFFLINE is set" in lines[0]
    assert hub.requests == []


def test_a_repository_of_another_layout_is_named(hub: StandInHub, run_cli: RunCli) -> None:
    del hub.files[TEXT_CONFIG]
    lines = error_lines(run_cli("pull", NAME, *GATED))
    assert lines[0].endswith(f"{REPOSITORY} has no {TEXT_CONFIG}")
    assert f"{hub.endpoint}/{REPOSITORY}" in lines[1]


@pytest.mark.parametrize(
    ("gated", "token", "said"),
    [
        ("auto", None, "you are not logged in (401)"),
        ("auto", "hf_right", f"no access to {REPOSITORY} (403)"),
        (False, None, "does not state revision, sizes and hashes"),
    ],
)
def test_a_listing_without_hashes_is_not_enough(
    hub: StandInHub,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    gated: str | bool,
    token: str | None,
    said: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    names = [{"rfilename": path} for path in pull.FILES]
    hub.listing = json.dumps({"id": REPOSITORY, "sha": hub.revision, "siblings": names, "gated": gated}).encode()
    assert said in error_lines(run_cli("pull", NAME, *GATED))[0]


def test_a_login_page_is_not_a_hub(hub: StandInHub, run_cli: RunCli) -> None:
    hub.listing = b"<html>Welcome to the hotel</html>"
    assert "does not answer as a Hugging Face hub does" in error_lines(run_cli("pull", NAME, *GATED))[0]


def test_after_an_interruption_the_download_goes_on(
    hub: StandInHub, run_cli: RunCli, exports: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = download._Partial.write

    def interrupted(partial: download._Partial, chunk: bytes) -> None:
        write(partial, chunk)
        if partial.bytes > 3_000_000:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(download._Partial, "write", interrupted)
        code, out, err = run_cli("pull", NAME, *GATED)
    assert (code, out, err.splitlines()[1:]) == (130, "", ["interrupted"])
    assert_nothing_installed()
    assert run_cli("pull", NAME, *GATED)[0] == 0
    assert hub.asked_for(WEIGHTS)[-1].start > 3_000_000


def test_the_files_of_a_killed_pull_are_deleted(hub: StandInHub, run_cli: RunCli, exports: list[Path]) -> None:
    left = data_folder() / ".staging-killed"
    left.mkdir(parents=True)
    (left / "denoiser.onnx.data").write_bytes(b"half")
    assert run_cli("pull", NAME, *GATED)[0] == 0
    assert sorted(path.name for path in data_folder().iterdir()) == [".pull.lock", "downloads", "models"]


def test_what_a_pull_takes_is_said_before_it_begins(
    hub: StandInHub, exports: list[Path], run_cli: RunCli, tiny_checkpoint: Path
) -> None:
    sizes = sum(len(hub.files[path]) for path in pull.FILES)
    bundle = decimal(int(sizes * pull.BUNDLE_RATIO))
    code, _, err = run_cli("pull", NAME, *GATED)
    assert (code, err.splitlines()[0]) == (
        0,
        f"This takes {decimal(sizes)} to download and up to {bundle} for the model on the disk; "
        "the download is deleted at the end.",
    )
    code, _, err = run_cli("pull", NAME, "--from", tiny_checkpoint, "--overwrite")
    assert (code, err.splitlines()[0]) == (0, f"This takes up to {bundle} for the model on the disk.")


def test_too_little_space_is_seen_before_the_download(
    hub: StandInHub, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(len(hub.files[path]) for path in pull.FILES) * (1 + pull.BUNDLE_RATIO)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=int(needed) - 2_000_000))
    lines = error_lines(run_cli("pull", NAME, *GATED))
    assert f"takes 17.7 MB on the disk of {data_folder()}, 15.7 MB are free" in lines[0]
    assert "Free 2.0 MB" in lines[1]
    assert [request.path for request in hub.requests] == [""]


@pytest.mark.parametrize("when", ["download", "export"])
def test_a_disk_that_fills_up_leaves_no_half_model(
    hub: StandInHub, run_cli: RunCli, exports: list[Path], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half_an_export(checkpoint: Path, out: Path, **options: object) -> None:
        out.mkdir()
        (out / "text_encoder.onnx").write_bytes(b"half")
        full()

    with monkeypatch.context() as patch:
        if when == "download":
            hub.files = {path: hub.files[path] for path in pull.FILES}
            patch.setattr(download._Partial, "write", full)
        else:
            patch.setattr(sa3_export, "export_bundle", half_an_export)
        lines = error_lines(run_cli("pull", NAME, *GATED))
    assert f"the disk of {data_folder()} is full" in lines[0]
    assert "what was downloaded is kept" in lines[1]
    asked = len(hub.asked_for(WEIGHTS))
    assert run_cli("pull", NAME, *GATED)[0] == 0
    assert len(hub.asked_for(WEIGHTS)) == (1 if when == "download" else asked)


def test_what_is_installed_is_pulled_again_only_if_asked_or_broken(
    hub: StandInHub, run_cli: RunCli, exports: list[Path]
) -> None:
    assert run_cli("pull", NAME, *GATED)[0] == 0
    code, out, _ = run_cli("pull", NAME, *GATED)
    assert code == 0
    assert "was installed already" in out
    assert len(exports) == 1
    hub.revision = "2" * 40
    assert run_cli("pull", NAME, *GATED, "--overwrite")[0] == 0
    model = installed.find(NAME)
    assert model is not None
    assert model.model is not None
    assert model.model.revision == hub.revision
    (models_folder() / NAME / "decoder.onnx").unlink()
    code, out, _ = run_cli("pull", NAME, *GATED)
    assert code == 0
    assert "is installed" in out
    assert len(exports) == 3
    Bundle.load(models_folder() / NAME, trust_cache=False)


def test_a_failed_export_keeps_the_old_model_and_the_download(
    hub: StandInHub, run_cli: RunCli, exports: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_cli("pull", NAME, *GATED)[0] == 0
    before = Bundle.load(models_folder() / NAME).id

    def fails(*arguments: object, **options: object) -> None:
        raise sa3_export.ParityError("denoiser: velocity differs")

    with monkeypatch.context() as patch:
        patch.setattr(sa3_export, "export_bundle", fails)
        code, _, err = run_cli("pull", NAME, *GATED, "--overwrite")
    assert code == 1
    assert "velocity differs" in err
    assert Bundle.load(models_folder() / NAME, trust_cache=False).id == before
    assert [path.name for path in models_folder().iterdir()] == [NAME]
    hub.requests.clear()
    assert run_cli("pull", NAME, *GATED, "--overwrite")[0] == 0
    assert not hub.asked_for(WEIGHTS)


def test_a_download_goes_on_across_revisions_where_files_are_the_same(
    hub: StandInHub, run_cli: RunCli, exports: list[Path]
) -> None:
    hub.cuts[WEIGHTS] = [3_000_000, *[0] * 5]
    error_lines(run_cli("pull", NAME, *GATED))
    hub.revision = "2" * 40
    hub.files["model_config.json"] += b"\n"
    hub.requests.clear()
    assert run_cli("pull", NAME, *GATED)[0] == 0
    assert exports[0].name == hub.revision
    assert [request.start for request in hub.asked_for(WEIGHTS)] == [3_000_000]
    assert len(hub.asked_for("model_config.json")) == 1
    assert not hub.asked_for(TEXT_CONFIG)


def test_what_hugging_faces_cache_has_is_not_downloaded_but_checked(
    hub: StandInHub, run_cli: RunCli, exports: list[Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "hf" / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / hub.revision
    shutil.copytree(tiny_checkpoint, snapshot)
    assert run_cli("pull", NAME, *GATED)[0] == 0
    assert exports == [snapshot]
    assert [request.path for request in hub.requests] == [""]
    (snapshot / WEIGHTS).write_bytes(bytes(len(hub.files[WEIGHTS])))
    assert run_cli("pull", NAME, *GATED, "--overwrite")[0] == 0
    assert len(hub.asked_for(WEIGHTS)) == 1
    assert snapshot.is_dir()


def test_local_files_need_no_hub(run_cli: RunCli, exports: list[Path], tiny_checkpoint: Path) -> None:
    code, _, err = run_cli("pull", NAME, "--from", tiny_checkpoint)
    assert code == 0, err
    assert exports == [tiny_checkpoint]
    assert tiny_checkpoint.is_dir()
    assert installed.find(NAME)


def test_a_checkpoint_of_the_other_kind_is_refused(run_cli: RunCli, tiny_checkpoint: Path) -> None:
    code, _, err = run_cli("pull", f"{NAME}-base", "--from", tiny_checkpoint)
    assert code == 2
    assert "no checkpoint of small-music-base" in err
    assert "'rf_denoiser'" in err
    assert_nothing_installed()


def test_no_checkpoint_and_no_such_model(run_cli: RunCli, tmp_path: Path) -> None:
    code, _, err = run_cli("pull", NAME, "--from", tmp_path / "absent")
    assert code == 2
    assert "is not a directory with a checkpoint" in err
    code, _, err = run_cli("pull", "large")
    assert code == 2
    assert "choose small-music, small-sfx, small-music-base, small-sfx-base" in err
    assert_nothing_installed()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--formats", "onnx,abacus"), "unknown format 'abacus'"),
        (("--engine", "coreml", "--precision", "int3"), "int3"),
    ],
)
def test_a_format_that_cannot_be_made_is_refused_before_the_download(
    hub: StandInHub, run_cli: RunCli, options: tuple[str, ...], said: str
) -> None:
    code, _, err = run_cli("pull", NAME, *GATED, *options)
    assert code == 2
    assert said in err
    assert hub.requests == []


def test_two_pulls_at_once_do_not_mix(hub: StandInHub, run_cli: RunCli, exports: list[Path]) -> None:
    with pull._one_at_a_time():
        lines = error_lines(run_cli("pull", NAME, *GATED))
    assert "another pull is at work" in lines[0]
    assert hub.requests == []
    assert run_cli("pull", NAME, *GATED)[0] == 0


@pytest.mark.parametrize(
    ("name", "meant"),
    [("smal-music", "small-music"), ("stabilityai/stable-audio-3-small-sfx", "small-sfx"), ("foo", None)],
)
def test_a_model_that_is_not_published_is_refused_before_torch_is_asked_for(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "sa3_export", None)
    code, _, err = run_cli("pull", name)
    assert code == 2
    assert f"no published model is called {name!r}" in err
    assert (f"did you mean {meant}?" in err) == (meant is not None)


def test_without_its_extra_pull_says_how_to_get_it(
    hub: StandInHub, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sa3_export", None)
    code, _, err = run_cli("pull", NAME, *GATED)
    assert code == 1
    assert "-m pip install" in err
    assert "[export]" in err
    assert hub.requests == []


def test_progress_counts_bytes_to_the_end(hub: StandInHub) -> None:
    hub.cuts[WEIGHTS] = [3_000_000]
    seen: list[tuple[int, int]] = []
    pull.pull(
        NAME,
        lambda checkpoint, out: shutil.copytree(installed_models()["demo"], out),
        progress=lambda done, total: seen.append((done, total)),
    )
    total = sum(len(hub.files[path]) for path in pull.FILES)
    assert {of for _, of in seen} == {total}
    assert seen[-1][0] == total
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
