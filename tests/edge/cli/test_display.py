"""What is said stays readable on a terminal: bars vanish with their clip, and nothing is drawn over or twice."""

import contextlib
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from sa3_edge.cli import display

if sys.platform == "win32":
    pytest.skip("POSIX terminals", allow_module_level=True)

import fcntl
import termios

import pyte

_LABELS = {"text": "Reading the prompt", "denoise": "Denoising"}
_LONG_PROMPT = "rain on tin " * 200  # more tokens than the demo model reads


class Terminal:
    """A terminal of so many columns, as an emulator shows it."""

    def __init__(self, columns: int):
        self._screen = pyte.Screen(columns, 200)
        self._stream = pyte.ByteStream(self._screen)
        self.drawn = b""

    def run(self, shell: str, folder: Path, **variables: str) -> int:
        """Run a line of shell with all of its streams on this terminal -> exit code."""
        controller, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 200, self._screen.columns, 0, 0))
        environment = {
            name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}
        }
        environment |= {"TERM": "xterm-256color", "PYTHON": sys.executable, **variables}
        with subprocess.Popen(
            ["sh", "-c", shell], cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
        ) as process:
            os.close(terminal)
            with contextlib.suppress(OSError):  # how Linux ends a terminal that nobody has open
                while chunk := os.read(controller, 4096):
                    self.drawn += chunk
                    self._stream.feed(chunk)
        os.close(controller)
        return process.returncode

    @property
    def lines(self) -> list[str]:
        """What is left to read."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def text(self) -> str:
        """The same with the terminal's line breaks taken out of long lines."""
        return "".join(self._screen.display[: len(self.lines) + 1])


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("rest", ["", " | cat"])
def test_all_that_is_said_is_left_on_the_terminal_once(
    columns: int, rest: str, tmp_path: Path, noise_bundle: Path
) -> None:
    terminal = Terminal(columns)
    code = terminal.run(
        f'"$PYTHON" -m sa3_edge generate "$PROMPT" -m "$NOISE" -s 0.2 --seed 1 --count 3 -o x.wav{rest}',
        tmp_path,
        PROMPT=_LONG_PROMPT,
        NOISE=str(noise_bundle),
    )
    assert code == 0, terminal.lines
    for seed in (1, 2, 3):
        assert terminal.text.count(f"x-{seed}.wav  0.20 s of audio") == 1, terminal.lines
    assert "".join(terminal.text.split()).count("note:noiseisuntrained") == 3, terminal.lines
    assert "".join(terminal.text.split()).count("tokenstoolong;themodelreadsthefirst") == 3, terminal.lines
    assert "Denoising" not in terminal.text
    assert b"Denoising" in terminal.drawn
    assert b"Clip 2 of 3" in terminal.drawn
    # The results are in the order of their clips, and the last of them is the last line.
    order = [terminal.text.index(f"x-{seed}.wav") for seed in (1, 2, 3)]
    assert order == sorted(order)
    assert terminal.text.rstrip().endswith("seed 3")


def test_results_come_at_once_where_no_bar_can_hide_them(tmp_path: Path) -> None:
    """Into a file, and on the terminal itself, the result of a clip does not wait for the next one."""
    terminal = Terminal(100)
    code = terminal.run('"$PYTHON" -m sa3_edge generate x -m demo -s 0.2 --seed 1 --count 2 -o x.wav', tmp_path)
    assert code == 0
    assert terminal.drawn.index(b"x-1.wav") < terminal.drawn.index(b"Clip 2 of 2")


def test_an_error_after_the_bars_is_left_on_the_terminal(tmp_path: Path) -> None:
    terminal = Terminal(80)
    (tmp_path / "list.jsonl").write_text(
        '{"prompt": "one", "seconds": 0.2, "seed": 1}\n{"prompt": "two", "seconds": 9999}\n'
    )
    code = terminal.run('"$PYTHON" -m sa3_edge generate --prompts list.jsonl -m demo -o clips | cat', tmp_path)
    assert code == 0  # of cat
    assert "0001-one.wav" in terminal.text
    assert "error: 1 of 2 clips could not be made" in terminal.text


def test_without_colours_bars_and_notes_have_none(tmp_path: Path, noise_bundle: Path) -> None:
    terminal = Terminal(80)
    code = terminal.run(
        '"$PYTHON" -m sa3_edge generate x -m "$NOISE" -s 0.2 -o x.wav', tmp_path, NO_COLOR="1", NOISE=str(noise_bundle)
    )
    assert code == 0
    assert b"Denoising" in terminal.drawn
    assert "note: noise is untrained" in terminal.text
    styles = [int(code) for styles in re.findall(rb"\x1b\[([\d;]+)m", terminal.drawn) for code in styles.split(b";")]
    assert not [code for code in styles if 30 <= code < 50 or code >= 90]


