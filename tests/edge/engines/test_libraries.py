"""Nothing is sent, and nothing written outside our own folders: by us, and by the libraries that would."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.stand_ins import no_network

ROOT = Path(__file__).parents[3]
CODE = ("sa3_edge", "export", "benchmarks", "runtimes", "tests")
SWITCHES = ("ORT_", "HF_", "DISABLE_TELEMETRY", "XDG_")


# A server whose only socket is the one on which it listens.
GUARDED_SERVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import no_network
from sa3_edge.serve.server import bind, serve
from sa3_edge.serve.settings import Settings
listening = bind("127.0.0.1", 0)
if not no_network.install():
    sys.exit(no_network.NOT_HERE)
serve(Settings("demo", Path("clips").resolve()), listening, lambda: print(listening.getsockname()[1], flush=True))
"""


def _new_home(home: Path) -> dict[str, str]:
    (home / "tmp").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SWITCHES)}
    return environment | {"HOME": str(home), "TMPDIR": str(home / "tmp")}


def _alone(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a new home, where the first socket kills it."""
    environment = _new_home(home)
    guard = [sys.executable, no_network.__file__, sys.executable]
    done = subprocess.run([*guard, *command], env=environment, cwd=home, capture_output=True, text=True, check=False)
    if done.returncode == no_network.NOT_HERE:
        pytest.skip("this system cannot watch the sockets of a process")
    return done


def _files(home: Path) -> list[str]:
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("call", ["socket.socket()", "socket.getaddrinfo('example.org', 80)"])
def test_the_guard_sees_a_socket(tmp_path: Path, call: str) -> None:
    done = _alone(tmp_path / "home", "-c", f"import socket; socket.socketpair(); print('there'); {call}")
    assert done.returncode == -signal.SIGSYS


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_clip_sends_nothing_and_writes_one_file(tmp_path: Path, engine: str) -> None:
    home = tmp_path / "home"
    arguments = ("generate", "x", "--seconds", "0.2", "--model", "demo", "--engine", engine, "-o", "clip.wav")
    done = _alone(home, "-m", "sa3_edge", *arguments)
    assert done.returncode == 0, done.stderr
    ours = (".cache/sa3-edge/", ".local/share/sa3-edge/", "Library/")
    assert [file for file in _files(home) if not file.startswith(ours)] == ["clip.wav"]


def test_an_export_sends_nothing_and_writes_its_bundle(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = _alone(home, "-m", "sa3_edge", "export", "--synthetic", "tiny", "--out", "bundle")
    assert done.returncode == 0, done.stderr
    assert [file for file in _files(home) if not file.startswith("bundle/")] == []


def test_the_server_opens_no_socket_of_its_own_and_writes_its_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = _new_home(home)
    command = [sys.executable, "-c", GUARDED_SERVER, str(Path(no_network.__file__).parent)]
    with subprocess.Popen(command, env=environment, cwd=home, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        if not port and server.wait() == no_network.NOT_HERE:
            pytest.skip("this system cannot watch the sockets of a process")
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                made = client.post("/v1/generations", json={"prompt": "x", "seconds": 0.2}).json()
                assert client.get(f"/v1/generations/{made['id']}/audio").content[:4] == b"fLaC"
                for path in ("/", "/health", "/v1/models", "/docs"):
                    assert client.get(path).status_code == 200, path
        finally:
            server.send_signal(signal.SIGTERM)
    assert server.returncode not in (-signal.SIGSYS, 1)
    ours = (".cache/sa3-edge/", "clips/")
    assert [file for file in _files(home) if not file.startswith(ours)] == []


def test_looking_at_versions_sends_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = _alone(home, "-m", "sa3_edge", "doctor")
    assert done.returncode == 0, done.stderr
    assert "openvino" in done.stdout
    assert [file for file in _files(home) if not file.startswith(".cache/sa3-edge/")] == []


def test_a_pull_names_no_versions_to_the_hub() -> None:
    code = (
        "import sa3_edge.models.hub; from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SWITCHES)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_user_may_switch_reports_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from sa3_edge.engines.libraries import send_nothing

    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    send_nothing()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"


def test_only_one_module_imports_what_would_send() -> None:
    """By any other import, whichever comes first in a process would decide."""
    found = []
    for path in (path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.split(".")[0] in _SENDING]
    assert found == []


_SENDING = {"onnxruntime", "openvino", "openvino_telemetry"}
