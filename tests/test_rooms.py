"""The rooms of the house: which may know of which. `make lint` runs the contracts; here is what they refuse."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def _lint(root: Path) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "export")])}
    command = [sys.executable, "-c", _LINT, "--no-cache", str(_ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the two packages, to spoil."""
    without = shutil.ignore_patterns("__pycache__", "*.data", "*.onnx")
    for package in ("sa3_edge", "export/sa3_export"):
        shutil.copytree(_ROOT / package, tmp_path / package, ignore=without)
    return tmp_path


def test_every_room_keeps_the_contracts() -> None:
    code, said = _lint(_ROOT)
    assert code == 0, said


@pytest.mark.parametrize(
    ("module", "imported", "broken"),
    [
        ("sa3_edge/generation/tiling.py", "sa3_edge.cli.display", "Libraries do not know the command line"),
        ("sa3_edge/clips/files.py", "sa3_edge.cli.display", "Libraries do not know the command line"),
        ("sa3_edge/compose/loop.py", "sa3_edge.cli.display", "Libraries do not know the command line"),
        ("sa3_edge/serve/jobs.py", "sa3_edge.cli.display", "Libraries do not know the command line"),
        ("sa3_edge/generation/noise.py", "torch", "The runtime imports no torch"),
        ("sa3_edge/engines/runner.py", "sa3_export", "Of the runtime only the command line knows the exporter"),
        ("sa3_edge/audio/downmix.py", "sa3_edge.bundle", "Audio knows no bundle"),
        ("sa3_edge/bundle.py", "sa3_edge.generation.noise", "No import runs from a lower room to a higher one"),
        ("export/sa3_export/networks/dit.py", "onnx", "Networks know no format"),
        (
            "export/sa3_export/onnx/trace.py",
            "sa3_export.coreml.convert",
            "Only make_bundle and coreml.verify know both",
        ),
    ],
)
def test_an_import_that_a_room_may_not_have_is_refused(copy: Path, module: str, imported: str, broken: str) -> None:
    with (copy / module).open("a", encoding="utf-8") as file:
        file.write(f"\nimport {imported}\n")
    code, said = _lint(copy)
    assert code == 1
    broken_contracts = [line for line in said.splitlines() if " BROKEN" in line]
    assert any(line.startswith(broken) for line in broken_contracts), said


@pytest.mark.parametrize(
    ("value", "home"),
    [
        (3e4, "sa3_edge/manifest.py"),  # MASKED_LOGIT
        ("main", "sa3_edge/engines/coreml/fixed_lengths.py"),  # DYNAMIC
        (80.0, "export/sa3_export/precision.py"),  # FP32_BAR
        (0.7, "sa3_edge/generation/request.py"),  # DEFAULT_NOISE_LEVEL
        (6.0, "export/sa3_export/make_bundle.py"),  # _HEADROOM_SECONDS
    ],
)
def test_a_constant_is_said_once(value: object, home: str) -> None:
    said = [
        path.relative_to(_ROOT).as_posix()
        for package in ("sa3_edge", "export/sa3_export")
        for path in sorted((_ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == value and type(node.value) is type(value)
    ]
    assert [path for path in said if "/demo/" not in path] == [home]
