"""What the command line says that helps is what can be typed here."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from sa3_edge.cli import remedies
from sa3_edge.errors import Action, Remedy, RequestError

_ROOT = Path(__file__).parents[3]
# What speaks to people in commands and options is cli; of the others, what they say is for every front end.
_LIBRARIES = [
    path
    for folder in ("sa3_edge", "export/sa3_export")
    for path in sorted((_ROOT / folder).rglob("*.py"))
    if "cli" not in path.relative_to(_ROOT).parts
]


class _Origin:
    def __init__(self, url: str | None):
        self._url = url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self._url is None else json.dumps({"url": self._url})


@pytest.fixture
def installed_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str | None], None]:
    """Say where pip installed the package from, with this folder's .venv, and stand in the folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / ".venv" / "bin" / "python"))
    return lambda url: monkeypatch.setattr("importlib.metadata.distribution", lambda name: _Origin(url))


def test_an_extra_is_installed_from_where_the_package_was(
    installed_from: Callable[[str | None], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_from(tmp_path.as_uri())
    assert remedies.install_command("export") == ".venv/bin/python -m pip install '.[export]'"
    assert remedies.install_command("export", "coreml").endswith("'.[export,coreml]'")
    monkeypatch.chdir(tmp_path.parent)
    command = remedies.install_command("export")
    assert command == f"{tmp_path.name}/.venv/bin/python -m pip install '{tmp_path}[export]'"


def test_an_extra_of_what_came_from_elsewhere(installed_from: Callable[[str | None], None]) -> None:
    installed_from(None)
    assert remedies.install_command("play").endswith("pip install 'sa3-edge[play]'")
    installed_from("https://example.org/sa3_edge.whl")
    assert remedies.install_command("play").endswith("'sa3-edge[play] @ https://example.org/sa3_edge.whl'")


def test_the_command_is_named_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / ".venv" / "bin" / "sa3-edge"
    script.parent.mkdir(parents=True)
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(script)])
    monkeypatch.setenv("PATH", "")
    assert remedies.this_command() == ".venv/bin/sa3-edge"
    assert ".venv/bin/sa3-edge pull small-music" in remedies.remedy_line(Remedy("pull model", ("small-music",)))
    monkeypatch.setenv("PATH", str(script.parent))
    assert remedies.this_command() == "sa3-edge"


def test_every_remedy_has_words() -> None:
    assert remedies._LINES.keys() == set(get_args(Action))
    error = RequestError("no space", remedy=Remedy("free disk space", ("3 GB",)))
    assert remedies.worded(error).startswith("no space\nFree 3 GB; ")
    assert remedies.worded(RequestError("no")) == "no"


@pytest.mark.parametrize("path", _LIBRARIES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_a_library_says_nothing_in_the_command_lines_words(path: Path) -> None:
    said = [
        text.value
        for raised in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(raised, ast.Raise)
        for text in ast.walk(raised)
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
    ]
    assert [
        text
        for text in said
        if re.search(r"(?<![\w-])--[a-z]|sa3-edge (generate|pull|models|remove|export|verify|doctor)|pip install", text)
    ] == []
