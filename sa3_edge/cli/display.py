"""What the commands show: progress and notes on stderr, results on stdout; bars never over what is said."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from sa3_edge.cli.printable import printable
from sa3_edge.cli.wrapping import fitted
from sa3_edge.clips.report import json_text
from sa3_edge.errors import Sa3Error

_BAR_FITS, _ALL_FITS = 56, 80  # columns that a terminal must have for a bar in each row; for all of a row


@cache
def err() -> Console:
    """The one console for people; results go to stdout as plain text.

    One for all, because only the console that draws the bars knows how to print above them.
    """
    return Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """A line on stderr that the reader should know of, above whatever bars there are."""
    note = fitted(f"note: {printable(text, lines=True)}", sys.stderr).removeprefix("note:")
    err().print(f"[yellow]note:[/]{escape(note)}", soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """A line of plain text on stderr, above whatever bars there are."""
    err().print(fitted(text, sys.stderr), style=style, markup=False, soft_wrap=True)


@contextmanager
def standard_output() -> Iterator[None]:
    """A block that writes to stdout and flushes it. Raises Sa3Error if that fails."""
    try:
        yield
    except OSError as error:
        # Else what is left is tried again at exit, and fails in Python's words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Sa3Error(f"standard output cannot be written: {error.strerror or error}") from error


def print_line(text: str) -> None:
    """A result on stdout, at once: a long run is followed line by line."""
    if sys.stdout is None:
        raise Sa3Error("standard output is closed")
    ours = len(text) - len(text.lstrip("\n"))  # blank lines before; within a line none is ours
    with standard_output():
        sys.stdout.write(text[:ours] + fitted(printable(text[ours:]), sys.stdout) + "\n")
        sys.stdout.flush()


def print_json(result: Mapping[str, object]) -> None:
    """One JSON object on stdout, at once."""
    print_line(json_text(result).removesuffix("\n"))


class Stages:
    """The bars of a run of clips: one a stage, anew for each clip, and one for the whole run if it has several.

    Called with a stage, what is done of it and its total, it moves that stage's bar. The bars vanish with their clip:
    what is said of it stays, and is the last that is seen.
    """

    def __init__(self, labels: Mapping[str, str], clips: int, shown: bool, clock: Callable[[], float] = time.monotonic):
        self._labels, self._clips, self._shown, self._clock = labels, clips, shown, clock
        self._finished = 0
        self._bars: Progress | None = None
        self._stages: dict[str, TaskID] = {}
        self._held: list[str] = []
        self._clip_start = clock()
        self._made_in: list[float] = []  # seconds that each clip took

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._shown:
            return
        if self._bars is None:
            self._bars = self._begin()
        if stage not in self._stages:
            self._stages[stage] = self._bars.add_task(self._labels.get(stage, stage), total=total)
        elif done == 0:
            self._bars.reset(self._stages[stage])  # else a bar that was full once stays at the time it took then
        self._bars.update(self._stages[stage], completed=done, total=total)

    def result(self, line: str) -> None:
        """Print a clip's result on stdout, where no bar can come over it."""
        self._end()
        if self._shown and self._finished + 1 < self._clips and _is_a_pipe(sys.stdout):
            # What reads it may write to the terminal of the next clip's bars, and nobody knows when.
            self._held.append(line)
        else:
            self._release()
            print_line(line)

    def next_clip(self, *, skipped: bool = False) -> None:
        """A clip is done with, or was there before: the next one's bars begin at nothing."""
        self._end()
        self._finished += 1
        now = self._clock()
        self._made_in += [] if skipped else [now - self._clip_start]
        self._clip_start = now

    def close(self) -> None:
        """Take the bars away, and print what was held back for them."""
        self._end()
        self._release()

    def seconds_left(self) -> float | None:
        """An estimate for all clips: as long as those before took, or as this one has so far with its stage's rest."""
        now = self._clock()
        passed = now - self._clip_start
        stage_left = 0.0
        if self._bars is not None and self._stages:
            stage_left = self._bars.tasks[-1].time_remaining or 0.0
        if self._made_in:
            each = sum(self._made_in) / len(self._made_in)
        elif stage_left:
            each = passed + stage_left
        else:
            return None
        return max(each - passed, stage_left) + each * (self._clips - self._finished - 1)

    def _begin(self) -> Progress:
        bars = Progress(*_columns(err().width), console=err(), transient=True)
        bars.start()
        if self._clips > 1:
            label = f"Clip {self._finished + 1} of {self._clips}"
            bars.add_task(label, total=self._clips, completed=self._finished, seconds_left=self.seconds_left)
        return bars

    def _end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._stages.clear()

    def _release(self) -> None:
        held, self._held = self._held, []
        for line in held:
            print_line(line)


def _is_a_pipe(stream: TextIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False


class _TimeLeft(TimeRemainingColumn):
    """Time left: of a stage, as its own steps tell; of a run of clips, as `seconds_left` estimates it."""

    def render(self, task: Task) -> Text:
        if "seconds_left" not in task.fields:
            return super().render(task)
        left = task.fields["seconds_left"]()
        style = "progress.remaining"
        if left is None:
            return Text("--:--" if self.compact else "-:--:--", style=style)
        minutes, seconds = divmod(int(left), 60)
        hours, minutes = divmod(minutes, 60)
        if self.compact and not hours:
            return Text(f"{minutes:02d}:{seconds:02d}", style=style)
        return Text(f"{hours:d}:{minutes:02d}:{seconds:02d}", style=style)


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    """As much of a row as goes into `width` columns; the label and the time left always do."""
    spinner, label = SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}")
    if width < _BAR_FITS:
        return (spinner, label, TaskProgressColumn(), _TimeLeft(compact=True))
    if width < _ALL_FITS:
        return (spinner, label, BarColumn(bar_width=10), MofNCompleteColumn(), _TimeLeft())
    return (spinner, label, BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), _TimeLeft())


def _bars_fit_here(quiet: bool) -> bool:
    return not quiet and err().is_terminal and not err().is_dumb_terminal


@contextmanager
def stage_bars(labels: Mapping[str, str], quiet: bool, clips: int = 1) -> Iterator[Stages]:
    """Progress bars by stage; yields what moves them.

    Nothing is drawn where stderr is no terminal, or when `quiet`.
    """
    stages = Stages(labels, clips, _bars_fit_here(quiet))
    try:
        yield stages
    finally:
        stages.close()


@contextmanager
def byte_bar(label: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes with speed and time left; yields the callback (bytes done, bytes in all) that moves it.

    It appears with the first call and is closed when all bytes are there, so that another bar may follow inside the
    block. Nothing is drawn where stderr is no terminal, or when `quiet`.
    """
    spinner, name = SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}")
    columns: tuple[ProgressColumn, ...] = (spinner, name, TaskProgressColumn(), TimeRemainingColumn(compact=True))
    if err().width >= _ALL_FITS:
        columns = (
            spinner,
            name,
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
    bar = Progress(*columns, console=err(), disable=not _bars_fit_here(quiet))
    task: TaskID | None = None

    def move(done: int, total: int) -> None:
        nonlocal task
        if task is None:
            bar.start()
            task = bar.add_task(label, total=total, completed=done)
        bar.update(task, completed=done)
        if done >= total:
            bar.stop()

    try:
        yield move
    finally:
        bar.stop()
