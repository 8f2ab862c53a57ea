"""What is built of a clean clone, and what goes beside it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import sa3_edge
from release.audit import closure, is_denied
from release.files import formula, notes

ROOT = Path(__file__).parents[1]


def _build(root: Path, kind: str, out: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (built,) = (path for path in out.iterdir() if path.suffix in {".whl", ".gz"})
    return built


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows, as they are now."""
    if not (ROOT / ".git").exists():
        pytest.skip("no clone: unpacked from an archive")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    folder = tmp_path_factory.mktemp("clone")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def _names(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_just_the_two_packages(clone: Path, tmp_path: Path) -> None:
    names = _names(_build(clone, "wheel", tmp_path))
    assert {name.split("/")[0] for name in names} == {"sa3_edge", "sa3_export"}
    assert {"sa3_edge/demo/manifest.json", "sa3_edge/demo/denoiser.onnx.data", "sa3_edge/py.typed"} <= names
    sources = {f"sa3_edge/{path.relative_to(clone / 'sa3_edge')}" for path in (clone / "sa3_edge").rglob("*.py")}
    assert sources <= names


def test_the_sdist_of_a_clone_builds_the_same_wheel_byte_for_byte(clone: Path, tmp_path: Path) -> None:
    for folder in ("sdist", "unpacked", "from_sdist", "from_clone"):
        (tmp_path / folder).mkdir()
    with tarfile.open(_build(clone, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    of_sdist = _build(source, "wheel", tmp_path / "from_sdist")
    for path in clone.rglob("*.py"):
        os.utime(path, (2e9, 2e9))  # when a clone was made says nothing
    of_clone = _build(clone, "wheel", tmp_path / "from_clone")
    assert of_sdist.read_bytes() == of_clone.read_bytes()


def test_a_release_has_the_notes_of_its_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert notes(changelog, sa3_edge.__version__).startswith(f"# sa3-edge {sa3_edge.__version__}")
    two = "# Changelog\n\n## 2.0\n\n- new\n\n## 1.0\n\n- old\n"
    assert notes(two, "2.0") == "# sa3-edge 2.0\n\n- new\n"
    assert notes(two, "1.0") == "# sa3-edge 1.0\n\n- old\n"
    with pytest.raises(SystemExit, match=r"no section for 3\.0"):
        notes(two, "3.0")


def test_the_formula_names_the_sdist_by_its_hash(tmp_path: Path) -> None:
    sdist = tmp_path / "sa3_edge-9.9.tar.gz"
    sdist.write_bytes(b"sdist")
    made = formula((ROOT / "release" / "sa3-edge.rb").read_text(encoding="utf-8"), sdist, "9.9")
    assert f'sha256 "{hashlib.sha256(b"sdist").hexdigest()}"' in made
    assert "sa3_edge-9.9.tar.gz" in made
    assert "@VERSION@" not in made


@pytest.mark.parametrize(
    ("licence", "denied"),
    [
        ("MIT", False),
        ("LGPL-2.1-or-later", False),
        ("GPL-3.0-only", True),
        ("GNU Affero General Public License v3", True),
        ("License :: OSI Approved :: GNU Lesser General Public License v2 (LGPLv2)", False),
        ("AGPL-3.0", True),
    ],
)
def test_licences_that_reach_beyond_their_own_code_are_told_apart(licence: str, denied: bool) -> None:
    assert is_denied(licence) == denied


def test_what_the_runtime_brings_says_its_licence() -> None:
    licences = closure("sa3-edge")
    assert {"numpy", "onnxruntime", "tokenizers", "soundfile"} <= licences.keys()
    assert "torch" not in licences
    assert [name for name, licence in licences.items() if not licence or is_denied(licence)] == []
