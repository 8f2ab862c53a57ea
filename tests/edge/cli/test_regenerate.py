"""`sa3-edge regenerate`: every option of generate, several clips, and a recording that was moved."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer

from sa3_edge.cli.app import app
from sa3_edge.clips.record import read_record
from tests.conftest import RunCli

_ONLY_WITHOUT_A_CLIP = {"prompts", "every", "preset", "on"}


@pytest.fixture
def made(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a.wav of seed 1 and b.flac of seed 2."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a.wav", 1), ("b.flac", 2)):
        code, _, err = run_cli("generate", "rain", "-m", "demo", "-s", "0.3", "--seed", seed, "-o", name)
        assert code == 0, err
    return tmp_path


def test_regenerate_takes_every_option_of_generate() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    names = [{each.name for each in commands[command].params} for command in ("generate", "regenerate")]
    assert names[0] - names[1] == _ONLY_WITHOUT_A_CLIP


def test_several_clips_go_into_a_folder_each_as_it_was(run_cli: RunCli, made: Path) -> None:
    code, out, err = run_cli("regenerate", "a.wav", "b.flac", "-o", "again", "--json")
    assert code == 0, err
    assert [Path(json.loads(line)["file"]) for line in out.splitlines()] == [Path("again/a.wav"), Path("again/b.flac")]
    for name in ("a.wav", "b.flac"):
        assert (made / "again" / name).read_bytes() == (made / name).read_bytes()


def test_what_is_wrong_with_one_of_several_is_said_before_any_work(run_cli: RunCli, made: Path) -> None:
    soundfile.write("c.wav", np.zeros((100, 2)), 44100)
    assert run_cli("regenerate", "a.wav", "c.wav", "-o", "again")[0] == 2
    assert not list(made.glob("again/*"))
    shutil.copytree(made, made / "other", ignore=shutil.ignore_patterns("other"))
    code, _, err = run_cli("regenerate", "a.wav", "other/a.wav", "-o", "again")
    assert (code, err) == (2, "error: 2 of the clips are called a.wav, and again takes one of that name\n")
    code, _, err = run_cli("regenerate", "a.wav", "b.flac", "-o", "b.flac")
    assert (code, err) == (2, "error: several clips go into a folder; -o b.flac is none\n")


def test_count_quiet_and_best_of(run_cli: RunCli, made: Path) -> None:
    assert run_cli("regenerate", "a.wav", "--count", "2", "-o", "more.wav", "--quiet") == (0, "", "")
    assert {path.name for path in made.glob("more*")} == {"more-1.wav", "more-2.wav"}
    samples = [soundfile.read(path, dtype="int32")[0] for path in ("more-2.wav", "b.flac")]
    assert np.array_equal(*samples)
    code, out, err = run_cli("regenerate", "a.wav", "--best-of", "2", "-o", "best.wav", "--json")
    assert code == 0, err
    assert "was kept" in json.loads(out)["notes"][-1]


def test_takes_of_a_clip_have_a_page(run_cli: RunCli, made: Path) -> None:
    code, _, err = run_cli("regenerate", "b.flac", "--takes", "2", "--json")
    assert code == 0, err
    assert {path.name for path in (made / "b-takes").iterdir()} == {"rain-2.flac", "rain-3.flac", "index.html"}
    assert run_cli("regenerate", "a.wav", "b.flac", "--takes", "2")[0] == 2


def test_a_recording_is_named_anew_and_told_from_another(run_cli: RunCli, made: Path) -> None:
    (made / "far").mkdir()
    for name, level in (("song.wav", 0.1), ("far/other.wav", 0.2)):
        soundfile.write(name, np.full((13230, 2), level), 44100)
    arguments = ("generate", "x", "-m", "demo", "--init-audio", "song.wav", "--seed", "3", "-o", "variation.wav")
    assert run_cli(*arguments)[0] == 0
    shutil.move("song.wav", "far/moved.wav")
    code, _, err = run_cli("regenerate", "variation.wav", "-o", "never.wav")
    assert code == 2
    assert "name it: --init-audio" in err
    code, _, err = run_cli("regenerate", "variation.wav", "--init-audio", "far/moved.wav", "-o", "again.wav")
    assert code == 0
    assert "differs" not in err
    samples = [soundfile.read(path, dtype="int32")[0] for path in ("variation.wav", "again.wav")]
    assert np.array_equal(*samples)
    code, _, err = run_cli("regenerate", "variation.wav", "--init-audio", "far/other.wav", "-o", "other.wav")
    assert code == 0
    assert "the recording differs: far/other.wav is not what the original was made from" in err


def test_sections_of_a_file_replace_those_of_the_clip(run_cli: RunCli, made: Path) -> None:
    piece = ("--sections", "a:2,b:2", "--section-prompt", "b=techno")
    assert run_cli("generate", "x", "-m", "demo", *piece, "--seed", "1", "-o", "piece.wav")[0] == 0
    (made / "other.json").write_text('[{"name": "c", "seconds": 2, "prompt": "piano"}]')
    code, _, err = run_cli("regenerate", "piece.wav", "--sections", "other.json", "-o", "other.wav")
    assert code == 0, err
    options = read_record(made / "other.wav").options
    assert (options["sections"], options["section_prompt"]) == ("c:2", ["c=piano"])
