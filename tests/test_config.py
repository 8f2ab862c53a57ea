"""Defaults from the config file and the environment, and documentation of every option."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from sa3_edge.cli.app import app
from sa3_edge.cli.config import DEFAULTS, config_file
from tests.conftest import RunCli

README = Path(__file__).parents[1] / "README.md"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    def config(text: str) -> Path:
        path = tmp_path / "config" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr("sa3_edge.cli.config.config_file", lambda: path)
        return path

    return config


def _options(run_cli: RunCli, tmp_path: Path, *arguments: str) -> dict[str, object]:
    code, out, err = run_cli("generate", "x", "-o", tmp_path / "x.wav", "--json", *arguments)
    assert code == 0, err
    options: dict[str, object] = json.loads(out)["options"]
    return options


def test_command_line_over_environment_over_file(
    run_cli: RunCli, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('model = "demo"\nseconds = 1\nsteps = 2\nlimiter = false\n')
    assert _options(run_cli, tmp_path)["seconds"] == 1.0
    monkeypatch.setenv("SA3_EDGE_SECONDS", "0.5")
    monkeypatch.setenv("SA3_EDGE_LIMITER", "yes")
    options = _options(run_cli, tmp_path, "--steps", "3")
    assert (options["seconds"], options["steps"], options["limiter"]) == (0.5, 3, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('modle = "demo"', "unknown setting 'modle'; choose model"),
        ('steps = "many"', "steps must be int, got 'many'"),
        ("limiter = 1", "limiter must be bool"),
        ("steps = = 3", "cannot be read"),
    ],
)
def test_a_wrong_config_file_is_named(run_cli: RunCli, write: Write, text: str, said: str) -> None:
    path = write(text)
    code, _, err = run_cli("generate", "x", "-m", "demo")
    assert code == 2
    assert said in err
    assert str(path) in err


@pytest.mark.parametrize(("name", "value"), [("SA3_EDGE_STEPS", "many"), ("SA3_EDGE_LIMITER", "perhaps")])
def test_a_wrong_variable_is_named(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    code, _, err = run_cli("generate", "x", "-m", "demo")
    assert code == 2
    assert f"{name} must be" in err


def test_doctor_names_the_config_file(run_cli: RunCli, write: Write) -> None:
    write('model = "demo"')
    report = json.loads(run_cli("doctor", "--json")[1])
    assert report["defaults"] == {"model": "demo"}
    assert Path(report["config_file"]).name == config_file().name


def _all_options() -> set[str]:
    command = typer.main.get_command(app)
    names = {f"sa3-edge {name}" for name in command.commands}  # type: ignore[attr-defined]
    for each in (command, *command.commands.values()):  # type: ignore[attr-defined]
        for parameter in each.params:
            names |= {option for option in (*parameter.opts, *parameter.secondary_opts) if option.startswith("--")}
    return names


def test_every_option_is_in_the_documentation() -> None:
    text = README.read_text(encoding="utf-8")
    missing = {name for name in _all_options() if not re.search(rf"{re.escape(name)}(?![\w-])", text)}
    assert missing - {"--help"} == set()


def test_every_default_is_in_the_documentation() -> None:
    text = README.read_text(encoding="utf-8")
    assert {name for name in DEFAULTS if f"`{name}`" not in text} == set()
