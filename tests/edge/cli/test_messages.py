"""What a new user is told who types something that is not right: one line that says what to do, in one style."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import RunCli


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of many kinds, where one is; the usual model is the demo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SA3_EDGE_MODEL", "demo")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mp3").write_text("# Notes\n\nBuy strings, äöü.\n" * 40, encoding="utf-8")
    soundfile.write(tmp_path / "short.wav", np.zeros((100, 2)), 44_100)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "lofi", "piano"), 'put it in quotes: sa3-edge generate "lofi piano"'),
        (("generate", "x", "--secnds", 3), "No such option: --secnds"),
        (("genrate", "x"), "Did you mean 'generate'"),
        (("generate", "x", "--steps", "many"), "invalid value for '--steps'"),
        (("generate", "x", "-s", "1:75"), "more than 59 seconds"),
        (("generate", "x", "-m", "dmeo"), "did you mean demo?"),
        (("generate", "x", "--prompts", "list.txt"), "leave out one of PROMPT and --prompts"),
        (("generate", "x", "--init-audio", "empty.wav"), "empty.wav is empty"),
        (("generate", "x", "--init-audio", "folder"), "folder is a folder"),
        (("generate", "x", "--init-audio", "text.mp3"), "text.mp3 is a text"),
        (("generate", "x", "--init-audio", "short.wav"), "short.wav is too short"),
    ],
)
def test_each_mistake_is_explained_in_one_line(
    run_cli: RunCli, here: Path, arguments: tuple[object, ...], message: str
) -> None:
    code, out, err = run_cli(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) <= 2  # the second says what there is instead
    assert not list(here.glob("*x*.wav"))


def test_no_library_in_c_speaks_for_itself(here: Path) -> None:
    command = [sys.executable, "-m", "sa3_edge", "generate", "x", "--init-audio", "text.mp3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: text.mp3 is a text, not a recording\n"


@pytest.mark.parametrize("number", ["0:01", "1", "1.0"])
def test_times_are_understood_as_people_write_them(
    run_cli: RunCli, here: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    (here / "list.jsonl").write_text(f'{{"prompt": "x", "seconds": "{number}"}}\n', encoding="utf-8")
    assert run_cli("generate", "x", "-s", number, "-o", "a.wav")[0] == 0
    assert run_cli("generate", "--prompts", "list.jsonl", "-o", "clips")[0] == 0
    assert run_cli("generate", "x", "--init-audio", "a.wav", "--extend", number, "-o", "b.wav")[0] == 0
    monkeypatch.setenv("SA3_EDGE_SECONDS", number)
    assert run_cli("generate", "x", "-o", "c.wav")[0] == 0
    lengths = [soundfile.info(path).frames for path in (Path("a.wav"), Path("c.wav"), *Path("clips").glob("*.wav"))]
    assert lengths == [44_100] * 3
    assert soundfile.info("b.wav").frames == 88_200


def test_a_truncated_recording_is_reported(run_cli: RunCli, here: Path) -> None:
    soundfile.write("whole.wav", np.full((88_200, 2), 0.1), 44_100)
    whole = Path("whole.wav").read_bytes()
    Path("cut.wav").write_bytes(whole[: 44 + (len(whole) - 44) // 4])
    code, _, err = run_cli("generate", "x", "--init-audio", "cut.wav", "-o", "a.wav")
    assert code == 0
    assert "cut.wav is cut off: its header says 2.00 s, 0.50 s are there" in err
    assert "cut off" not in run_cli("generate", "x", "--init-audio", "whole.wav", "-o", "b.wav")[2]


def test_a_variable_that_is_misspelled_is_named(run_cli: RunCli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SA3_EDGE_FROMAT", "flac")
    code, _, err = run_cli("generate", "x", "-s", 1)
    assert (code, "SA3_EDGE_FROMAT is no setting of sa3-edge; did you mean SA3_EDGE_FORMAT?" in err) == (2, True)


def test_the_bytes_of_a_clip_are_kept_from_a_terminal(
    run_cli: RunCli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, out, err = run_cli("generate", "x", "-s", 1, "-o", "-")
    assert (code, out) == (2, "")
    assert "name a file: -o clip.wav" in err


def test_without_a_command_there_is_help(run_cli: RunCli) -> None:
    code, out, err = run_cli()
    assert code == 2
    assert "generate" in out + err
    assert "error" not in err
