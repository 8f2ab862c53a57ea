"""Loudness and true peak, piece by piece."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sa3_edge.audio.levels import Levels
from sa3_edge.audio.limiter import true_peak

Array = NDArray[np.float32]


def _levels(audio: Array, rate: int, step: int = 10_000) -> Levels:
    levels = Levels(rate, audio.shape[0])
    for start in range(0, audio.shape[-1], step):
        levels.push(audio[:, start : start + step])
    return levels


def _sine(rate: int, seconds: float, level: float, hz: float = 997.0) -> Array:
    samples = 10 ** (level / 20) * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    return np.asarray(samples[None], np.float32)


def _music(rate: int, seconds: float) -> Array:
    """Noise with a slow swell, a second of silence in it, and a bass note: something for both gates."""
    rng = np.random.default_rng(5)
    time = np.arange(int(seconds * rate)) / rate
    audio = rng.standard_normal((2, len(time))) * 0.1 * (1 + np.sin(time)) + 0.2 * np.sin(2 * np.pi * 55 * time)
    audio[:, rate * 3 : rate * 4] = 0
    return np.asarray(audio, np.float32)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 192_000])
def test_a_sine_has_the_loudness_that_the_standard_says(rate: int) -> None:
    # Annex 1: 997 Hz at full scale in one channel is -3.01 LKFS; in both channels 3.01 more.
    mono = _sine(rate, 4, 0.0)
    assert _levels(mono, rate).loudness() == pytest.approx(-3.01, abs=0.05)
    assert _levels(np.repeat(mono, 2, axis=0), rate).loudness() == pytest.approx(0.0, abs=0.05)


def test_quiet_parts_do_not_count() -> None:
    # EBU Tech 3341, case 3: the tones at -36 dBFS are below the relative gate.
    parts = [_sine(48_000, seconds, level, 1000.0) for seconds, level in ((10, -36.0), (60, -23.0), (10, -36.0))]
    stereo = np.repeat(np.concatenate(parts, axis=1), 2, axis=0)
    assert _levels(stereo, 48_000).loudness() == pytest.approx(-23.0, abs=0.1)


def test_it_agrees_with_another_library() -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    audio = _music(44_100, 8)
    expected = pyloudnorm.Meter(44_100).integrated_loudness(audio.T.astype(np.float64))
    assert _levels(audio, 44_100).loudness() == pytest.approx(expected, abs=0.1)


def test_pieces_of_any_length_have_the_levels_of_the_whole() -> None:
    audio = _music(44_100, 6)
    whole = _levels(audio, 44_100, audio.shape[-1])
    for step in (911, 70_000):
        parts = _levels(audio, 44_100, step)
        assert parts.loudness() == pytest.approx(whole.loudness(), abs=1e-9)
        assert parts.true_peak() == pytest.approx(whole.true_peak(), abs=1e-4)


def test_a_peak_between_samples_is_found_wherever_pieces_are_cut() -> None:
    # A quarter of the rate, 45 degrees off: samples at 0.707 of a peak of 0.9.
    rising = np.minimum(1, np.arange(200_000) / 1000)
    audio = (0.9 * np.sin(np.pi / 2 * np.arange(200_000) + np.pi / 4) * rising * rising[::-1]).astype(np.float32)[None]
    for step in (64, 65_536):
        assert _levels(audio, 44_100, step).true_peak() == pytest.approx(20 * np.log10(0.9), abs=0.05)
    audio = _music(44_100, 3)
    assert _levels(audio, 44_100).true_peak() == pytest.approx(20 * np.log10(true_peak(audio, 44_100)), abs=0.2)


def test_silence_and_too_short_a_clip_have_no_loudness() -> None:
    silent = _levels(np.zeros((2, 44_100), np.float32), 44_100)
    assert (silent.loudness(), silent.true_peak()) == (None, None)
    short = _levels(_sine(44_100, 0.3, -6.0), 44_100)
    assert short.loudness() is None
    assert short.true_peak() == pytest.approx(-6.0, abs=0.1)
    assert Levels(44_100, 2).loudness() is None
