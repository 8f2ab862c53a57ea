"""Tempo and bars: as samples, and in a prompt's words."""

import re
from dataclasses import dataclass

from sa3_edge.errors import RequestError

SLOWEST, FASTEST = 20.0, 400.0  # beats a minute
BEATS = 4  # of a bar, where none are named


@dataclass(frozen=True)
class Bars:
    """A length in bars, of `beats` beats at `bpm` beats a minute."""

    count: int
    beats: int
    bpm: float

    def samples(self, rate: int) -> int:
        """The length, to the sample."""
        return round(self.count * self.beats * 60 / self.bpm * rate)


def check_tempo(bpm: float) -> None:
    """Raise RequestError for a tempo that is out of range."""
    if not SLOWEST <= bpm <= FASTEST:
        raise RequestError(f"bpm must be from {SLOWEST:g} to {FASTEST:g}, got {bpm:g}")


def with_tempo(prompt: str, bpm: float | None) -> str:
    """The prompt with a tempo in words, unless it names one."""
    if bpm is None or re.search(r"\d\s*bpm\b", prompt, re.IGNORECASE):
        return prompt
    return f"{prompt.rstrip(' ,.')}, {bpm:g} BPM".removeprefix(", ")
