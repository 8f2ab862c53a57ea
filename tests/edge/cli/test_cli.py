"""The command as a whole: what it loads, and what it tells."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sa3_edge
from sa3_edge.bundle import Bundle
from sa3_edge.cli import doctor
from sa3_edge.engines import ENGINES, Engine, EngineOptions, create_engine
from sa3_edge.models.catalog import installed_models, models_folder
from tests.conftest import RunCli

HEAVY = ("torch", "coremltools", "onnxruntime", "openvino", "numpy", "tokenizers", "soundfile")


@pytest.mark.parametrize("module", ["sa3_edge", "sa3_edge.cli", "sa3_edge.cli.app"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_generating_needs_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'sa3_export', 'onnx', 'onnxscript'): sys.modules[name] = None\n"
        "from sa3_edge import GenerationRequest, Pipeline\n"
        "from sa3_edge.models.catalog import resolve_model\n"
        "made = Pipeline.load(resolve_model('demo')).generate(GenerationRequest('x', 0.5, seed=1))\n"
        "print(made.audio.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 22050)"


def test_export_without_its_extra_says_how_to_get_it(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sa3_export", None)
    code, _, err = run_cli("export", "--synthetic", "tiny")
    assert code == 1
    assert "-m pip install" in err
    assert "[export]" in err


def test_exporting_into_a_file_is_refused_in_one_line(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run_cli("export", "--synthetic", "tiny", "--out", tmp_path / "file" / "bundle")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(f"error: the export failed at {tmp_path / 'file'}")
    assert "Not a directory" in err or "File exists" in err


def test_version(run_cli: RunCli) -> None:
    assert run_cli("--version") == (0, f"sa3-edge {sa3_edge.__version__}\n", "")


def test_inspect_verifies_and_describes(run_cli: RunCli, tiny_bundle: Path, noise_bundle: Path) -> None:
    code, out, _ = run_cli("inspect", tiny_bundle)
    assert code == 0
    for part in ("tiny", "denoiser", "velocity (1, 16, frames)", "120 s", "SHA-256"):
        assert part in out
    for model, synthetic in (("demo", False), (noise_bundle, True)):
        code, out, _ = run_cli("inspect", model, "--json")
        assert code == 0
        assert json.loads(out)["manifest"]["model"]["synthetic"] is synthetic
    code, _, err = run_cli("inspect", tiny_bundle.parent)
    assert code == 2
    assert "manifest.json" in err


def test_doctor_reports_machine_engines_and_models(run_cli: RunCli) -> None:
    broken = models_folder() / "broken"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    code, out, _ = run_cli("doctor", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["engines"]["onnxruntime"].startswith("onnxruntime 1.")
    assert report["processor"]["cores"] >= 1
    assert "noise" not in report["models"]["demo"]
    assert report["models"]["broken"].startswith("broken: ")
    code, out, _ = run_cli("doctor")
    assert code == 0
    assert "onnxruntime-silicon" in out


def test_doctor_does_each_thing_once(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[str] = []
    loaded: list[Path] = []
    load = Bundle.load

    def counting_create(name: str, options: EngineOptions) -> Engine:
        created.append(name)
        return create_engine(name, options)

    def counting_load(path: Path) -> Bundle:
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(doctor, "create_engine", counting_create)
    monkeypatch.setattr(Bundle, "load", counting_load)
    assert run_cli("doctor")[0] == 0
    assert sorted(created) == sorted(ENGINES)
    assert len(loaded) == len(set(loaded)) == len(installed_models())


def test_doctor_names_what_is_missing_and_how_to_get_it(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in {"torch", "coremltools"} else version(name))
    for system, extras in (("linux", {"export"}), ("darwin", {"export", "coreml"}), ("win32", {"export"})):
        monkeypatch.setattr("sys.platform", system)
        missing = {part["extra"]: part for part in doctor._missing() if part["extra"] != "play"}
        assert missing.keys() == extras
        assert missing["export"]["packages"] == "torch"
        assert "[export]" in missing["export"]["command"]
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "torch" else version(name))
    assert re.search(r"pull and export +\S+ -m pip install \S+\[export\]", run_cli("doctor")[1])


def test_doctor_knows_what_each_extra_brings() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    for extra, part in doctor._EXTRAS.items():
        brought = {re.split(r"[<>=\[]", wanted)[0] for wanted in project["optional-dependencies"][extra]}
        assert brought - {"numpy"} == set(part.packages), extra


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_inspect_on_a_full_disk_says_what_is_wrong() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "sa3_edge", "inspect", "demo", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"
