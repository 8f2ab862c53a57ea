"""A look-ahead limiter: peaks above full scale are turned down instead of clipped."""

import functools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_Block = tuple[Array, NDArray[np.bool_]]  # audio (channels, n), and which samples need no look: (n,)

CEILING = 10 ** (-0.3 / 20)  # -0.3 dBTP: lossy encoders overshoot a little more
_LOOK_AHEAD_SECONDS = 0.003
_OVERSAMPLING = 8  # finds peaks between samples to 0.17 dB, which the aim allows for; ITU-R BS.1770's 4 to 0.7 dB
_BELOW = 10 ** (-0.17 / 20)
_AIM = CEILING * _BELOW
_PASSES = 2  # a peak that samples farther than the look-ahead make together stays too loud in the first
_HIGHEST_BETWEEN = 5  # times the samples: signs that alternate around a place add up, by the filter's length
_UNCHANGED = 1 - 1e-9  # a gain above rounds to the same sample
_BLOCK = 1 << 16
MARGIN = 256  # samples of context for the oversampling filter


def limit(audio: Array, rate: int, ceiling: float = CEILING) -> Array:
    """Audio (channels, N) whose true peaks stay below -0.3 dBFS; returned unchanged if no true peak exceeds -0.5.

    `ceiling`: another than -0.3 dBFS, as a share of full scale; what is 0.17 dB below it is left as it is.

    All channels are turned down together. The gain reaches each peak in time for it and moves without steps.
    """
    for _ in range(_PASSES):
        audio = _limit_once(audio, rate, ceiling * _BELOW)
    return audio


def _limit_once(audio: Array, rate: int, aim: float) -> Array:
    gain = np.minimum(1.0, aim / np.maximum(_true_peaks(audio, rate, aim), 1e-9))
    if gain.min(initial=1.0) == 1.0:
        return audio
    reach = max(1, int(_LOOK_AHEAD_SECONDS * rate))
    held = _sliding_minimum(gain, reach)
    # A mean of values that are all low enough around a peak is low enough at it.
    window = np.hanning(2 * reach + 3)[1:-1]
    padded = np.pad(held, reach, mode="edge")
    smooth = np.convolve(padded, window / window.sum(), mode="valid")
    limited: Array = (audio * np.minimum(smooth, 1.0)).astype(np.float32)
    return limited


def limit_blocks(blocks: Iterable[Array], rate: int) -> Iterator[Array]:
    """As `limit`, of audio that comes in blocks (channels, n): blocks that join to exactly what `limit` gives.

    A sample leaves when the peaks after it that it is turned down for are known, less than 3.2 s later at 44.1 kHz.
    """
    passed: Iterator[_Block] = ((block, np.zeros(block.shape[-1], np.bool_)) for block in blocks)
    for _ in range(_PASSES):
        passed = _limit_blocks_once(passed, rate)
    for audio, _ in passed:
        yield audio


def _limit_blocks_once(blocks: Iterable[_Block], rate: int) -> Iterator[_Block]:
    """One pass; what it left alone it marks, so that the next need not oversample it again to find no peak."""
    limiter = _Limiter(rate)
    for audio, settled in blocks:
        ready = limiter.push(audio, settled)
        if ready[0].shape[-1]:
            yield ready
    rest = limiter.finish()
    if rest[0].shape[-1]:
        yield rest


