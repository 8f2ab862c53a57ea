"""What the main commands look like on terminals of 40, 80 and 120 columns, and in pipes, is as it was looked at."""

import subprocess
import sys
from pathlib import Path

import pytest

from sa3_edge.cli.wrapping import wrapped

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
def test_commands_look_as_they_did(tmp_path: Path) -> None:
    """Where they look otherwise and better: `python -m tests.edge.cli.snapshots`, and look at what changed."""
    command = [sys.executable, "-m", "tests.edge.cli.snapshots", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in SNAPSHOTS.glob("*.txt")}
    for path in sorted(tmp_path.iterdir()):
        assert path.read_text(encoding="utf-8") == (SNAPSHOTS / path.name).read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("short", ["short"]),
        ("words that go on and on", ["words that go on and", "  on"]),
        ("name  a value of words", ["name  a value of", "      words"]),
        ("a  one two  three four", ["a  one two", "   three four"]),
        ("/a/path/that/is/longer/than/the/terminal", ["/a/path/that/is/longer/than/the/terminal"]),
        ("To install it: .venv/bin/python -m pip install x", ["To install it:", ".venv/bin/python -m pip install x"]),
        ('{"json": "stays an object a line"}', ['{"json": "stays an object a line"}']),
        ("  indented words, and more", ["  indented words,", "    and more"]),
    ],
)
def test_long_lines_are_broken_between_words(line: str, rows: list[str]) -> None:
    assert wrapped(line, 20).split("\n") == rows
