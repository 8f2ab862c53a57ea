"""What a clip looks like: peaks for a waveform, and a spectrogram, small enough to send and to draw."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.formats import readable
from sa3_edge.audio.recording import AudioSource

Array = NDArray[np.float32]
_WINDOW = 4096  # samples of one spectrum: 93 ms and 10.8 Hz at 44.1 kHz
_LOWEST, _HIGHEST = 40.0, 16_000.0  # Hz, as far as a picture of music says something
_FLOOR_DB = -90.0  # what is as dark as silence
_LOOKS = 3  # spectra averaged for one column, at most


@dataclass(frozen=True)
class Picture:
    """lows, highs: (columns,) int8, the extremes of all channels in -127..127 of full scale, or beyond it clipped.

    spectrogram: (bands, columns) uint8, from _FLOOR_DB (0) to full scale (255), the lowest band first, bands evenly
    spaced in pitch
    """

    lows: NDArray[np.int8]
    highs: NDArray[np.int8]
    spectrogram: NDArray[np.uint8]


def draw(frames: int, rate: int, read: Callable[[int, int], Array], columns: int, bands: int) -> Picture:
    """A picture of `frames` of audio; `read(start, n)` gives (n, channels), fewer at the end.

    Only the part that a column needs is in memory at a time.
    """
    columns = max(1, min(columns, frames))
    lows, highs = np.zeros(columns, np.int8), np.zeros(columns, np.int8)
    spectrogram = np.zeros((bands, columns), np.uint8)
    weights = _bands(rate, bands)
    window = np.hanning(_WINDOW).astype(np.float32)
    for column in range(columns):
        start, end = frames * column // columns, frames * (column + 1) // columns
        low, high = math.inf, -math.inf
        for block in _blocks(start, end, read):
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        if high >= low:
            lows[column], highs[column] = (round(127 * min(1.0, max(-1.0, value))) for value in (low, high))
        spectrogram[:, column] = _column(start, end, frames, read, window, weights)
    return Picture(lows, highs, spectrogram)


def picture_of(path: Path, columns: int, bands: int) -> tuple[float, Picture]:
    """A sound file's length in seconds and its picture. Raises RequestError if it cannot be read."""
    import soundfile

    source = AudioSource.from_file(path)
    with readable(path), soundfile.SoundFile(path) as file:
        frames = min(source.frames, file.frames)

        def read(start: int, count: int) -> Array:
            file.seek(start)
            block: Array = file.read(count, dtype="float32", always_2d=True)
            return block

        picture = draw(frames, source.rate, read, columns, bands)
    return source.frames / source.rate, picture


def _blocks(start: int, end: int, read: Callable[[int, int], Array]) -> Iterator[Array]:
    while start < end:
        block = read(start, min(end - start, 1 << 18))
        if not len(block):
            return
        yield block
        start += len(block)


def _column(
    start: int, end: int, frames: int, read: Callable[[int, int], Array], window: Array, weights: Array
) -> NDArray[np.uint8]:
    """Levels by band, uint8 (bands,), of what lies around a column's middle."""
    looks = max(1, min(_LOOKS, (end - start) // _WINDOW))
    power = np.zeros(_WINDOW // 2 + 1, np.float64)
    for look in range(looks):
        middle = start + (end - start) * (2 * look + 1) // (2 * looks)
        first = max(0, min(middle - _WINDOW // 2, frames - _WINDOW))
        block = read(first, _WINDOW)
        mono = np.zeros(_WINDOW, np.float32)
        mono[: len(block)] = block.mean(axis=1) if len(block) else 0.0
        power += np.abs(np.fft.rfft(mono * window)) ** 2
    # A sine of full scale has a quarter of the window's sum squared.
    level = weights @ (power / looks) / (float(window.sum()) ** 2 / 4)
    decibels = 10 * np.log10(np.maximum(level, 1e-12))
    levels: NDArray[np.uint8] = np.clip((decibels / -_FLOOR_DB + 1) * 255, 0, 255).astype(np.uint8)
    return levels


def _bands(rate: int, bands: int) -> Array:
    """(bands, _WINDOW / 2 + 1): for each band the mean of its bins, or the two nearest where it is narrower."""
    highest = min(_HIGHEST, rate / 2)
    edges = np.geomspace(min(_LOWEST, highest / 2), highest, bands + 1) * _WINDOW / rate
    weights = np.zeros((bands, _WINDOW // 2 + 1), np.float32)
    for band, (low, high) in enumerate(itertools.pairwise(edges)):
        first, last = math.ceil(low), math.floor(high)
        if last >= first:
            weights[band, first : last + 1] = 1 / (last - first + 1)
        else:
            middle = (low + high) / 2
            below = int(middle)
            weights[band, below], weights[band, min(below + 1, weights.shape[1] - 1)] = (
                below + 1 - middle,
                middle - below,
            )
    return weights
