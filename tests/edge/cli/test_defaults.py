"""Defaults from the config file and the environment."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sa3_edge.audio.formats import stored_bits
from sa3_edge.cli.defaults import config_file
from sa3_edge.engines.libraries import load_onnxruntime
from tests.conftest import RunCli

ort = load_onnxruntime()

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    def config(text: str) -> Path:
        path = tmp_path / "config" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr("sa3_edge.cli.defaults.config_file", lambda: path)
        monkeypatch.setattr("sa3_edge.cli.config.config_file", lambda: path)
        return path

    return config


def _options(run_cli: RunCli, tmp_path: Path, *arguments: str) -> dict[str, object]:
    code, out, err = run_cli("generate", "x", "-o", tmp_path / "x.wav", "--overwrite", "--json", *arguments)
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
    ("default", "arguments", "name"),
    [
        ({"FORMAT": "flac"}, ("-o", "song.wav"), "song.wav"),
        ({"FORMAT": "flac"}, (), "x-1.flac"),
        ({"FORMAT": "flac"}, ("--format", "ogg"), "x-1.ogg"),
        ({"BITS": "16"}, ("-o", "song.mp3"), "song.mp3"),
        ({"BITS": "float"}, ("-o", "song.flac"), "song.flac"),
        ({"BITS": "16", "FORMAT": "opus"}, (), "x-1.opus"),
    ],
)
def test_a_default_format_gives_way_to_what_was_typed(
    run_cli: RunCli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    default: dict[str, str],
    arguments: tuple[str, ...],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for key, value in default.items():
        monkeypatch.setenv(f"SA3_EDGE_{key}", value)
    code, _, err = run_cli("generate", "x", "-m", "demo", "-s", "0.2", "--seed", "1", *arguments)
    assert code == 0, err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("edit", "seconds"), [((), 0.3), (("--inpaint", "0.1:0.2"), 0.3), (("--extend", "0.2"), 0.5), (("-s", "0.2"), 0.2)]
)
def test_a_default_length_is_not_for_recordings(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: tuple[str, ...], seconds: float
) -> None:
    monkeypatch.setenv("SA3_EDGE_SECONDS", "0.7")
    source = tmp_path / "source.wav"
    soundfile.write(source, np.full((13230, 2), 0.1), 44100)
    code, out, err = run_cli(
        "generate", "x", "-m", "demo", "--json", "-o", tmp_path / "x.wav", "--init-audio", source, *edit
    )
    assert code == 0, err
    assert json.loads(out)["seconds"] == pytest.approx(seconds)


def test_a_default_length_is_for_lines_of_a_list_from_text(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SA3_EDGE_SECONDS", "0.7")
    soundfile.write(tmp_path / "source.wav", np.full((13230, 2), 0.1), 44100)
    lines = [
        {"prompt": "a"},
        {"prompt": "b", "seconds": 0.2},
        {"prompt": "c", "init_audio": "source.wav"},
        {"prompt": "d", "init_audio": "source.wav", "extend": 0.2},
    ]
    prompts = tmp_path / "list.jsonl"
    prompts.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    code, out, err = run_cli("generate", "--prompts", prompts, "-m", "demo", "-o", tmp_path / "clips", "--json")
    assert code == 0, out + err
    assert [json.loads(line)["seconds"] for line in out.splitlines()] == pytest.approx([0.7, 0.2, 0.3, 0.5])


def test_a_default_depth_is_taken_where_the_format_has_it(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SA3_EDGE_BITS", "16")
    path = tmp_path / "x.flac"
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.2", "-o", path)[0] == 0
    assert stored_bits(path) == "16"


@pytest.mark.parametrize(("key", "value"), [("FORMAT", "aiff"), ("BITS", "20")])
def test_a_default_that_does_not_exist_is_named(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(f"SA3_EDGE_{key}", value)
    code, _, err = run_cli("generate", "x", "-m", "demo", "-o", "x.wav")
    assert code == 2
    assert f"the default {key.lower()} is '{value}'; choose" in err


def test_default_threads_are_as_many_as_there_are_cores(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sa3_edge.engines.logical_cores", lambda: 3)
    monkeypatch.setenv("SA3_EDGE_THREADS", "4")
    code, _, err = run_cli("generate", "x", "-m", "demo", "-o", tmp_path / "x.wav")
    assert (code, "threads must be from 1 to 3" in err) == (2, True)


@pytest.fixture
def core_ml_units(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An onnxruntime that has Core ML, and the compute units that sessions were made with; the CPU does the work."""
    asked: list[str] = []
    real = ort.InferenceSession

    def session(path: Path, options: Any, providers: list[Any], **others: Any) -> Any:
        asked.extend(provider[1]["MLComputeUnits"] for provider in providers if isinstance(provider, tuple))
        return real(path, options, ["CPUExecutionProvider"], **others)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CoreMLExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    return asked