class _Limiter:
    """Audio that was pushed and not yet returned: samples from `_start` on, gains from `_first_gain` on."""

    def __init__(self, rate: int):
        self._rate, self._reach = rate, max(1, int(_LOOK_AHEAD_SECONDS * rate))
        window = np.hanning(2 * self._reach + 3)[1:-1]
        self._window = window / window.sum()
        self._audio: Array | None = None
        self._settled = np.zeros(0, np.bool_)
        self._start = self._out = self._first_gain = 0  # places in the whole: of the buffer, of what comes next
        self._gain = np.zeros(0)

    def push(self, block: Array, settled: NDArray[np.bool_]) -> _Block:
        """Take the next block; return what is ready of it and those before."""
        self._audio = block.copy() if self._audio is None else np.concatenate((self._audio, block), axis=1)
        self._settled = np.concatenate((self._settled, settled))
        end = self._start + self._audio.shape[-1]
        known = self._known
        while known + _BLOCK + MARGIN <= end:
            self._add_gain(known, known + _BLOCK)
            known += _BLOCK
        return self._give(known - 2 * self._reach, None)

    def finish(self) -> _Block:
        """All that is left."""
        if self._audio is None:
            return np.zeros((0, 0), np.float32), self._settled
        end = self._start + self._audio.shape[-1]
        while self._known < end:
            self._add_gain(self._known, min(self._known + _BLOCK, end))
        return self._give(end, end)

    @property
    def _known(self) -> int:
        return self._first_gain + len(self._gain)

    def _add_gain(self, start: int, stop: int) -> None:
        assert self._audio is not None
        first, last = max(start - MARGIN, self._start), min(stop + MARGIN, self._start + self._audio.shape[-1])
        here = slice(first - self._start, last - self._start)
        gain = np.ones(stop - start)
        if not self._settled[here].all():
            peaks = block_peaks(self._audio[:, here], start - first, stop - first, self._rate)
            gain = np.minimum(1.0, _AIM / np.maximum(peaks, 1e-9))
        self._gain = np.concatenate((self._gain, gain))

    def _give(self, stop: int, end: int | None) -> _Block:
        """Samples up to `stop`; `end` is that of the clip, if it is known."""
        assert self._audio is not None
        start = self._out
        if stop <= start:
            return self._audio[:, :0], self._settled[:0]
        audio = self._audio[:, start - self._start : stop - self._start]
        lowest = max(0, start - 2 * self._reach)
        around = self._gain[lowest - self._first_gain : stop + 2 * self._reach - self._first_gain]
        if around.min() < 1.0:
            # Beyond either end of the clip it is as at the end.
            held = _sliding_minimum(around, self._reach)
            held = held[max(0, start - self._reach) - lowest : (stop + self._reach if end is None else end) - lowest]
            before = self._reach - start if start < self._reach else 0
            after = stop + self._reach - end if end is not None else 0
            padded = np.pad(held, (before, after), mode="edge")
            smooth = np.convolve(padded, self._window, mode="valid")
            audio, settled = (audio * np.minimum(smooth, 1.0)).astype(np.float32), smooth > _UNCHANGED
        else:
            audio, settled = audio.copy(), np.ones(stop - start, np.bool_)
        self._out = stop
        kept = max(self._start, min(stop, self._known - MARGIN))
        self._settled = self._settled[kept - self._start :].copy()
        self._audio, self._start = self._audio[:, kept - self._start :].copy(), kept
        gains = max(self._first_gain, stop - 2 * self._reach)
        self._gain, self._first_gain = self._gain[gains - self._first_gain :].copy(), gains
        return audio, settled


def true_peak(audio: Array, rate: int) -> float:
    """The loudest of audio (channels, N) at and between its samples, 1 is full scale."""
    return float(_true_peaks(audio, rate, 0.0).max(initial=0.0))


def block_peaks(
    audio: Array,
    start: int,
    stop: int,
    rate: int,
    aim: float = _AIM,
    oversampling: int = _OVERSAMPLING,
    quality: str = "VHQ",
) -> NDArray[np.float64]:
    """True peaks of samples [start, stop) of `audio`, the rest is context; sample peaks if all are far below `aim`.

    quality: of the filter, a name of soxr
    """
    import soxr

    peaks: NDArray[np.float64] = np.abs(audio[:, start:stop]).max(axis=0).astype(np.float64)
    if np.abs(audio).max() < aim / _HIGHEST_BETWEEN:
        return peaks
    length = audio.shape[-1]
    fine = soxr.resample(audio.T.copy(), rate, rate * oversampling, quality=quality)
    # Maxima of whole columns: along rows as short as these NumPy takes five times as long.
    loudest = functools.reduce(np.maximum, np.abs(fine, out=fine).T)
    loudest = np.pad(loudest, (0, max(0, length * oversampling - len(loudest))))
    between = functools.reduce(np.maximum, loudest[: length * oversampling].reshape(-1, oversampling).T)
    both = np.maximum(between, np.concatenate((between[:1], between[:-1])))
    highest: NDArray[np.float64] = np.maximum(peaks, both[start:stop])
    return highest


def _true_peaks(audio: Array, rate: int, aim: float) -> NDArray[np.float64]:
    """The loudest of all channels at and between each sample and its neighbours, (N,)."""
    peaks = np.empty(audio.shape[-1])
    for start in range(0, audio.shape[-1], _BLOCK):
        stop = min(start + _BLOCK, audio.shape[-1])
        first, last = max(0, start - MARGIN), min(stop + MARGIN, audio.shape[-1])
        peaks[start:stop] = block_peaks(audio[:, first:last], start - first, stop - first, rate, aim)
    return peaks


def _sliding_minimum(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The minimum within `reach` to each side, by windows that double in length."""
    length = 2 * reach + 1
    low = np.pad(values, reach, mode="edge")
    covered = 1
    while covered < length:
        step = min(covered, length - covered)
        low = np.minimum(low[: len(low) - step], low[step:])
        covered += step
    return low
