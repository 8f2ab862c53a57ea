"""A clip's beginning and end: silence trimmed, faded, at the loudness that is asked for."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.limiter import limit, true_peak
from sa3_edge.audio.loudness import integrated_loudness
from sa3_edge.errors import RequestError
from sa3_edge.generation.made import Stream

Array = NDArray[np.float32]
USUAL_PEAK = -1.0  # dBTP, as streaming services ask for
LOUDNESS = (-40.0, -5.0)  # LUFS that can be asked for
PEAKS = (-20.0, 0.0)  # dBTP
_SILENT = 10 ** (-60 / 20)  # what is trimmed stays below it
_KEPT_SECONDS = 0.01  # of what is trimmed, so that no attack is cut
_NEAR = 0.1  # LU
_TRIES = 4  # turning peaks down takes loudness, which is given back
_AROUND_SECONDS = 1.0  # of a loop, on the other side of its join
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Endings:
    """fade_in, fade_out: seconds; normalize: LUFS; peak: dBTP that normalizing stays below; None is "not asked for"."""

    fade_in: float = 0.0
    fade_out: float = 0.0
    trim_silence: bool = False
    normalize: float | None = None
    peak: float | None = None

    def __post_init__(self) -> None:
        for name, fade in (("fade_in", self.fade_in), ("fade_out", self.fade_out)):
            if not math.isfinite(fade) or fade < 0:
                raise RequestError(f"`{name}` must be 0 or more seconds, got {fade}")
        for name, value, (lowest, highest) in (("normalize", self.normalize, LOUDNESS), ("peak", self.peak, PEAKS)):
            if value is not None and not lowest <= value <= highest:
                raise RequestError(f"`{name}` must be from {lowest:g} to {highest:g}, got {value:g}")
        if self.peak is not None and self.normalize is None:
            raise RequestError("`peak` needs `normalize`")

    @property
    def need_all(self) -> bool:
        """Whether the whole clip must be there before its first sample is known."""
        return self.trim_silence or self.normalize is not None


def check_fades(endings: Endings, samples: int, rate: int) -> None:
    """Raise RequestError for fades longer than the clip."""
    if endings.fade_in + endings.fade_out > samples / rate:
        raise RequestError(
            f"`fade_in` and `fade_out` are {endings.fade_in + endings.fade_out:g} s, longer than the clip's "
            f"{samples / rate:g} s"
        )


def finished(stream: Stream, endings: Endings, *, loop: bool) -> Stream:
    """The clip with its endings. Trimmed or normalized it is held in memory whole, and its first piece comes late."""
    rate = stream.sample_rate
    if not endings.need_all:
        if endings.fade_in or endings.fade_out:
            return stream.replaced(faded(stream, endings, stream.samples, rate), stream.samples)
        return stream
    audio = stream.whole().audio
    timings, notes = dict(stream.timings), list(stream.notes)
    del timings["first_piece"]
    if endings.trim_silence:
        start, stop = sounding(audio, rate)
        if (start, stop) != (0, audio.shape[-1]):
            ends = f"{start / rate:.2f} s at the beginning and {(audio.shape[-1] - stop) / rate:.2f} s at the end"
            notes.append(f"silence was trimmed: {ends}")
        audio = audio[:, start:stop]
    # Loudness is measured of what is heard, so after the fades.
    audio = np.concatenate(list(faded(_blocks(audio), endings, audio.shape[-1], rate)), axis=1)
    if endings.normalize is not None:
        peak = USUAL_PEAK if endings.peak is None else endings.peak
        audio, note = normalized(audio, rate, endings.normalize, peak, loop=loop)
        notes += [note] if note else []
    return stream.replaced(_blocks(audio), audio.shape[-1], timings=timings, notes=notes)


def faded(pieces: Iterator[Array] | Stream, endings: Endings, samples: int, rate: int) -> Iterator[Array]:
    """Pieces (channels, n) of a clip of `samples`, rising and falling along half a cosine."""
    fade_in, fade_out = (min(samples, round(fade * rate)) for fade in (endings.fade_in, endings.fade_out))
    first = 0
    for piece in pieces:
        last = first + piece.shape[-1]
        if first < fade_in or last > samples - fade_out:
            position = np.arange(first, last)
            rising = np.clip((position + 0.5) / max(fade_in, 1), 0, 1) if fade_in else 1.0
            falling = np.clip((samples - position - 0.5) / max(fade_out, 1), 0, 1) if fade_out else 1.0
            gain = np.sin(np.pi / 2 * rising) ** 2 * np.sin(np.pi / 2 * falling) ** 2
            piece = (piece * gain).astype(np.float32)
        yield piece
        first = last


def sounding(audio: Array, rate: int) -> tuple[int, int]:
    """Samples [start, stop) of audio (channels, N) without the silence before and after; all, if all is silent."""
    heard = np.flatnonzero(np.abs(audio).max(axis=0, initial=0.0) > _SILENT)
    if not len(heard):
        return 0, audio.shape[-1]
    kept = int(_KEPT_SECONDS * rate)
    return max(0, int(heard[0]) - kept), min(audio.shape[-1], int(heard[-1]) + 1 + kept)


def normalized(audio: Array, rate: int, lufs: float, peak: float, *, loop: bool = False) -> tuple[Array, str | None]:
    """Audio (channels, N) at `lufs` with true peaks below `peak` dBTP; and what that took beyond a gain, if anything.

    A loop's peaks are turned down across its join. Raises RequestError for what is too short to be measured.
    """
    before = integrated_loudness(audio, rate)
    if not math.isfinite(before):
        return audio, "there is nothing to normalize: the clip is silent"
    ceiling, gain, made = 10 ** (peak / 20), lufs - before, audio
    for _ in range(_TRIES):
        made = _limited((audio * 10 ** (gain / 20)).astype(np.float32), rate, ceiling, loop=loop)
        missing = lufs - integrated_loudness(made, rate)
        if abs(missing) <= _NEAR:
            break
        gain += missing
    if abs(missing) > _NEAR:
        return made, f"with peaks below {peak:g} dBTP the clip has {lufs - missing:.1f} LUFS, not {lufs:g}"
    if true_peak(audio, rate) * 10 ** (gain / 20) > ceiling:
        return made, f"peaks were turned down to stay below {peak:g} dBTP at {lufs:g} LUFS"
    return made, None


def _limited(audio: Array, rate: int, ceiling: float, *, loop: bool) -> Array:
    if not loop:
        return limit(audio, rate, ceiling)
    around = min(audio.shape[-1], int(_AROUND_SECONDS * rate))
    wrapped = np.concatenate((audio[:, -around:], audio, audio[:, :around]), axis=1)
    return limit(wrapped, rate, ceiling)[:, around : around + audio.shape[-1]]


def _blocks(audio: Array) -> Iterator[Array]:
    return (audio[:, start : start + _BLOCK] for start in range(0, audio.shape[-1], _BLOCK))
