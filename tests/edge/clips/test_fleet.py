"""A list on a cluster: the files of a local run, whatever is lost on the way."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from sa3_edge import ClipOptions, EngineError, FileOptions, MemoryLimitError, Pipeline, RequestError, render
from sa3_edge.clips import fleet
from sa3_edge.clips.fleet import Fleet, Made
from sa3_edge.clips.render import prepare
from sa3_edge.errors import Sa3Error
from sa3_edge.manifest import FILE_NAME
from sa3_edge.models.catalog import resolve_model
from tests.conftest import RunCli

_RATE = 44100


def _recording(folder: Path) -> Path:
    path = folder / "recording.wav"
    soundfile.write(path, np.random.default_rng(1).normal(size=(_RATE, 2)) * 0.1, _RATE)
    return path


def _kill_a_worker(command: subprocess.Popen[str], made: Path) -> bool:
    """Kill a worker that makes a clip, once another is made; False if the command ended before."""
    driver = psutil.Process(command.pid)
    while command.poll() is None:
        if any(made.glob("*.wav")):
            for process in driver.children(recursive=True):
                try:
                    if "_Worker.make" in " ".join(process.cmdline()):
                        process.kill()
                        return True
                except psutil.Error:
                    continue
        time.sleep(0.002)
    return False


def test_a_list_on_a_cluster_is_that_of_a_local_run_though_a_worker_is_killed(run_cli: RunCli, tmp_path: Path) -> None:
    _recording(tmp_path)
    lines: list[dict[str, Any]] = [{"prompt": f"techno {place}", "seed": place} for place in range(10)]
    lines += [
        {"prompt": "piano", "seed": 1, "seconds": 1, "init_audio": "recording.wav", "inpaint": ["0.2:0.6"]},
        {"prompt": "rain", "seed": 2, "format": "flac"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ["generate", "--prompts", tmp_path / "list.jsonl", "-m", "demo", "-s", "8", "--threads", "1", "--json"]
    arguments.append("--sidecar")
    code, _, err = run_cli(*arguments, "-o", tmp_path / "here")
    assert code == 0, err

    there = [*map(str, arguments), "--on", "ray", "-o", str(tmp_path / "there")]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with subprocess.Popen(
        [sys.executable, "-m", "sa3_edge", *there],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as command:  # fmt: skip
        killed = _kill_a_worker(command, tmp_path / "there")
        out, err = command.communicate()
    assert command.returncode == 0, err
    assert killed
    assert sorted(json.loads(line)["line"] for line in out.splitlines()) == list(range(1, 13))
    names = {path.name for path in (tmp_path / "here").iterdir()}
    assert names == {path.name for path in (tmp_path / "there").iterdir()}
    for name in (name for name in names if not name.endswith((".json", ".jsonl"))):  # these say how long it took
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name

    # It resumes as it would here: nothing is made anew.
    code, out, err = run_cli(*arguments, "-o", tmp_path / "there")
    assert code == 0, err
    assert all(json.loads(line)["skipped"] for line in out.splitlines())


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cluster of this process: what is put is got, and caches are the test's."""

    class Cluster:
        @staticmethod
        def put(value: object) -> object:
            return value

        get = put

    monkeypatch.setattr(fleet, "load_ray", lambda: Cluster)
    monkeypatch.setattr(fleet, "user_cache_path", lambda name: tmp_path / "cache")


@pytest.fixture
def nameless(tmp_path: Path) -> Pipeline:
    """A model that is installed nowhere: the demo under another name."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in resolve_model("demo").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((folder / FILE_NAME).read_text())
    manifest["model"]["name"] = "other"
    (folder / FILE_NAME).write_text(json.dumps(manifest))
    return Pipeline.load(folder)


def _worker(pipeline: Pipeline, folder: Path) -> Any:
    graphs = pipeline.graphs
    return fleet._Worker(
        fleet._Model(pipeline.name, folder, pipeline.bundle.id, graphs.engine.name, graphs.options, pipeline.max_memory)
    )


@pytest.mark.usefixtures("sent")
def test_a_node_is_sent_what_it_lacks(nameless: Pipeline, tmp_path: Path) -> None:
    recording = _recording(tmp_path)
    driver, worker = Fleet("ray", nameless), _worker(nameless, tmp_path / "nowhere")
    assert worker.start()[1] is None
    assert worker.take_bundle(driver._bundle_files()) == nameless.engine
    again = _worker(nameless, tmp_path / "nowhere")
    assert again.start()[1] == nameless.engine  # the node keeps it

    options = ClipOptions("piano", seed=3, init_audio=recording, noise_level=0.5)
    job = prepare(options, FileOptions(output=tmp_path / "clips.wav"))
    order = driver._order(job.options, job.files[0])
    recording.rename(tmp_path / "away.wav")
    made = worker.make(order)
    assert isinstance(made, Made), made
    made.write()
    (tmp_path / "away.wav").rename(recording)
    render(options, nameless, FileOptions(output=tmp_path / "same.wav"))
    assert (tmp_path / "clips.wav").read_bytes() == (tmp_path / "same.wav").read_bytes()
    kept = Path(worker._folder.name)
    worker.end()
    assert not kept.exists()


@pytest.mark.usefixtures("sent")
def test_what_is_wrong_with_a_clip_is_an_answer(nameless: Pipeline, tmp_path: Path) -> None:
    worker = _worker(nameless, nameless.bundle.path)
    assert worker.start()[1] == nameless.engine
    job = prepare(ClipOptions("x", seed=1, seconds=99999), FileOptions(output=tmp_path / "x.wav"))
    answer = worker.make(Fleet("ray", nameless)._order(job.options, job.files[0]))
    assert isinstance(answer, Sa3Error)
    assert "seconds" in str(answer)


@pytest.mark.usefixtures("sent")
def test_a_worker_is_bound_by_what_the_run_may_take(tmp_path: Path) -> None:
    bound = Pipeline.load("demo", max_memory="60MB")
    worker = _worker(bound, bound.bundle.path)
    worker.start()
    job = prepare(ClipOptions("x", seed=1, seconds=5), FileOptions(output=tmp_path / "x.wav"))
    answer = worker.make(Fleet("ray", bound)._order(job.options, job.files[0]))
    assert isinstance(answer, MemoryLimitError)


def test_no_cluster_is_refused_before_the_model_is_opened(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("x\n")
    code, _, err = run_cli("generate", "--prompts", tmp_path / "list.txt", "-m", "nowhere", "--on", "http://x")
    assert (code, "is no cluster" in err) == (2, True)
    code, _, err = run_cli("generate", "x", "-m", "demo", "--on", "ray")
    assert (code, "--on is for a list" in err) == (2, True)


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline.load("demo")

    def missing() -> None:
        raise ImportError

    monkeypatch.setattr(fleet, "load_ray", missing)
    with pytest.raises(EngineError) as caught:
        Fleet("ray", pipeline)
    assert caught.value.remedy is not None
    assert caught.value.remedy.of == ("ray",)
    with pytest.raises(RequestError, match="is no cluster"):
        Fleet("ray://", pipeline)
