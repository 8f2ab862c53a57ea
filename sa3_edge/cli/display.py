"""What the commands show: progress on stderr, results on stdout."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from sa3_edge.errors import Sa3Error
from sa3_edge.generation.pipeline import Progress as OnProgress


def err() -> Console:
    """The console for people; results go to stdout as plain text."""
    return Console(stderr=True, highlight=False)


def json_text(result: Mapping[str, object]) -> str:
    """One JSON object on one line."""
    text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair, as a list's line may have it, can be written only as an escape.
    return re.sub(r"[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text) + "\n"


@contextmanager
def standard_output() -> Iterator[None]:
    """A block that writes to stdout and flushes it. Raises Sa3Error if that cannot be."""
    try:
        yield
    except OSError as error:
        # Else what is left is tried again at exit, and fails in Python's words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Sa3Error(f"standard output cannot be written: {error.strerror or error}") from error


def print_json(result: Mapping[str, object]) -> None:
    """One JSON object on stdout, at once: a long run is followed line by line."""
    text = json_text(result)
    with standard_output():
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def stage_bars(labels: Mapping[str, str], quiet: bool) -> Iterator[OnProgress]:
    """A progress bar a stage, with its time; yields the callback that moves them.

    Nothing is drawn where stderr is no terminal, or when `quiet`.
    """
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = err()
    with Progress(
        *columns,
        console=console,
        disable=quiet or not console.is_terminal,
        # Results go where stdout goes; above the bars, on their console, only if that is a terminal too.
        redirect_stdout=sys.stdout.isatty(),
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def move(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(labels.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield move


@contextmanager
def byte_bar(label: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes with speed and time left; yields the callback (bytes done, bytes in all) that moves it.

    It appears with the first call and is closed when all bytes are there, so that another bar may follow inside the
    block. Nothing is drawn where stderr is no terminal, or when `quiet`.
    """
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = err()
    bar = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
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
