"""The server as a process: killed in the middle of a write, stopped by signals, and the commands around it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import soundfile

from sa3_edge.cli import serve as serving
from tests.conftest import RunCli
from tests.edge.serve.conftest import DEADLINE, SLOW, until

# The command with a file system so slow that whoever kills it does so in the middle of a write.
SLOW_WRITES = """
import os
import time
from pathlib import Path
from sa3_edge.audio.encoding import AudioWriter
from sa3_edge.cli import main
def slowly(writer):
    (Path(os.environ["FOLDER"]) / "in-the-middle").touch()
    time.sleep(600)
if Path(os.environ["MARK"]).exists():
    AudioWriter.close = slowly
main()
"""


@contextmanager
def process(
    folder: Path, *arguments: str, code: str = "", mark: str = ""
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`sa3-edge serve` -> the process and its address."""
    command = ["-c", code] if code else ["-m", "sa3_edge"]
    started = subprocess.Popen(
        [sys.executable, *command, "serve", "--model", "demo", "--port", "0", "--folder", str(folder), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MARK": mark, "FOLDER": str(folder)},
    )
    assert started.stderr is not None
    try:
        line = started.stderr.readline()
        assert line.startswith("sa3-edge listens on "), line + started.stderr.read()
        yield started, line.split()[3]
    finally:
        started.kill()
        started.wait()
        started.stderr.close()


def test_killed_in_the_middle_of_a_write_no_partial_file_bears_a_name(tmp_path: Path) -> None:
    folder, mark = tmp_path / "clips", tmp_path / "slow"
    with process(folder, code=SLOW_WRITES, mark=str(mark)) as (_, url):
        body = {"prompt": "whole", "seconds": 1, "seed": 1}
        whole = httpx.post(f"{url}v1/generations", json=body).json()
        until(lambda: httpx.get(f"{url}v1/generations/{whole['id']}").json()["state"] == "done")
    mark.touch()
    with process(folder, code=SLOW_WRITES, mark=str(mark)) as (server, url):
        httpx.post(f"{url}v1/generations", json={**body, "prompt": "cut"})
        until((folder / "in-the-middle").exists)
        server.send_signal(signal.SIGKILL)
        server.wait()
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert [name for name in names if name.startswith(".sa3-edge-")], names  # something was being written
    assert {name for name in names if not name.startswith(".")} == {"whole-1.flac", "history.jsonl", "in-the-middle"}
    assert soundfile.info(folder / "whole-1.flac").frames
    mark.unlink()
    with process(folder) as (_, url):
        (again,) = httpx.get(f"{url}v1/generations").json()["generations"]
        assert (again["id"], again["prompt"]) == (whole["id"], "whole")
        httpx.post(f"{url}v1/generations", json={**body, "prompt": "cut"})
        until(lambda: (folder / "cut-1.flac").exists())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_soon_though_a_clip_is_made_and_a_page_follows(tmp_path: Path, number: signal.Signals) -> None:
    with process(tmp_path) as (server, url), httpx.stream("GET", f"{url}v1/events", timeout=DEADLINE) as events:
        next(events.iter_lines())
        httpx.post(f"{url}v1/generations", json=SLOW)
        server.send_signal(number)
        start = time.monotonic()
        server.wait(DEADLINE)
        assert time.monotonic() - start < DEADLINE / 2
    assert not list(tmp_path.glob("*.flac"))


def test_elsewhere_than_on_this_machine_a_token_is_made_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(serving.TOKEN, raising=False)
    with process(tmp_path, "--host", "0.0.0.0") as (server, url):  # noqa: S104  what is tested
        assert server.stderr is not None
        line = server.stderr.readline()
        token = line.split()[1]
        port = url.rstrip("/").rpartition(":")[2]
        local = f"http://127.0.0.1:{port}/health"
        assert httpx.get(local).status_code == 401
        assert httpx.get(local, headers={"authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "70000"), "--port must be from 0"),
        (("--host", "999.1.1.1"), "cannot listen on 999.1.1.1"),
        (("--queue", "0"), "--queue must be from 1"),
        (("--idle-unload", "-1"), "--idle-unload must be 0 or more"),
    ],
)
def test_invalid_requests_are_explained_in_one_line(
    run_cli: RunCli, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = run_cli("serve", "--model", "demo", "--folder", tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["serve", "ui", "mcp"])
def test_without_its_extra_it_says_what_to_install(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    code, _, err = run_cli(command, "--model", "demo")
    assert code == 1
    assert f"[{'mcp' if command == 'mcp' else 'serve'}]" in err


def test_a_port_that_is_taken_and_a_model_that_is_not_there_are_said(run_cli: RunCli, tmp_path: Path) -> None:
    from sa3_edge.serve.server import bind

    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        code, _, err = run_cli("serve", "--model", "demo", "--folder", tmp_path, "--port", port)
    assert code == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in err
    code, _, err = run_cli("serve", "--model", "nowhere", "--folder", tmp_path, "--port", 0)
    assert code == 2
    assert "no model is called 'nowhere'" in err
