"""What the commands show: progress on stderr, results on stdout."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sa3_edge.pipeline import Progress as OnProgress


def err() -> Console:
    """The console for people; results go to stdout as plain text."""
    return Console(stderr=True, highlight=False)


def json_text(result: Mapping[str, object]) -> str:
    """One JSON object on one line."""
    return json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n"


def print_json(result: Mapping[str, object]) -> None:
    """One JSON object on stdout, at once: a long run is followed line by line."""
    sys.stdout.write(json_text(result))
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
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def move(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(labels.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield move
