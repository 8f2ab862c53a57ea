"""A handful of what `make faults` does by the hundred: commands while the machine fails them."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import RunCli
from tests.faults.__main__ import tried
from tests.faults.commands import PAGE, SERVE, Command
from tests.faults.injections import FAULTS, Normal, has_small_disk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc, limits, tmpfs")
_NORMAL = Normal(seconds=1.5, disk=40_000, memory=384 << 20)  # nearly; what must hold holds at any moment


@pytest.mark.parametrize("name", ["full disk", "broken pipe", "little memory"])
def test_a_command_that_is_failed_says_so_and_leaves_nothing(name: str) -> None:
    _holds(PAGE, name, 1)


@pytest.mark.parametrize("command", [PAGE, SERVE], ids=lambda command: command.name)
def test_a_command_that_is_killed_leaves_nothing_partial(command: Command) -> None:
    _holds(command, "killed", 1)


def _holds(command: Command, name: str, count: int) -> None:
    fault = next(fault for fault in FAULTS if fault.name == name)
    if fault.small_disk and not has_small_disk():
        pytest.skip(f"{name}: only root may mount a small disk")
    tally = tried(command, fault, count, random.Random(1), _NORMAL)  # noqa: S311
    assert tally.wrong == []
    assert tally.runs >= count
    assert tally.partial == 0


def test_a_clip_that_vanishes_while_a_page_is_made_is_said(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 2)), 44_100)
    monkeypatch.setattr("sa3_edge.takes.take._take", _take_of_one_that_vanished)
    code, out, err = run_cli("page", tmp_path)
    assert (code, out) == (2, "")
    assert "a.wav" in err
    assert "fault" not in err


def _take_of_one_that_vanished(path: Path) -> object:
    from sa3_edge.takes.take import _levels

    path.unlink()
    return _levels(path)
