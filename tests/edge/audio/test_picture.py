"""Peaks and spectrogram against sounds whose picture is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sa3_edge.audio.picture import Picture, draw

RATE = 44_100
Array = NDArray[np.float32]


def _drawn(audio: Array, columns: int = 40, bands: int = 64) -> Picture:
    """Of mono audio; every read is checked to lie within it."""

    def read(start: int, count: int) -> Array:
        assert 0 <= start <= len(audio)
        return audio[start : start + count, None]

    return draw(len(audio), RATE, read, columns, bands)


def _tone(hertz: float, seconds: float = 2.0, level: float = 1.0) -> Array:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def test_peaks_are_those_of_the_samples_in_their_column() -> None:
    audio = np.zeros(1000, np.float32)
    audio[[105, 990]] = [0.5, -1.0]
    picture = _drawn(audio, columns=10)
    assert picture.highs.tolist() == [0, 64, 0, 0, 0, 0, 0, 0, 0, 0]
    assert picture.lows.tolist() == [0] * 9 + [-127]


def test_a_tone_is_brightest_in_its_band_at_its_level() -> None:
    for hertz in (110.0, 1000.0, 8000.0):
        picture = _drawn(_tone(hertz))
        band = int(picture.spectrogram[:, 20].argmax())
        expected = 64 * np.log(hertz / 40) / np.log(16_000 / 40)
        assert band == pytest.approx(expected, abs=1.5)
    # 20 dB quieter is 20 of 90 dB darker.
    loud, quiet = (_drawn(_tone(1000, level=level)).spectrogram[:, 20].max() for level in (1.0, 0.1))
    assert int(loud) - int(quiet) == pytest.approx(255 * 20 / 90, abs=3)


def test_silence_is_dark_and_flat() -> None:
    picture = _drawn(np.zeros(RATE, np.float32))
    assert not picture.spectrogram.any()
    assert not picture.highs.any()


@pytest.mark.parametrize("samples", [1, 39, 4095, 4097])
def test_sounds_shorter_than_a_window_have_a_picture_too(samples: int) -> None:
    picture = _drawn(np.full(samples, 0.5, np.float32))
    assert len(picture.highs) == min(40, samples)
    assert set(picture.highs.tolist()) == {64}


def test_samples_beyond_full_scale_are_drawn_at_full_scale() -> None:
    assert _drawn(_tone(100, level=3.0)).highs.max() == 127
