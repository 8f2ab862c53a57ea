"""What can be heard in a recording, measured from its samples alone, with librosa.

Audio is (channels, samples), as soundfile's frames transposed; times are in seconds, levels in dB.
"""

from dataclasses import dataclass

import librosa
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

Audio = NDArray[np.float32]

_HOP = 512
PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Krumhansl & Kessler 1982: how well each pitch class fits a key, from its tonic up.
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
_FLOOR = 1e-10


def _mono(audio: Audio) -> Audio:
    return np.ascontiguousarray(audio.mean(axis=0), np.float32)


def _onsets(audio: Audio, rate: int) -> NDArray[np.float64]:
    envelope = librosa.onset.onset_strength(y=_mono(audio), sr=rate, hop_length=_HOP)
    return np.asarray(envelope, np.float64)


def _autocorrelation(envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the envelope without its mean; 1 at lag 0, unbiased: a lag of half the clip is not half as strong."""
    centred = envelope - envelope.mean()
    full = np.correlate(centred, centred, "full")[len(centred) - 1 :]
    overlap = np.arange(len(centred), 0, -1) / len(centred)
    return full / max(float(full[0]), _FLOOR) / overlap


def pulse(audio: Audio, rate: int, beats_a_minute: float, tolerance: float = 0.02) -> float:
    """How periodic onsets are at the tempo: the autocorrelation of the onset strength at its local peak within
    `tolerance` of the beat, 0 if it has none there."""
    correlation = _autocorrelation(_onsets(audio, rate))
    lag = 60 / beats_a_minute * rate / _HOP
    first, last = int(np.floor(lag * (1 - tolerance))), int(np.ceil(lag * (1 + tolerance)))
    if last + 1 >= len(correlation):
        return 0.0
    best = first + int(np.argmax(correlation[first : last + 1]))
    is_peak = correlation[best] >= max(correlation[best - 1], correlation[best + 1])
    return float(correlation[best]) if is_peak else 0.0


def strongest_pulse(audio: Audio, rate: int, slowest: float = 40.0, fastest: float = 200.0) -> tuple[float, float]:
    """The highest local peak of the autocorrelation between two tempos -> (strength, beats a minute)."""
    correlation = _autocorrelation(_onsets(audio, rate))
    first, last = int(60 / fastest * rate / _HOP), int(60 / slowest * rate / _HOP)
    best, at = 0.0, 0
    for lag in range(max(first, 1), min(last, len(correlation) - 2) + 1):
        value = correlation[lag]
        if value > best and value >= max(correlation[lag - 1], correlation[lag + 1]):
            best, at = float(value), lag
    return best, 60 * rate / _HOP / at if at else 0.0


def beat_phase(audio: Audio, rate: int, beats_a_minute: float, start: float = 0.0, below: float = 80.0) -> float:
    """When the beat's drum is struck, in seconds after a multiple of the beat counted from the beginning of the piece;
    `start` is where in the piece `audio` begins. The phase, at the beat's frequency, of the onsets `below` so many Hz:
    what is above has a phase of its own, which hats alone move by half a beat."""
    hop = 128
    bins = np.square(np.abs(librosa.stft(_mono(audio), n_fft=4096, hop_length=hop)))
    low = bins[: int(below * 4096 / rate) + 1].sum(axis=0, keepdims=True)
    envelope = np.asarray(librosa.onset.onset_strength(S=librosa.power_to_db(low), sr=rate, hop_length=hop), np.float64)
    times = start + np.arange(len(envelope)) * hop / rate
    beat = 60 / beats_a_minute
    turn = np.angle(np.sum((envelope - envelope.mean()) * np.exp(-2j * np.pi * times / beat)))
    return float(-turn / (2 * np.pi) * beat)


def phase_distance(first: float, second: float, beats_a_minute: float) -> float:
    """Seconds between two phases of a beat."""
    beat = 60 / beats_a_minute
    return abs((first - second + beat / 2) % beat - beat / 2)


def _chroma(audio: Audio, rate: int) -> NDArray[np.float64]:
    """Energy by pitch class, C first."""
    harmonic = librosa.effects.harmonic(_mono(audio))
    chroma = librosa.feature.chroma_cqt(y=harmonic, sr=rate, norm=None, hop_length=2048)
    return np.asarray(np.square(chroma).sum(axis=1), np.float64)


@dataclass(frozen=True)
class Key:
    """share: of the chroma's energy in the scale asked for; best: the best-correlating key; agrees: whether that is
    the one asked for or its relative."""

    share: float
    best: str
    agrees: bool


def key(audio: Audio, rate: int, tonic: str, mode: str) -> Key:
    chroma = _chroma(audio, rate)
    root = PITCHES.index(tonic)
    scale = [(root + step) % 12 for step in SCALES[mode]]
    scores = {
        (pitch, kind): float(np.corrcoef(np.roll(profile, pitch), np.sqrt(chroma))[0, 1])
        for kind, profile in _PROFILES.items()
        for pitch in range(12)
    }
    pitch, kind = max(scores, key=lambda each: scores[each])
    relative = ((root + 3) % 12, "major") if mode == "minor" else ((root - 3) % 12, "minor")
    return Key(
        float(chroma[scale].sum() / max(chroma.sum(), _FLOOR)),
        f"{PITCHES[pitch]} {kind}",
        (pitch, kind) in {(root, mode), relative},
    )


def percussive_over_harmonic(audio: Audio) -> float:
    """dB by which what is struck exceeds what is held (median filtering of the spectrogram, margin 1)."""
    harmonic, percussive = librosa.decompose.hpss(np.abs(librosa.stft(_mono(audio), n_fft=4096, hop_length=1024)))
    return float(10 * np.log10((np.square(percussive).sum() + _FLOOR) / (np.square(harmonic).sum() + _FLOOR)))


def likeness(first: Audio, second: Audio, rate: int) -> float:
    """Correlation of two clips' log-mel spectrograms, 1 for the same clip."""

    def mel(audio: Audio) -> NDArray[np.float64]:
        return np.asarray(librosa.power_to_db(librosa.feature.melspectrogram(y=_mono(audio), sr=rate)), np.float64)

    one, other = mel(first), mel(second)
    frames = min(one.shape[1], other.shape[1])
    return float(np.corrcoef(one[:, :frames].ravel(), other[:, :frames].ravel())[0, 1])


def level(audio: Audio) -> float:
    """RMS in dBFS."""
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + _FLOOR))


def levels(audio: Audio, rate: int, start: float, window: float = 6.0) -> list[float]:
    """RMS of each whole window from `start` on, in dBFS."""
    size, first = int(window * rate), int(start * rate)
    return [level(audio[:, at : at + size]) for at in range(first, audio.shape[-1] - size + 1, size)]


def longest_silence(audio: Audio, rate: int, below: float = -60.0) -> float:
    """Seconds of the longest stretch under `below` dBFS."""
    size = rate // 20
    quiet = [level(audio[:, at : at + size]) < below for at in range(0, audio.shape[-1] - size + 1, size)]
    longest = current = 0
    for each in quiet:
        current = current + 1 if each else 0
        longest = max(longest, current)
    return longest * size / rate


def true_peak(audio: Audio) -> float:
    """Peak between the samples, in dBFS, by fourfold oversampling (as ITU-R BS.1770)."""
    return float(20 * np.log10(np.abs(resample_poly(audio, 4, 1, axis=-1)).max() + _FLOOR))
