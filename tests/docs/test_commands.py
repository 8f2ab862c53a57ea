"""Every block of commands in the documents runs here, on the demo model with short clips, or says why it does not."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer

from sa3_edge.cli.app import app
from sa3_edge.models.catalog import PUBLISHED
from tests.conftest import RunCli

ROOT = Path(__file__).parents[2]
_NOT_RUN = "# not run by the tests: "  # the first line of a block, for readers too
_ELSEWHERE = ("README.md",)  # its blocks install what they run: test_documents.py
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "*/README.md", "runtimes/**/README.md", "tests/**/README.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
# Files that a page shows as blocks and its commands read: the language of the block, and which of them.
_SHOWN = {
    "docs/compose.md": {"piece.toml": ("toml", 0)},
    "docs/cookbook.md": {"effects.csv": ("csv", 0)},
    "docs/editing.md": {"list.txt": ("text", 0), "table.csv": ("text", 1)},
}
_NOT_SHOWN = ("beat.wav", "piano.wav", "song.flac")  # recordings that commands begin from
# What takes long made short; what stands for the reader's own is named.
_SHORTER = (
    (r"(--seconds|seconds =|--min-compose) [\d.]+", r"\1 2"),
    (r"(--extend|--bars) \d+", r"\1 1"),
    (r"(--takes|--count|--best-of) \d+", r"\1 2"),
    (r"--inpaint [\d.]+:[\d.]+", "--inpaint 0.2:0.5"),
    (r"--inpaint [\d.]+:(?=\s)", "--inpaint 1.2:"),
    (r"--fade-out [\d.]+", "--fade-out 0.2"),
    (r"([a-z]+):\d+(?=[,\"])", r"\1:2"),
    (r"(?<=,)(1:30|3|6)(?=,)", "1"),
    (r'"seconds": \d+', '"seconds": 1'),
    (rf"--model ({'|'.join(PUBLISHED)})\b", "--model demo"),
    (r"page FOLDER", "page techno-drums"),
)


def _blocks(page: str) -> list[tuple[str, str]]:
    return _FENCE.findall((ROOT / page).read_text(encoding="utf-8"))


def _commands(block: str) -> Iterator[list[str]]:
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


def _shorter(text: str) -> str:
    for pattern, short in _SHORTER:
        text = re.sub(pattern, short, text)
    return text


def _runs(page: str) -> list[str]:
    return [block for language, block in _blocks(page) if language == "sh" and not block.startswith(_NOT_RUN)]


@pytest.mark.parametrize("page", [page for page in _PAGES if page not in _ELSEWHERE and _runs(page)])
def test_the_commands_of_a_page_run(
    page: str, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"MODEL": "demo", "STEPS": "1", "HEADROOM": "0", "SECONDS": "2"}.items():
        monkeypatch.setenv(f"SA3_EDGE_{name}", value)
    for name in _NOT_SHOWN:
        soundfile.write(name, 0.1 * np.random.default_rng(0).standard_normal((66150, 2)), 44100)
    for name, (language, place) in _SHOWN.get(page, {}).items():
        text = [block for kind, block in _blocks(page) if kind == language][place]
        Path(name).write_text(_shorter(text), encoding="utf-8")
        if name.startswith(("list", "table")):  # the page says in words how they are read
            code, _, said = run_cli("generate", "--prompts", name, "-o", f"clips of {name}")
            assert code == 0, said
    for block in _runs(page):
        for program, *arguments in _commands(_shorter(block)):
            assert program == "sa3-edge"
            code, _, said = run_cli(*arguments)
            assert code == 0, f"{shlex.join(arguments)}\n{said}"


def test_no_block_is_passed_over() -> None:
    """Which blocks do not run is decided here and said there; a block of no language might hold commands."""
    fences = {page: _blocks(page) for page in _PAGES}
    unnamed = [page for page, blocks in fences.items() for language, _ in blocks if not language]
    assert unnamed == []
    idle = {
        page: sum(language == "sh" and block.startswith(_NOT_RUN) for language, block in blocks)
        for page, blocks in fences.items()
    }
    assert {page: count for page, count in idle.items() if count} == {
        "docs/install.md": 4,
        "docs/serve.md": 2,
        "export/README.md": 3,
        "runtimes/conformance/README.md": 1,
        "runtimes/kotlin/README.md": 2,
        "runtimes/web/README.md": 1,
    }
    # Without a language, or with another, they would escape.
    for page, blocks in fences.items():
        for language, block in blocks:
            assert language in ("sh", "powershell") or not re.search(r"^\S*sa3-edge ", block, re.MULTILINE), page


def test_commands_that_do_not_run_have_options_that_exist() -> None:
    group: Any = typer.main.get_command(app)
    checked = 0
    for page in _PAGES:
        for language, block in _blocks(page):
            if language == "sh" and block.startswith(_NOT_RUN):
                for program, *arguments in _commands(block.replace("\\\n", " ")):
                    if program == "sa3-edge":
                        name, *rest = arguments
                        context = group.commands[name].make_context(name, list(rest), resilient_parsing=False)
                        checked += context is not None
    assert checked == 14
