"""`sa3-edge history`."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import RunCli


@pytest.fixture
def clips(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with three clips, of which the second is the newest, and what is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more" / ".hidden").mkdir(parents=True)
    for name, prompt, written in (
        ("a.wav", "lofi piano", 1_000_000),
        ("more/b.ogg", "grand piano", 3_000_000),
        ("c.flac", "rain", 2_000_000),
        ("more/.hidden/d.wav", "piano", 4_000_000),
    ):
        assert run_cli("generate", prompt, "-m", "demo", "-s", "0.2", "--steps", "1", "--seed", "7", "-o", name)[0] == 0
        os.utime(name, (written, written))
    soundfile.write("piano.wav", np.zeros((100, 2)), 44100)
    Path("piano.mp3").write_text("none")
    return tmp_path


def test_clips_are_found_by_their_tags_the_newest_first(run_cli: RunCli, clips: Path) -> None:
    def files(*arguments: object) -> list[str]:
        code, out, err = run_cli("history", *arguments, "--json")
        assert code == 0, err
        return [Path(each["file"]).as_posix() for each in json.loads(out)["clips"]]

    assert files() == ["more/b.ogg", "c.flac", "a.wav"]
    assert files("PIANO") == ["more/b.ogg", "a.wav"]
    assert files("piano", "lofi") == ["a.wav"]
    assert files("--folder", "more") == ["more/b.ogg"]
    code, out, _ = run_cli("history", "--limit", "1")
    assert code == 0
    first, more = out.splitlines()
    assert first.startswith("  1  1970-02-0")
    assert first.endswith(f"  {Path('more', 'b.ogg')}  seed 7  grand piano")
    assert more == "and 2 more; --limit 3 shows all"
    assert run_cli("history", "bagpipe")[1] == "no clip with bagpipe is in .\n"


def test_one_is_opened_in_the_systems_player(run_cli: RunCli, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def launch(path: str) -> int:
        opened.append(path)
        return 0

    monkeypatch.setattr("typer.launch", launch)
    assert run_cli("history", "piano", "--open", "2") == (0, "", "")
    assert opened == ["a.wav"]
    code, _, err = run_cli("history", "piano", "--open", "3")
    assert (code, err) == (2, "error: --open must be from 1 to 2, got 3\n")
    assert run_cli("history", "--folder", "a.wav")[0] == 2
    assert run_cli("history", "--limit", "0")[0] == 2
