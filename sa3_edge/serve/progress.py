"""How far a generation is, over all its stages, and about how long it will go on."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

STAGES = ("text", "encode", "condition", "denoise", "decode")
# Shares of a run's time before one was seen; of the machine's own runs afterwards.
_USUAL = {"text": 0.02, "encode": 0.05, "condition": 0.03, "denoise": 0.6, "decode": 0.3}
_TELLING = 0.05  # below this share of a run its time says little about the rest


@dataclass(frozen=True)
class Progress:
    """stage and its steps as the pipeline says them; fraction of the whole; seconds left, if that can be said yet."""

    stage: str | None = None
    done: int = 0
    total: int = 0
    fraction: float = 0.0
    seconds_left: float | None = None


class Estimate:
    """Learns from each run what its stages take, for the next one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.shares = dict(_USUAL)

    def begin(self) -> "Run":
        """A run that starts now."""
        return Run(self)


class Run:
    """One run: when it began, and when each stage did."""

    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate
        self._start = estimate.clock()
        self._began: dict[str, float] = {}
        self._fraction = 0.0

    def at(self, stage: str, done: int, total: int) -> Progress:
        """What a callback of the pipeline means for the whole. The fraction never falls."""
        now = self._estimate.clock()
        self._began.setdefault(stage, now)
        shares = self._estimate.shares
        before = sum(share for name, share in shares.items() if name in STAGES and _earlier(name, stage))
        part = shares.get(stage, 0.0) * done / total if total else 0.0
        self._fraction = max(self._fraction, min(1.0, before + part))
        left = None
        if self._fraction >= _TELLING:
            left = round((now - self._start) * (1 - self._fraction) / self._fraction, 1)
        return Progress(stage, done, total, round(self._fraction, 4), left)

    def end(self) -> None:
        """The run is whole: its stages' shares are the next one's estimate."""
        now = self._estimate.clock()
        total = now - self._start
        starts = [*self._began.items(), ("", now)]
        took = {name: end - start for (name, start), (_, end) in itertools.pairwise(starts)}
        if total > 0 and took:
            self._estimate.shares = {name: took.get(name, 0.0) / total for name in STAGES}


def _earlier(name: str, stage: str) -> bool:
    return stage in STAGES and STAGES.index(name) < STAGES.index(stage)