def test_a_terminal_that_cannot_move_its_cursor_gets_no_bars(tmp_path: Path) -> None:
    terminal = Terminal(80)
    code = terminal.run('"$PYTHON" -m sa3_edge generate x -m demo -s 0.2 -o x.wav', tmp_path, TERM="dumb")
    assert code == 0
    assert b"\x1b" not in terminal.drawn
    assert "x.wav  0.20 s of audio" in terminal.text


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bars:
    """The rows that a `Stages` would show now, at a width."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clips: int, width: int = 100):
        self.clock = Clock()
        console = Console(width=width, force_terminal=True, color_system=None, quiet=True)
        made: list[Progress] = []

        def progress(*columns: Any, **options: Any) -> Progress:
            made.append(Progress(*columns, **options, auto_refresh=False, get_time=self.clock))
            return made[-1]

        monkeypatch.setattr(display, "err", lambda: console)
        monkeypatch.setattr(display, "Progress", progress)
        self._made, self._width = made, width
        self.stages = display.Stages(_LABELS, clips, shown=True, clock=self.clock)

    def rows(self) -> list[str]:
        """As they are seen."""
        console = Console(width=self._width, color_system=None)
        with console.capture() as captured:
            console.print(self._made[-1].get_renderable())
        return [row.rstrip() for row in captured.get().splitlines()]

    def step(self, seconds: float, stage: str, done: int, total: int) -> None:
        """`seconds` later, so much of a stage is done."""
        self.clock.now += seconds
        self.stages(stage, done, total)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bars]]:
    opened: list[Bars] = []

    def make(clips: int, width: int = 100) -> Bars:
        opened.append(Bars(monkeypatch, clips, width))
        return opened[-1]

    yield make
    for each in opened:
        each.stages.close()


def test_each_clip_begins_with_bars_of_its_own(bars: Callable[..., Bars]) -> None:
    shown = bars(clips=4)
    shown.step(0, "denoise", 0, 8)
    shown.step(16, "denoise", 8, 8)
    clip, stage = shown.rows()
    assert "Clip 1 of 4" in clip
    assert "✓ Denoising" in stage
    assert "0:00:16" in stage
    shown.stages.next_clip()
    shown.step(1, "denoise", 0, 8)
    shown.step(3, "denoise", 2, 8)
    clip, stage = shown.rows()
    assert "Clip 2 of 4" in clip
    assert "1/4" in clip
    assert "✓" not in stage
    assert "2/8" in stage
    assert "0:00:03" in stage


def test_a_stage_that_begins_again_counts_its_time_anew(bars: Callable[..., Bars]) -> None:
    shown = bars(clips=1)
    shown.step(0, "denoise", 0, 8)
    shown.step(16, "denoise", 8, 8)
    shown.step(10, "denoise", 0, 8)
    shown.step(5, "denoise", 4, 8)
    (stage,) = shown.rows()
    assert "✓" not in stage
    assert "0:00:05" in stage


def test_the_time_left_is_that_of_all_clips(bars: Callable[..., Bars]) -> None:
    shown = bars(clips=4)
    shown.step(0, "denoise", 0, 8)
    assert "-:--:--" in shown.rows()[0]
    shown.step(20, "denoise", 8, 8)
    shown.stages.next_clip()
    shown.step(5, "denoise", 0, 8)
    assert shown.stages.seconds_left() == pytest.approx(15 + 2 * 20)
    assert shown.rows()[0].endswith("0:00:55")


def test_clips_that_were_there_before_do_not_make_the_rest_seem_short(bars: Callable[..., Bars]) -> None:
    shown = bars(clips=4)
    shown.stages.next_clip(skipped=True)
    shown.stages.next_clip(skipped=True)
    shown.step(0, "denoise", 0, 8)
    shown.step(20, "denoise", 8, 8)
    shown.stages.next_clip()
    shown.step(0, "denoise", 0, 8)
    assert shown.stages.seconds_left() == pytest.approx(20)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_row_is_one_line_with_label_and_time_left_at_any_width(bars: Callable[..., Bars], width: int) -> None:
    shown = bars(clips=40, width=width)
    shown.step(0, "text", 0, 1)
    shown.step(1, "text", 1, 1)
    shown.step(0, "denoise", 0, 1292)
    shown.step(1, "denoise", 323, 1292)
    shown.step(1, "denoise", 646, 1292)
    clip, text, denoise = shown.rows()
    assert "Clip 1 of 40" in clip
    assert "Reading the prompt" in text
    assert "…" not in clip + text + denoise
    assert denoise.endswith("0:02")


def test_results_into_a_pipe_wait_until_no_bar_can_come_over_them(
    bars: Callable[..., Bars], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = bars(clips=2)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(reader, "rb") as received, os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        shown.step(0, "denoise", 8, 8)
        shown.stages.result("first")
        shown.stages.next_clip()
        assert received.read() is None
        shown.step(0, "denoise", 8, 8)
        shown.stages.result("second")
        assert received.read() == b"first\nsecond\n"
        monkeypatch.undo()
