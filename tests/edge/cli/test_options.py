"""One option is one field: the command line, lists, records, messages and the options page are made from it."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import typer

from sa3_edge.cli.app import app
from sa3_edge.cli.defaults import DEFAULTS
from sa3_edge.cli.options import spelled
from sa3_edge.cli.options_page import page
from sa3_edge.clips.options import ClipOptions, about, json_schema, options_of
from sa3_edge.compose.endings import USUAL_PEAK
from sa3_edge.compose.tempo import BEATS
from sa3_edge.engines import ENGINES
from sa3_edge.generation.editing import LOWEST_NOISE_LEVEL
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.generation.request import DEFAULT_NOISE_LEVEL, DEFAULT_SECONDS

PAGE = Path(__file__).parents[3] / "docs" / "options.md"


def _help(command: str) -> dict[str, str]:
    """The help of a command's options, by their names."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {parameter.name: getattr(parameter, "help", "") for parameter in commands[command].params}


def test_the_options_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make docs-options"


def test_every_command_and_option_is_on_the_page() -> None:
    command: Any = typer.main.get_command(app)
    names = {f"sa3-edge {name}" for name in command.commands}
    for each in (command, *command.commands.values()):
        for parameter in each.params:
            names |= {option for option in (*parameter.opts, *parameter.secondary_opts) if option.startswith("--")}
    assert {name for name in names if not re.search(rf"{re.escape(name)}(?![\w-])", page())} <= {"--help"}


def test_every_default_is_on_the_page() -> None:
    marked = re.findall(r"^\| `--([\w-]+)`.*default \|$", page(), re.MULTILINE)
    assert {name.replace("-", "_") for name in marked} == set(DEFAULTS)


def test_help_names_every_engine() -> None:
    for command in ("generate", "regenerate"):
        assert set(re.findall(r"[\w-]+", _help(command)["engine"])) >= set(ENGINES)


def test_regenerate_changes_every_option_of_a_clip() -> None:
    assert set(options_of(ClipOptions)) <= set(_help("regenerate"))
    assert set(options_of(ClipOptions)) <= set(_help("generate"))


_WITH_MOOD = textwrap.dedent("""\
    import sys
    from dataclasses import dataclass
    from sa3_edge.clips import options

    @dataclass(frozen=True)
    class WithMood(options.ClipOptions):
        mood: str | None = options.option(None, "How it feels.", always_recorded=False, may_be_default=True)

    options.ClipOptions = WithMood
    from sa3_edge import cli
    from sa3_edge.cli.options_page import page
    if sys.argv[1] == "page":
        print(page())
    else:
        cli.main()
""")


def _with_mood(tmp_path: Path, *arguments: str) -> str:
    script = tmp_path / "with_mood.py"
    script.write_text(_WITH_MOOD, encoding="utf-8")
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def test_an_option_that_is_added_to_the_class_is_everywhere(tmp_path: Path) -> None:
    for command in ("generate", "regenerate"):
        assert re.search(r"--mood .*How it feels\.", _with_mood(tmp_path, command, "--help"))
    row = "| `--mood` | How it feels. | list, default |"
    assert row in _with_mood(tmp_path, "page").splitlines()
    assert "| `mood` | string or null | How it feels. |" in _with_mood(tmp_path, "page").splitlines()

    (tmp_path / "list.jsonl").write_text('{"prompt": "rain", "mood": "calm"}\n{"prompt": "sun"}\n', encoding="utf-8")
    _with_mood(tmp_path, "generate", "--prompts", "list.jsonl", "-m", "demo", "-s", "0.2", "--mood", "bright")
    first, second = (f"list-clips/{name}.wav" for name in ("0001-rain", "0002-sun"))
    recorded = [json.loads(_with_mood(tmp_path, "info", name, "--json"))["options"]["mood"] for name in (first, second)]
    assert recorded == ["calm", "bright"]
    _with_mood(tmp_path, "regenerate", first, "--mood", "sad", "-o", "again.wav")
    assert json.loads(_with_mood(tmp_path, "info", "again.wav", "--json"))["options"]["mood"] == "sad"
    _with_mood(tmp_path, "generate", "x", "-m", "demo", "-s", "0.2", "-o", "plain.wav")
    assert "mood" not in json.loads(_with_mood(tmp_path, "info", "plain.wav", "--json"))["options"]


def test_the_schema_has_every_option_with_its_type() -> None:
    properties = json_schema(ClipOptions)["properties"]
    assert set(properties) == set(options_of(ClipOptions))
    assert properties["seconds"]["type"] == ["number", "string", "null"]  # "1:30"
    assert properties["noise_level"]["type"] == ["number", "null"]
    assert properties["inpaint"] == {
        "description": properties["inpaint"]["description"],
        "type": "array",
        "items": {"type": "string"},
        "default": [],
    }
    assert properties["limiter"]["default"] is True


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("`inpaint` needs a recording: `init_audio`", "--inpaint needs a recording: --init-audio FILE"),
        ("`splice: false` needs `extend`", "--no-splice needs --extend"),
        ("Expected `str`, got `int`", "Expected `str`, got `int`"),
    ],
)
def test_messages_have_options_as_they_are_typed(message: str, typed: str) -> None:
    assert spelled(message) == typed


def test_the_help_says_the_values_that_are_used_where_none_is_given() -> None:
    said = {
        "seconds": f" {DEFAULT_SECONDS:g}, or the recording's, by default",
        "headroom": f" {Pipeline.load('demo').bundle.manifest.sampler.headroom_seconds:g} by default",
        "noise_level": f" {LOWEST_NOISE_LEVEL:g} to 1; {DEFAULT_NOISE_LEVEL:g} by default",
        "beats": f" {BEATS} by default",
        "peak": f" {USUAL_PEAK:g} by default",
    }
    for name, words in said.items():
        assert words in about(options_of(ClipOptions)[name]).help
