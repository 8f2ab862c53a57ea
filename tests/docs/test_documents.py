"""What the documents say holds: links lead somewhere, commands and examples run as they are written."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sa3_edge
from sa3_edge import errors
from sa3_edge.models import optimized
from tests.conftest import DATA
from tests.stand_ins.hub import StandInHub

ROOT = Path(__file__).parents[2]
_PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("runtimes/*/README.md"),
    ]
    if path.parent.name != "design"
)


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            dead.append(target)
    assert dead == []


def test_every_room_is_named_where_the_house_is_described() -> None:
    tree = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8").split("```")[1]
    rooms = [path.parent for top in ("sa3_edge", "export/sa3_export") for path in ROOT.glob(f"{top}/*/__init__.py")]
    rooms += [ROOT / "sa3_edge" / "demo", *(path.parent for path in ROOT.glob("runtimes/*/README.md"))]
    assert {room.name for room in rooms} <= set(re.findall(r"(\w+)/", tree))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples_in_python_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("song.flac", np.full((44100, 2), 0.1), 44100)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        shorter = block.replace('"small-music"', '"demo"').replace("Region(12, 14.5)", "Region(0.2, 0.5)")
        shorter = re.sub(r"seconds=\d+", "seconds=1", shorter)
        made: dict[str, Any] = {}
        exec(shorter, made)  # noqa: S102 - what the page tells people to run
        assert made.get("made") is None or made["made"].audio.shape == (2, 44100)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a clone has it: what git knows, without what is built or made."""
    folder = tmp_path_factory.mktemp("clone") / "sa3-edge"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder)
    for package in ("sa3_edge", "export/sa3_export"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A fresh home, no activated environment, and no index: what pip would fetch is taken from these tests' own.

    `python3 -m venv` makes an environment that also sees the packages installed here, and pip is told to install no
    dependencies and to build with what is there. All else is as a stranger's shell has it.
    """
    home = tmp_path_factory.mktemp("home")
    commands = tmp_path_factory.mktemp("bin")
    packages = sysconfig.get_paths()["purelib"]
    (commands / "python3").write_text(
        "#!/bin/sh\n"
        f'"{sys.executable}" "$@" || exit\n'
        'if [ "$1 $2" = "-m venv" ]; then\n'
        f"""    for folder in "$3"/lib/python*/site-packages; do echo '{packages}' > "$folder/index.pth"; done\n"""
        "fi\n"
    )
    (commands / "python3").chmod(0o755)
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(commands), "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way of saying that there is to be none
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def hub(tiny_checkpoint: Path) -> Iterator[StandInHub]:
    """What `pull small-music` asks, with the tiny model's files in the place of the published ones."""
    weights = {f"MLX/{path.name}": path.read_bytes() for path in (DATA / "tiny_optimized").glob("*.npz")}
    texts = {path.name: path.read_bytes() for path in (tiny_checkpoint / "t5gemma-b-b-ul2").glob("*.json")}
    files = {"model_config.json": (tiny_checkpoint / "model_config.json").read_bytes()}
    files |= {f"t5gemma-b-b-ul2/{name}": data for name, data in texts.items()}
    base = StandInHub(optimized.BASE, files, optimized.BASE_REVISION)
    with StandInHub(optimized.REPOSITORY, weights, optimized.REVISION, beside=[base]).serving() as serving:
        yield serving


def _know_the_tiny_files(clone: Path, hub: StandInHub) -> None:
    """Tell the installed package the tiny files' hashes: it would refuse them for the published ones."""

    def pins(files: dict[str, bytes]) -> str:
        return ", ".join(
            f"Pinned({path!r}, {len(data)}, {hashlib.sha256(data).hexdigest()!r})"
            for path, data in sorted(files.items())
        )

    (packages,) = (clone / ".venv" / "lib").glob("python*/site-packages")
    texts = {path: data for path, data in hub.beside[0].files.items() if path in {each.path for each in optimized.TEXT}}
    samples = json.loads(hub.beside[0].files["model_config.json"])["sample_size"]
    module = packages / "sa3_edge" / "models" / "optimized.py"
    with module.open("a", encoding="utf-8") as file:
        file.write(f"\nWEIGHTS = {{'small-music': ({pins(hub.files)},)}}\nTEXT = ({pins(texts)},)\n")
        file.write(f"_SAMPLE_SIZE = {samples}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="commands for a POSIX shell")
def test_the_readmes_commands_run_as_written(clone: Path, bare: dict[str, str], hub: StandInHub) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    environment = {**bare, "HF_ENDPOINT": hub.endpoint}
    for block in blocks:
        if "sa3-edge pull" in block:
            install, block = block.split("\n", 1)
            subprocess.run(["sh", "-e", "-c", install], cwd=clone, env=environment, capture_output=True, check=True)
            _know_the_tiny_files(clone, hub)
        done = subprocess.run(
            ["sh", "-e", "-c", block], cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    made = {path.name for path in clone.glob("*.wav")}
    assert {"techno.wav", "brushed.wav", "fill.wav", "longer.wav", "again.wav"} <= made
    assert len(list(clone.glob("takes-*.flac"))) == 4
    # Nothing was taken from the source tree, or from what these tests have installed.
    where = "import sa3_edge, sa3_export; print(sa3_edge.__file__, sa3_export.__file__)"
    python = [str(clone / ".venv" / "bin" / "python"), "-P", "-c", where]
    found = subprocess.run(python, cwd=clone.parent, env=environment, capture_output=True, text=True, check=True)
    assert all(Path(path).is_relative_to(clone / ".venv") for path in found.stdout.split())


@pytest.mark.parametrize(
    ("program", "argument", "said"),
    [
        ("batch.py", "clips", "clips/3.flac"),
        ("progress.py", "1", "44100 samples"),
        ("threads.py", "3", "3 clips, the same as one after another"),
    ],
)
def test_example_programs_run(program: str, argument: str, said: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / "examples" / program), "demo", argument]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert program != "progress.py" or done.stdout.endswith("\ncancelled\n")


def test_the_public_names_are_listed() -> None:
    assert set(sa3_edge.__all__) <= set(dir(sa3_edge))
    assert all(hasattr(sa3_edge, name) for name in sa3_edge.__all__)
    first = "AudioSource Bundle Continuation Generation GenerationRequest Inpainting Pipeline Region Variation"
    assert set(first.split()) <= set(sa3_edge.__all__)
    raised = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert raised <= set(sa3_edge.__all__)
