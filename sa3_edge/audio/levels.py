"""Loudness and true peak of sound that comes piece by piece, with NumPy alone and in flat memory.

Source: ITU-R BS.1770-4, annex 1 (K-weighting, blocks of 400 ms, both gates) and annex 2 (peaks at four times the rate).
The standard gives its two filters for 48 kHz; the analogue filters that these are make them for any rate.
"""

import functools
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.limiter import MARGIN, block_peaks

Array = NDArray[np.float32]
_SHELF_HZ, _SHELF_DB, _SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
_SHELF_BAND = 0.4996667741545416  # the power of the shelf's gain that the middle coefficient takes
_HIGH_PASS_HZ, _HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773
_OFFSET = -0.691  # LU: what the weighting adds at 997 Hz
_CHUNKS = 4  # of 100 ms in a block; blocks begin at each
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0  # LUFS, LU
_FILTER_SECONDS = 0.15  # after which the high pass has died away, below -150 dB
_OVERSAMPLING = 4
_BLOCK = 1 << 16


@dataclass
class Levels:
    """The levels of audio (channels, n) at `rate` Hz; ask when all of it was pushed."""

    rate: int
    channels: int
    _pending: list[Array] = field(default_factory=list)
    _waiting: int = 0

    def __post_init__(self) -> None:
        self._weighting = _Weighting(self.rate, self.channels)
        self._peaks = _Peaks(self.rate, self.channels)

    def push(self, audio: Array) -> None:
        """The next piece (channels, n), of any length."""
        self._pending.append(audio)
        self._waiting += audio.shape[-1]
        if self._waiting >= self._weighting.step:
            self._look(self._waiting - self._waiting % self._weighting.step)

    def loudness(self) -> float | None:
        """Integrated loudness, LUFS; None for silence and for less than 0.4 s."""
        self._look(self._waiting)
        return self._weighting.integrated()

    def true_peak(self) -> float | None:
        """The highest level at and between samples, dBTP (dB of full scale); None for silence."""
        self._look(self._waiting)
        peak = self._peaks.highest()
        return 20 * math.log10(peak) if peak > 0 else None

    def _look(self, count: int) -> None:
        """At so many samples of those that wait; in the middle of a clip whole steps, each of which costs the same."""
        if not count:
            return
        audio = np.concatenate(self._pending, axis=1)
        self._pending, self._waiting = [audio[:, count:].copy()], audio.shape[-1] - count
        self._weighting.push(audio[:, :count])
        self._peaks.push(audio[:, :count])


class _Weighting:
    """The energy of each 100 ms, K-weighted by fast convolution."""

    def __init__(self, rate: int, channels: int):
        self._length, self._size = _sizes(rate)
        self.step = self._size - self._length + 1  # samples of one transform
        self._response = _response(rate)
        self._before: NDArray[np.float64] = np.zeros((channels, self._length - 1))
        self._hop = max(1, round(rate / 10))
        self._energy: list[float] = [0.0]
        self._position = 0

    def push(self, audio: Array) -> None:
        for start in range(0, audio.shape[-1], self.step):
            part = audio[:, start : start + self.step]
            whole: NDArray[np.float64] = np.concatenate((self._before, part), axis=1)
            weighted = np.fft.irfft(np.fft.rfft(whole, self._size) * self._response, self._size)
            self._add((weighted[:, self._length - 1 : whole.shape[1]] ** 2).sum(axis=0))
            self._before = whole[:, whole.shape[1] - self._length + 1 :]

    def integrated(self) -> float | None:
        chunks = np.array(self._energy[: self._position // self._hop]) / self._hop
        if len(chunks) < _CHUNKS:
            return None
        blocks = np.convolve(chunks, np.full(_CHUNKS, 1 / _CHUNKS), mode="valid")
        blocks = blocks[blocks > 10 ** ((_ABSOLUTE_GATE - _OFFSET) / 10)]
        if not len(blocks):
            return None
        blocks = blocks[blocks > blocks.mean() * 10 ** (_RELATIVE_GATE / 10)]
        return float(_OFFSET + 10 * np.log10(blocks.mean()))

    def _add(self, energy: NDArray[np.float64]) -> None:
        chunk = (self._position + np.arange(len(energy))) // self._hop
        sums = np.bincount(chunk - len(self._energy) + 1, energy)
        self._energy[-1] += float(sums[0])
        self._energy += map(float, sums[1:])
        self._position += len(energy)


def _sizes(rate: int) -> tuple[int, int]:
    """Samples of the weighting's impulse response, and of a transform."""
    length = 1 << math.ceil(math.log2(_FILTER_SECONDS * rate))
    return length, 8 * length


@functools.lru_cache(maxsize=4)
def _response(rate: int) -> NDArray[np.complex128]:
    """The weighting's frequency response at the frequencies of a real transform."""
    length, size = _sizes(rate)
    delay = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)

    def polynomial(first: float, second: float, third: float) -> NDArray[np.complex128]:
        values: NDArray[np.complex128] = first + (second + third * delay) * delay
        return values

    k, q = math.tan(math.pi * _SHELF_HZ / rate), _SHELF_Q
    high = 10 ** (_SHELF_DB / 20)
    band = high**_SHELF_BAND
    shelf = polynomial(high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k)
    shelf /= polynomial(1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)
    k, q = math.tan(math.pi * _HIGH_PASS_HZ / rate), _HIGH_PASS_Q
    first = 1 + k / q + k * k
    high_pass = polynomial(1.0, -2.0, 1.0) / polynomial(1.0, 2 * (k * k - 1) / first, (1 - k / q + k * k) / first)
    taps = np.fft.irfft(shelf * high_pass)[:length]
    response: NDArray[np.complex128] = np.fft.rfft(taps, size)
    return response


class _Peaks:
    """The highest true peak, of samples whose neighbours are known."""

    def __init__(self, rate: int, channels: int):
        self._rate = rate
        self._audio = np.zeros((channels, 0), np.float32)
        self._context = 0  # samples at the beginning that were looked at, and are neighbours
        self._highest = 0.0

    def push(self, audio: Array) -> None:
        self._audio = np.concatenate((self._audio, audio), axis=1)
        self._look(self._audio.shape[-1] - MARGIN)

    def highest(self) -> float:
        self._look(self._audio.shape[-1])
        return self._highest

    def _look(self, stop: int) -> None:
        for start in range(self._context, stop, _BLOCK):
            end = min(start + _BLOCK, stop)
            first = max(0, start - MARGIN)
            context = self._audio[:, first : end + MARGIN]
            peaks = block_peaks(context, start - first, end - first, self._rate, self._highest, _OVERSAMPLING, "HQ")
            self._highest = max(self._highest, float(peaks.max()))
        if stop > self._context:
            kept = max(0, stop - MARGIN)
            self._audio, self._context = self._audio[:, kept:], stop - kept
