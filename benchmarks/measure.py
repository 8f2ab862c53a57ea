"""Timing, and what is kept of it."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_MEGABYTE = 1e6
# A process begins with the peak memory of the one that it was forked from, so a small one starts it and asks.
_LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
stdout = process.stdout.read().decode()
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), stdout, time.perf_counter() - start, usage.ru_maxrss]))
"""


@dataclass(frozen=True)
class Row:
    """One figure: `stage` by `engine` in `precision` for a clip of `seconds` (0: any length).

    `spread_s`: slowest - fastest of the `rounds`; None of a single one.
    """

    stage: str
    engine: str
    precision: str
    seconds: float
    median_s: float
    spread_s: float | None
    rounds: int
    more: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.stage} {self.engine} {self.precision} {self.seconds:g}"


Times = tuple[float, float | None, int]  # median and spread in seconds, rounds


def summarized(times: list[float]) -> Times:
    """Median and spread of some runs, and how many there were."""
    return statistics.median(times), max(times) - min(times) if len(times) > 1 else None, len(times)


def timed(work: Callable[[], object], rounds: int, *, warm_up: bool = True) -> Times:
    """The times of `rounds` runs, after one that does not count."""
    if warm_up:
        work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return summarized(times)


@dataclass(frozen=True)
class Finished:
    """A process that ended well."""

    stdout: str
    seconds: float
    peak_memory_mb: float


def run_process(command: list[str]) -> Finished:
    """Run a command in a fresh process; its peak memory counts the pages of mapped files that it touched."""
    launched = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], stdout=subprocess.PIPE, check=True)
    code, stdout, elapsed, peak = json.loads(launched.stdout)
    if code:
        raise subprocess.CalledProcessError(code, command, stdout)
    peak *= 1 if sys.platform == "darwin" else 1024
    return Finished(stdout, elapsed, peak / _MEGABYTE)


class Results:
    """The rows of one run; with a `path`, saved as they come, so that a run that is stopped keeps its figures."""

    def __init__(self, about: dict[str, Any], path: Path | None = None):
        self.path = path
        self.about = {**about, "date": datetime.now(UTC).isoformat(timespec="seconds")}
        self.rows: list[Row] = []

    def add(
        self,
        stage: str,
        engine: str,
        precision: str,
        seconds: float,
        times: Times,
        **more: float,
    ) -> Row:
        row = Row(stage, engine, precision, seconds, *times, more)
        self.rows.append(row)
        if self.path is not None:
            self.save(self.path)
        return row

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [asdict(row) for row in self.rows]
        path.write_text(json.dumps({**self.about, "rows": rows}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Results":
        stored = json.loads(path.read_text(encoding="utf-8"))
        results = cls({})
        results.rows = [Row(**row) for row in stored.pop("rows")]
        results.about = stored
        return results

    def ratio(self, row: Row, baseline: str = "pytorch-reference") -> float | None:
        """How many times as fast as PyTorch in the same run: the figure that moves least with the machine."""
        for other in self.rows:
            if (other.stage, other.engine, other.seconds) == (row.stage, baseline, row.seconds):
                return other.median_s / row.median_s
        return None

    def regressions(self, baseline: "Results", tolerance: float) -> list[str]:
        """Rows whose ratio to PyTorch is worse than the baseline's by more than a fraction."""
        before = {row.key: ratio for row in baseline.rows if (ratio := baseline.ratio(row)) is not None}
        worse = []
        for row in self.rows:
            ratio = self.ratio(row)
            if ratio is not None and row.key in before and ratio < before[row.key] * (1 - tolerance):
                worse.append(f"{row.key}: {ratio:.2f}x PyTorch, was {before[row.key]:.2f}x")
        return worse
