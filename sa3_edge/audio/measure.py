"""What can be said of a clip by measuring it: its join as a loop, silence, loudness, peaks, brightness, tempo."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.levels import Levels
from sa3_edge.audio.limiter import true_peak

Array = NDArray[np.float32]
SILENT = 1e-5  # -100 dBFS: below the noise of a 16-bit recording
_QUIET = 10 ** (-60 / 20)
_FULL_SCALE = 1 - 2**-15  # the loudest positive sample of 16 bits
_BRIGHT_HZ = 10_000.0
_WINDOW = 1024  # samples on each side of a join whose spectra are compared
_MOST_JOINS = 400  # places inside the clip that its own join is compared with
_USUAL = 99  # a join is inaudible within this percentile of the places inside
_TEMPO_HOP = 512


@dataclass(frozen=True)
class Seam:
    """The join of a loop's end and beginning: three measures, each with what it is at 99 % of places inside the clip.

    level: the step half-way between the last sample and the first, where each side goes on as straight as it came;
    slope: the change of slope there; spectrum: the distance of the spectra before and after, dB
    """

    level: float
    level_inside: float
    slope: float
    slope_inside: float
    spectrum: float
    spectrum_inside: float

    @property
    def excess(self) -> float:
        """The largest of the three as a multiple of what it is inside; 1 or less cannot be told from the inside."""
        pairs = (
            (self.level, self.level_inside),
            (self.slope, self.slope_inside),
            (self.spectrum, self.spectrum_inside),
        )
        return max((at / inside if inside else math.inf) if at else 0.0 for at, inside in pairs)


@dataclass(frozen=True)
class Measures:
    """A clip's measures. Levels are shares of full scale, silences seconds; None is "could not be measured".

    loudness: LUFS; bright: share of the energy above 10 kHz; clipped: samples at full scale; tempo: estimated beats a
    minute
    """

    seconds: float
    peak: float
    true_peak: float
    loudness: float | None
    dc: float
    bright: float
    clipped: int
    silence_start: float
    silence_end: float
    constant: bool
    seam: Seam | None
    tempo: float | None

    @property
    def silent(self) -> bool:
        """Whether there is nothing to hear."""
        return self.peak < SILENT


def measure(audio: Array, rate: int) -> Measures:
    """Measure audio (channels, N). The tempo needs the extra `tempo`, and is None without."""
    level = np.abs(audio).max(axis=0, initial=0.0)
    heard = np.flatnonzero(level > _QUIET)
    samples = audio.shape[-1]
    start, end = (int(heard[0]), samples - 1 - int(heard[-1])) if len(heard) else (samples, samples)
    return Measures(
        seconds=samples / rate,
        peak=float(level.max(initial=0.0)),
        true_peak=true_peak(audio, rate),
        loudness=_loudness(audio, rate),
        dc=float(np.abs(audio.mean(axis=1, dtype=np.float64)).max()),
        bright=bright_share(audio, rate),
        clipped=int(np.count_nonzero(np.abs(audio) >= _FULL_SCALE)),
        silence_start=start / rate,
        silence_end=end / rate,
        constant=bool(np.ptp(audio, axis=1).max() < SILENT),
        seam=seam(audio),
        tempo=estimated_tempo(audio, rate),
    )


def _loudness(audio: Array, rate: int) -> float | None:
    levels = Levels(rate, audio.shape[0])
    levels.push(audio)
    return levels.loudness()


def bright_share(audio: Array, rate: int) -> float:
    """The share of energy above 10 kHz, of all channels (channels, N)."""
    high = whole = 0.0
    block = 1 << 15
    above = np.fft.rfftfreq(block, 1 / rate) > _BRIGHT_HZ
    window = np.hanning(block)
    for start in range(0, audio.shape[-1], block):
        part = audio[:, start : start + block]
        part = np.pad(part, ((0, 0), (0, block - part.shape[-1])))
        power = np.abs(np.fft.rfft(part * window, axis=1)) ** 2
        whole += float(power.sum())
        high += float(power[:, above].sum())
    return high / whole if whole else 0.0


def seam(audio: Array) -> Seam | None:
    """How audio (channels, N) joins its own beginning, against places inside it; None for too short a clip."""
    samples = audio.shape[-1]
    if samples < 8 * _WINDOW:
        return None
    wrapped = np.concatenate((audio[:, -2:], audio[:, :2]), axis=1)
    around = np.concatenate((audio[:, -_WINDOW:], audio[:, :_WINDOW]), axis=1)
    places = np.linspace(_WINDOW, samples - _WINDOW, min(_MOST_JOINS, samples // _WINDOW), dtype=int)
    inside = [_spectral_step(audio[:, place - _WINDOW : place + _WINDOW]) for place in places]
    return Seam(
        level=float(_level_steps(wrapped)[0]),
        level_inside=float(np.percentile(_level_steps(audio), _USUAL)),
        slope=float(_slope_steps(wrapped)[0]),
        slope_inside=float(np.percentile(_slope_steps(audio), _USUAL)),
        spectrum=_spectral_step(around),
        spectrum_inside=float(np.percentile(inside, _USUAL)),
    )


def _level_steps(audio: Array) -> Array:
    """Between the second and the third of each four samples, (N - 3,), of the channel where it is largest."""
    a, b, c, d = (audio[:, start : audio.shape[-1] - 3 + start] for start in range(4))
    steps: Array = np.abs((b + (b - a) / 2) - (c - (d - c) / 2)).max(axis=0)
    return steps


def _slope_steps(audio: Array) -> Array:
    """As `_level_steps`."""
    a, b, c, d = (audio[:, start : audio.shape[-1] - 3 + start] for start in range(4))
    steps: Array = np.abs((d - c) - (b - a)).max(axis=0)
    return steps


def _spectral_step(around: Array) -> float:
    """How far the spectra before and after the middle of (channels, 2 windows) are apart: dB, mean over third-octaves.

    Where both are far below full scale they count as the same.
    """
    before, after = (_bands(part) for part in (around[:, :_WINDOW], around[:, _WINDOW:]))
    return float(np.abs(before - after).mean())


def _bands(part: Array) -> NDArray[np.float64]:
    power = (np.abs(np.fft.rfft(part * np.hanning(_WINDOW), axis=1)) ** 2).sum(axis=0)
    edges = np.unique(np.geomspace(2, len(power), 28).astype(int))
    bands: NDArray[np.float64] = 10 * np.log10(np.add.reduceat(power, edges[:-1]) + 1e-4)
    return bands


def estimated_tempo(audio: Array, rate: int) -> float | None:
    """Beats a minute by librosa (extra `tempo`); None without it, for silence and for less than two seconds."""
    if audio.shape[-1] < 2 * rate or np.abs(audio).max() < SILENT or find_spec("librosa") is None:
        return None
    librosa = import_module("librosa")
    onsets = librosa.onset.onset_strength(y=audio.mean(axis=0), sr=rate, hop_length=_TEMPO_HOP)
    feature: Callable[..., NDArray[np.float64]] = librosa.feature.tempo
    tempo = float(feature(onset_envelope=onsets, sr=rate, hop_length=_TEMPO_HOP, ac_size=12.0)[0])
    return tempo if math.isfinite(tempo) and tempo > 0 else None


def tempo_error(estimated: float, asked: float) -> float:
    """How far a tempo is off, as a share; half and double time are what listeners tap as well."""
    return min(abs(estimated * factor / asked - 1) for factor in (0.5, 1.0, 2.0))
