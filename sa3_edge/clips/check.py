"""What measuring a clip says: faults in words, and which of several clips is the best."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.formats import readable
from sa3_edge.audio.measure import SILENT, Measures, measure, tempo_error
from sa3_edge.clips.options import ClipOptions
from sa3_edge.clips.record import read_record, recorded_options
from sa3_edge.errors import RequestError
from sa3_edge.files import is_file

Array = NDArray[np.float32]
_TEMPO_OFF = 0.04  # of the tempo; an estimate is no nearer
_BRIGHT = 0.1  # of the energy above 10 kHz; music has 1 %, models that compose too short a sequence 16 to 27 %
_DC = 0.01  # of full scale
_LONG_SILENCE = 1.0  # seconds at an end
_UNHEARD = 100.0  # a penalty that nothing else outweighs


@dataclass(frozen=True)
class Check:
    """A clip's measures, and what it was to be: a loop, at a tempo; None is "not asked for"."""

    measures: Measures
    loop: bool = False
    bpm: float | None = None

    def faults(self) -> list[str]:
        """What is wrong with it, a line each."""
        measures, found = self.measures, []
        if measures.silent:
            return ["the clip is silent"]
        if measures.constant:
            return ["the clip is constant: there is nothing to hear"]
        if measures.clipped:
            found.append(f"{measures.clipped} samples are at full scale: clipped")
        if self.loop and measures.seam is not None and measures.seam.excess > 1:
            found.append(f"the loop's seam is {measures.seam.excess:.1f} times what is usual inside the clip")
        off = self._tempo_error()
        if off is not None and off > _TEMPO_OFF:
            found.append(f"the tempo is {measures.tempo:.1f}, not {self.bpm:g} BPM (as estimated)")
        if measures.bright > _BRIGHT:
            found.append(f"{measures.bright:.0%} of the energy is above 10 kHz, far more than music has")
        if measures.dc > _DC:
            found.append(f"the mean is {measures.dc:.1%} of full scale, not 0")
        ends = (("beginning", measures.silence_start), ("end", measures.silence_end))
        found += [f"{seconds:.1f} s of silence at the {end}" for end, seconds in ends if seconds > _LONG_SILENCE]
        return found

    def penalty(self) -> float:
        """How far from right: 0 is nothing to find fault with. Clips of the same options can be compared."""
        measures = self.measures
        if measures.silent or measures.constant:
            return _UNHEARD
        parts = [
            math.log10(1 + measures.clipped),
            max(0.0, measures.seam.excess - 1) if self.loop and measures.seam is not None else 0.0,
            20 * (self._tempo_error() or 0.0),
            10 * max(0.0, measures.bright - _BRIGHT),
            10 * max(0.0, measures.dc - _DC),
            (measures.silence_start + measures.silence_end) / measures.seconds,
        ]
        return min(_UNHEARD, sum(parts))

    def _tempo_error(self) -> float | None:
        if self.bpm is None or self.measures.tempo is None:
            return None
        return tempo_error(self.measures.tempo, self.bpm)

    def as_json(self) -> dict[str, Any]:
        """All of it, rounded; what is infinite is None."""
        said = _rounded(asdict(self.measures))
        if self.measures.seam is not None:
            said["seam"]["excess"] = _rounded(self.measures.seam.excess)
        return {**said, "loop": self.loop, "bpm": self.bpm, "faults": self.faults()}

    def lines(self) -> list[str]:
        """The measures for people, a line each."""
        measures, seam = self.measures, self.measures.seam
        loudness = "not measured" if measures.loudness is None else f"{measures.loudness:.1f} LUFS"
        lines = [
            f"length      {measures.seconds:.3f} s",
            f"loudness    {loudness}",
            f"true peak   {_decibels(measures.true_peak)} dBTP",
            f"clipped     {measures.clipped} samples",
            f"DC          {measures.dc:.5f}",
            f"> 10 kHz    {measures.bright:.1%} of the energy",
            f"silence     {measures.silence_start:.2f} s at the beginning, {measures.silence_end:.2f} s at the end",
        ]
        if seam is not None:
            pairs = (
                f"level {seam.level:.4f} ({seam.level_inside:.4f} inside)",
                f"slope {seam.slope:.4f} ({seam.slope_inside:.4f})",
                f"spectrum {seam.spectrum:.1f} dB ({seam.spectrum_inside:.1f})",
            )
            lines.append(f"as a loop   {', '.join(pairs)}")
        asked = f", asked for {self.bpm:g}" if self.bpm is not None else ""
        lines.append(f"tempo       {'not measured' if measures.tempo is None else f'{measures.tempo:.1f} BPM'}{asked}")
        return lines


def check_audio(audio: Array, rate: int, options: ClipOptions) -> Check:
    """Check audio (channels, N) that was made by these options."""
    return Check(measure(audio, rate), options.loop, options.bpm)


def check_file(path: Path) -> Check:
    """Check a sound file; one of ours against what its record asks for. Raises RequestError if it cannot be read."""
    import soundfile

    if not is_file(path):
        raise RequestError(f"{path} does not exist")
    with readable(path):
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if not len(audio):
        raise RequestError(f"{path} has no samples")
    try:
        options = recorded_options(read_record(path), path)
    except RequestError:
        options = ClipOptions()
    return check_audio(np.ascontiguousarray(audio.T), rate, options)


def best(checks: Sequence[Check]) -> int:
    """The place of the one that measures best; of equals the first."""
    return min(range(len(checks)), key=lambda place: checks[place].penalty())


def why_best(checks: Sequence[Check], seeds: Sequence[int]) -> str:
    """In a line, why that one."""
    kept = best(checks)
    found = checks[kept].faults()
    others = [
        f"seed {seed}: {'; '.join(check.faults()) or f'penalty {check.penalty():.3f}'}"
        for place, (seed, check) in enumerate(zip(seeds, checks, strict=True))
        if place != kept
    ]
    own = "; ".join(found) if found else f"no fault, penalty {checks[kept].penalty():.3f}"
    return f"seed {seeds[kept]} was kept ({own}); {', '.join(others)}" if others else f"seed {seeds[kept]}: {own}"


class Watch:
    """Looks for silence and constant signals in every clip while it is written, whether or not it is checked."""

    def __init__(self) -> None:
        self._low: NDArray[np.float32] | None = None
        self._high: NDArray[np.float32] | None = None

    def __call__(self, piece: Array) -> None:
        """The next piece (channels, n)."""
        if not piece.shape[-1]:
            return
        low, high = piece.min(axis=1), piece.max(axis=1)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)

    def notes(self) -> list[str]:
        """What must be said of the clip."""
        if self._low is None or self._high is None:
            return []
        if max(np.abs(self._low).max(), np.abs(self._high).max()) < SILENT:
            return ["the clip is silent"]
        if (self._high - self._low).max() < SILENT:
            return ["the clip is constant: there is nothing to hear"]
        return []


def _decibels(level: float) -> str:
    return f"{20 * math.log10(level):.2f}" if level > 0 else "-inf"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
