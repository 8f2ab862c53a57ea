"""A look-ahead limiter: what would be louder than full scale is turned down, not cut off."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CEILING = 10 ** (-0.3 / 20)  # -0.3 dBTP: lossy encoders overshoot a little more
_LOOK_AHEAD_SECONDS = 0.003
_OVERSAMPLING = 8  # finds peaks between samples to 0.1 dB; the 4 of ITU-R BS.1770 misses 0.3 dB of loud noise
_AIM = CEILING * 10 ** (-0.1 / 20)
_BLOCK = 1 << 16
_MARGIN = 64  # samples of context for the oversampling filter


def limit(audio: Array, rate: int) -> Array:
    """Audio (channels, N) whose true peaks stay below -0.3 dBFS; returned unchanged if no true peak exceeds -0.4.

    All channels are turned down together. The gain reaches each peak in time for it and moves without steps.
    """
    gain = np.minimum(1.0, _AIM / np.maximum(_true_peaks(audio, rate), 1e-9))
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


def _true_peaks(audio: Array, rate: int) -> NDArray[np.float64]:
    """The loudest of all channels at and between each sample and its neighbours, (N,)."""
    import soxr

    peaks: NDArray[np.float64] = np.abs(audio).max(axis=0).astype(np.float64)
    for start in range(0, audio.shape[-1], _BLOCK):
        stop = min(start + _BLOCK, audio.shape[-1])
        if peaks[start:stop].max() < _AIM / 2:
            continue  # a reconstructed peak is not twice its samples
        first, last = max(0, start - _MARGIN), min(stop + _MARGIN, audio.shape[-1])
        fine = soxr.resample(audio[:, first:last].T, rate, rate * _OVERSAMPLING)
        loudest = np.abs(fine).max(axis=1)
        loudest = np.pad(loudest, (0, max(0, (last - first) * _OVERSAMPLING - len(loudest))))
        between = loudest[: (last - first) * _OVERSAMPLING].reshape(-1, _OVERSAMPLING).max(axis=1)
        both = np.maximum(between, np.concatenate((between[:1], between[:-1])))
        peaks[start:stop] = np.maximum(peaks[start:stop], both[start - first : stop - first])
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