def test_default_compute_units_are_for_engines_that_take_them(
    run_cli: RunCli, write: Write, tmp_path: Path, core_ml_units: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write('model = "demo"\nseconds = 0.5\nsteps = 1\ncompute_units = "cpu_and_gpu"\n')
    _options(run_cli, tmp_path)
    assert core_ml_units == []
    _options(run_cli, tmp_path, "--engine", "onnxruntime-coreml")
    assert set(core_ml_units) == {"CPUAndGPU"}
    monkeypatch.setenv("SA3_EDGE_COMPUTE_UNITS", "cpu_and_ne")
    core_ml_units.clear()
    _options(run_cli, tmp_path, "--engine", "onnxruntime-coreml")
    assert set(core_ml_units) == {"CPUAndNeuralEngine"}
    core_ml_units.clear()
    _options(run_cli, tmp_path, "--engine", "onnxruntime-coreml", "--compute-units", "cpu_only")
    assert set(core_ml_units) == {"CPUOnly"}


def test_regenerate_takes_compute_units(
    run_cli: RunCli, write: Write, tmp_path: Path, core_ml_units: list[str]
) -> None:
    write('compute_units = "cpu_and_gpu"\n')
    clip = tmp_path / "x.wav"
    again = ("--engine", "onnxruntime-coreml", "--overwrite", "-o", tmp_path / "again.wav")
    arguments = ("-m", "demo", "-s", "0.5", "--steps", "1", "--engine", "onnxruntime-coreml", "-o", clip)
    assert run_cli("generate", "x", *arguments)[0] == 0
    code, _, err = run_cli("regenerate", clip, *again)
    assert (code, "engine differs" in err) == (0, False)
    assert set(core_ml_units) == {"CPUAndGPU"}
    core_ml_units.clear()
    code, _, err = run_cli("regenerate", clip, "--compute-units", "cpu_only", *again)
    assert (code, "engine differs" in err) == (0, True)
    assert set(core_ml_units) == {"CPUOnly"}
    assert run_cli("regenerate", clip, *again[2:])[0] == 0
    code, _, err = run_cli("regenerate", clip, "--compute-units", "cpu_only", *again[2:])
    assert (code, "compute units (cpu_only) are for" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('modle = "demo"', "unknown setting 'modle'; choose model"),
        ('steps = "many"', "steps must be a whole number, got 'many'"),
        ("steps = 1.5", "steps must be a whole number"),
        (f"seconds = 1{'0' * 400}", "seconds is too large"),
        ("seconds = true", "seconds must be a number, got True"),
        ("model = 1.5", "model must be text"),
        ("limiter = 1", "limiter must be true or false, got 1"),
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
    if name == "SA3_EDGE_LIMITER":
        assert "one of true, yes, on, 1, false, no, off, 0, got 'perhaps'" in err


@pytest.mark.parametrize(("word", "limiter"), [("on", True), ("off", False)])
def test_a_switch_is_on_or_off(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, limiter: bool
) -> None:
    monkeypatch.setenv("SA3_EDGE_LIMITER", word)
    assert _options(run_cli, tmp_path, "-m", "demo", "-s", "0.2")["limiter"] is limiter


def test_whole_numbers_are_depths_and_lengths_too(run_cli: RunCli, write: Write, tmp_path: Path) -> None:
    write('model = "demo"\nbits = 16\nseconds = 1\nthreads = 1\n')
    assert _options(run_cli, tmp_path)["seconds"] == 1.0
    assert stored_bits(tmp_path / "x.wav") == "16"


def test_wrong_defaults_are_in_the_way_of_generating_only(run_cli: RunCli, write: Write, tmp_path: Path) -> None:
    write('model = "demo"')
    clip = tmp_path / "x.wav"
    _options(run_cli, tmp_path, "-s", "0.2")
    write("modle = 3")
    for arguments in (
        ("--help",), ("--version",), ("generate", "--help"), ("models",), ("inspect", "demo"), ("info", clip),
        ("regenerate", clip, "-o", tmp_path / "again.wav"),
    ):  # fmt: skip
        code, _, err = run_cli(*arguments)
        assert (code, "modle" in err) == (0, False), arguments
    assert "no model called" in run_cli("remove", "absent", "--yes")[2]
    assert run_cli("generate", "x", "-m", "demo")[0] == 2


@pytest.mark.parametrize(
    ("text", "said"), [("modle = 3", "unknown setting 'modle'"), ('bits = "20"', "the default bits")]
)
def test_doctor_shows_wrong_defaults(run_cli: RunCli, write: Write, text: str, said: str) -> None:
    write(text)
    code, out, _ = run_cli("doctor")
    assert (code, "  broken: " in out, said in out) == (0, True, True)
    report = json.loads(run_cli("doctor", "--json")[1])
    assert report["defaults"] == {}
    assert said in report["defaults_problem"]


def test_doctor_names_the_config_file(run_cli: RunCli, write: Write) -> None:
    write('model = "demo"')
    report = json.loads(run_cli("doctor", "--json")[1])
    assert report["defaults"] == {"model": "demo"}
    assert Path(report["config_file"]).name == config_file().name


# Presets


_FOLEY = """
model = "demo"
format = "flac"
[preset.foley]
seconds = "0:01"
steps = 2
trim_silence = true
format = "ogg"
negative_prompt = "music"
cfg = 2
inpaint = []
"""


def test_a_preset_over_defaults_and_under_what_is_typed(run_cli: RunCli, write: Write, tmp_path: Path) -> None:
    write(_FOLEY)
    code, out, err = run_cli("generate", "x", "--preset", "foley", "--steps", "3", "--json", "-o", tmp_path / "a.ogg")
    assert code == 0, err
    options = json.loads(out)["options"]
    assert (options["seconds"], options["steps"], options["trim_silence"]) == (1.0, 3, True)
    assert options["negative_prompt"] == "music"
    code, out, err = run_cli("generate", "x", "--steps", "1", "-s", "0.2", "--json", "-o", tmp_path / "b.wav")
    assert code == 0, err
    assert "trim_silence" not in json.loads(out)["options"]


def test_the_format_of_a_preset_names_the_file(
    run_cli: RunCli, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(_FOLEY)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert run_cli("generate", "x", "--preset", "foley", "--seed", "4")[0] == 0
    assert [path.name for path in Path().iterdir()] == ["x-4.ogg"]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (_FOLEY, "fole", "no preset is called 'fole'; did you mean foley?"),
        ("", "foley", "no preset is called 'foley'; a preset is a table [preset.NAME] in"),
        ("preset = 3", "foley", "preset must be tables, as in [preset.foley]"),
        ("[preset.foley]\nprompt = 'x'", "foley", "preset foley: unknown setting 'prompt'"),
        ("[preset.foley]\nsteps = 'x'", "foley", "preset foley: steps must be a whole number, got 'x'"),
        ("[preset.foley]\nlora = 'x'", "foley", "preset foley: lora must be a list of texts"),
    ],
)
def test_wrong_presets(run_cli: RunCli, write: Write, text: str, name: str, said: str) -> None:
    write(text)
    code, _, err = run_cli("generate", "x", "-m", "demo", "--preset", name)
    assert code == 2
    assert said in err


def test_config_says_where_each_value_comes_from(
    run_cli: RunCli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(_FOLEY)
    monkeypatch.setenv("SA3_EDGE_FORMAT", "mp3")
    code, out, err = run_cli("config", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["settings"]["model"] == {"value": "demo", "origin": str(path)}
    assert report["settings"]["format"] == {"value": "mp3", "origin": "SA3_EDGE_FORMAT"}
    assert report["settings"]["engine"] == {"value": "onnxruntime", "origin": "built in"}
    assert report["presets"]["foley"]["seconds"] == 1.0
    lines = run_cli("config")[1].splitlines()
    assert lines[0] == str(path)
    assert "model          demo         config.toml" in lines
    assert "limiter        true         built in" in lines
    assert "[preset.foley]" in lines
    write("steps = 'x'")
    assert run_cli("config")[0] == 2


def test_config_set_keeps_what_else_is_in_the_file(run_cli: RunCli, write: Write) -> None:
    path = write('# mine\nmodel = "demo"  # small\n\n[preset.foley]\nseconds = 5\n')
    for arguments in (
        ("set", "format", "flac"),
        ("set", "normalize", "-14"),
        ("set", "seconds", "1:30"),
        ("set", "preset.foley.trim-silence", "yes"),
        ("set", "preset.drums.inpaint", "1:2|3:"),
        ("unset", "preset.foley.seconds"),
    ):
        code, _, err = run_cli("config", *arguments)
        assert code == 0, err
    text = path.read_text(encoding="utf-8")
    assert text.startswith('# mine\nmodel = "demo"  # small\n')
    assert tomllib.loads(text) == {
        "model": "demo",
        "format": "flac",
        "normalize": -14.0,
        "seconds": 90.0,
        "preset": {"foley": {"trim_silence": True}, "drums": {"inpaint": ["1:2", "3:"]}},
    }
    report = json.loads(run_cli("config", "--json")[1])
    assert report["settings"]["normalize"] == {"value": -14.0, "origin": str(path)}
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "fromat", "flac"), "did you mean format?"),
        (("set", "format", "flax"), "flax is no known format; choose wav, flac"),
        (("set", "steps", "0"), "steps must be from 1 to"),
        (("set", "seconds", "soon"), "seconds must be a number, got 'soon'"),
        (("set", "limiter", "maybe"), "limiter must be true or false"),
        (("set", "engine", "openvina"), "did you mean openvino?"),
        (("set", "model", "nope"), "no model is called 'nope'"),
        (("set", "compute_units", "gpu"), "compute_units must be all, cpu_and_ne, cpu_and_gpu or cpu_only"),
        (("set", "threads", "0"), "threads must be from 1 to"),
        (("set", "preset.seconds", "3"), "preset.NAME.KEY"),
        (("set", "format"), "say config set KEY VALUE"),
        (("unset", "format"), "does not set format"),
        (("change", "format"), "not 'change'"),
    ],
)
def test_config_refuses_what_no_command_would_take(
    run_cli: RunCli, write: Write, arguments: tuple[str, ...], said: str
) -> None:
    path = write("bits = 16  # kept\n")
    code, _, err = run_cli("config", *arguments)
    assert (code, path.read_text(encoding="utf-8")) == (2, "bits = 16  # kept\n")
    assert said in err


def test_config_set_begins_a_file_and_unset_mends_one(
    run_cli: RunCli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write('colour = "red"\n')
    assert run_cli("config")[0] == 2
    assert run_cli("config", "unset", "colour")[0] == 0
    path.unlink()
    monkeypatch.setenv("SA3_EDGE_FORMAT", "mp3")
    code, out, err = run_cli("config", "set", "format", "flac")
    assert (code, out) == (0, f"format = flac  ({path})\n")
    assert "SA3_EDGE_FORMAT is set and goes before the file" in err
    assert path.read_text(encoding="utf-8") == 'format = "flac"\n'
    write("format = [\n")
    assert "cannot be read" in run_cli("config", "set", "format", "flac")[2]
