"""The tiny checkpoint, what the reference computes on it, and its bundle, exported once a session."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sa3_edge import cli
from sa3_edge.engines.libraries import send_nothing
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.manifest import FILE_NAME, Manifest, decode_manifest
from sa3_edge.models.catalog import DEMO, resolve_model

send_nothing()  # here: before a test or a library that it uses loads onnxruntime
for _name in ("SIGINT", "SIGTERM", "SIGHUP"):
    # A shell starts what it runs in the background deaf to Ctrl-C, nohup deaf to hanging up; and so would be all that
    # tests start.
    _number = getattr(signal, _name, signal.SIGTERM)
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

DATA = Path(__file__).parent / "data"
Golden = dict[str, NDArray[Any]]
RunCli = Callable[..., tuple[int, str, str]]


def relative_error(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """||actual - expected|| / ||expected||; goldens kept in fp16 were rounded after computing, so ours are too."""
    actual = actual.astype(expected.dtype).astype(np.float64)
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    return DATA / "tiny"


@pytest.fixture(scope="session")
def golden() -> Golden:
    return load_file(DATA / "tiny" / "golden.safetensors")


@pytest.fixture(scope="session")
def golden_arguments() -> dict[str, Any]:
    arguments: dict[str, Any] = json.loads((DATA / "tiny" / "golden.json").read_text(encoding="utf-8"))
    return arguments


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep what a user has installed out of the tests, and the tests out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        yield


def _exported(checkpoint: Path, temporary: pytest.TempPathFactory, precision: str) -> Path:
    """A bundle that is made once, by whichever of the session's processes asks first."""
    from filelock import FileLock

    from sa3_export import ExportPlan, export_bundle

    folder = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a folder of its own in the session's
        folder = folder.parent
    out = folder / f"tiny-{precision}"
    with FileLock(f"{out}.lock"):
        if not out.exists():
            export_bundle(checkpoint, out, ExportPlan(precision=precision))
    return out


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _exported(tiny_checkpoint, tmp_path_factory, "balanced")


@pytest.fixture(scope="session")
def int8_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _exported(tiny_checkpoint, tmp_path_factory, "int8")


@pytest.fixture(scope="session")
def manifest(tiny_bundle: Path) -> Manifest:
    return decode_manifest((tiny_bundle / "manifest.json").read_bytes())


@pytest.fixture(scope="session")
def pipeline(tiny_bundle: Path) -> Pipeline:
    return Pipeline.load(tiny_bundle, keep_loaded=True)


@pytest.fixture(scope="session")
def noise_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as if its weights were random: a bundle named "noise" that has to say what it is."""
    bundle = tmp_path_factory.mktemp("synthetic") / "noise"
    shutil.copytree(resolve_model(DEMO), bundle)
    described = json.loads((bundle / FILE_NAME).read_text(encoding="utf-8"))
    described["model"] |= {"name": "noise", "synthetic": True}
    (bundle / FILE_NAME).write_text(json.dumps(described), encoding="utf-8")
    return bundle


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCli:
    """Run `sa3-edge ARGUMENTS` in this process -> exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["sa3-edge", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
