"""The sounds of the demo's corpus: 64 waveforms of one latent frame each, of which every song is a weighted sum.

Linear by construction: a frame of audio is `activations (64) @ ATOMS (64, 2 * 4096)`. A latent frame of the demo is its
activations, scaled. Pitches are whole multiples of 44100 / 4096 = 10.77 Hz, so that a held note is the same waveform in
each frame: it costs one atom. Basses, an octave or two below, need two or three where their multiple is not whole.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 44_100
FRAME = 4096  # samples a latent frame
CHANNELS = 2
Wave = NDArray[np.float64]

# C, C#, ... B from C4 = 258.4 Hz, in multiples of 10.77 Hz: a just scale of C, 21 cents below concert pitch. No C#: no
# key of the corpus has it.
MULTIPLES = (24, None, 27, 29, 30, 32, 34, 36, 38, 40, 43, 45)
PITCH_CLASSES = tuple(index for index, multiple in enumerate(MULTIPLES) if multiple)
# Roots of the corpus's chords between F2 and E3: pitch class -> multiple of 10.77 Hz.
BASS_MULTIPLES = {5: 8.0, 7: 9.0, 8: 9.5, 9: 10.0, 10: 10.75, 0: 12.0, 2: 13.5, 3: 14.5, 4: 15.0}

_UNIT = SAMPLE_RATE / FRAME
_LEVEL = 0.4  # of all atoms: a full arrangement then peaks a little below full scale
_time = np.arange(FRAME) / SAMPLE_RATE
_two_frames = np.arange(2 * FRAME) / SAMPLE_RATE


@dataclass(frozen=True)
class Bank:
    """Names of the atoms, and their waveforms (64, 2 * 4096), channel-major."""

    names: tuple[tuple[str, int, int], ...]  # instrument, pitch class or frame, phase
    waves: NDArray[np.float32]

    def index(self, instrument: str, which: int = 0, phase: int = 0) -> int:
        return _positions()[instrument, which, phase]


def _tone(multiple: float, partials: tuple[float, ...], spread: float, phase: float = 0.0) -> Wave:
    """A stereo tone of sine partials: all begin at 0, so that a note may begin or change level at any frame."""
    left, right = np.zeros(FRAME), np.zeros(FRAME)
    for number, level in enumerate(partials, start=1):
        if level and multiple * number * _UNIT < 10_000:
            wave = level * np.sin(2 * np.pi * (multiple * number * _UNIT * _time + number * phase))
            pan = 0.0 if number == 1 else spread * (1 if number % 2 else -1)
            left += wave * (1 + pan)
            right += wave * (1 - pan)
    return np.stack((left, right))


def _band(noise: Wave, low: float, high: float) -> Wave:
    spectrum = np.fft.rfft(noise)
    frequency = np.maximum(np.fft.rfftfreq(noise.shape[-1], 1 / SAMPLE_RATE), 1.0)
    shape = 1 / (1 + (low / frequency) ** 4) / (1 + (frequency / high) ** 4)
    return np.asarray(np.fft.irfft(spectrum * shape, noise.shape[-1]), np.float64)


def _edges(wave: Wave, seconds: float = 0.006) -> Wave:
    """Fade the end out, so that what is struck ends in its last frame without a click."""
    fade = np.minimum(1, (wave.shape[-1] - np.arange(wave.shape[-1])) / (seconds * SAMPLE_RATE))
    faded: Wave = wave * fade
    return faded


def _noise(seed: int, samples: int, width: float = 0.25) -> Wave:
    rng = np.random.default_rng(seed)
    return (1 - width) * rng.standard_normal((1, samples)) + width * rng.standard_normal((2, samples))


def _drums() -> dict[str, Wave]:
    t = _two_frames
    attack = np.minimum(1, t / 0.001)
    sweep = 2 * np.pi * np.cumsum(46 + 130 * np.exp(-t / 0.03)) / SAMPLE_RATE
    kick = np.sin(sweep) * np.exp(-t / 0.09) * attack * 0.95 + 0.1 * np.exp(-t / 0.004) * _noise(1, t.size, 0)[0]
    snare = _band(_noise(2, t.size), 900, 7500) * np.exp(-t / 0.05) * 0.34
    snare = (snare + 0.34 * np.sin(2 * np.pi * 187 * t) * np.exp(-t / 0.04)) * attack
    bursts = sum(np.exp(-np.maximum(t - at, 0) / 0.005) * (t >= at) for at in (0.0, 0.011, 0.022))
    clap = _band(_noise(3, t.size), 1100, 5500) * (np.exp(-t / 0.04) * 0.35 + bursts * 0.3)
    hat = _band(_noise(4, t.size), 6500, 14_000) * np.exp(-t / 0.016) * 0.17
    open_hat = _band(_noise(5, t.size), 6000, 14_000) * np.exp(-t / 0.055) * 0.15
    late = np.zeros_like(open_hat)  # struck in the middle of the frame: the off-beat of a beat of five frames
    late[:, FRAME // 2 :] = open_hat[:, : -FRAME // 2]
    return {
        "kick": _edges(np.stack((kick, kick))),
        "snare": _edges(snare[:, :FRAME]),
        "clap": _edges(clap[:, :FRAME]),
        "hat": _edges(hat[:, :FRAME]),
        "open hat": _edges(late),
    }


def _effects() -> dict[str, Wave]:
    t = _two_frames
    step = _band(_noise(6, t.size, 0.1), 90, 900) * np.exp(-t / 0.03) * 1.2
    gravel = _band(_noise(7, t.size, 0.5), 1500, 6000) * np.exp(-np.abs(t - 0.06) / 0.02) * 0.25
    made = {"step": _edges(step + gravel)}
    ends = np.minimum(1, np.minimum(_time, _time[::-1]) / 0.002)
    for index in range(3):
        made[f"rain {index}"] = _band(_noise(10 + index, FRAME, 0.9), 900, 9000) * ends * 0.1
    for index, (low, high) in enumerate(((250, 700), (900, 2500), (3500, 9000))):
        made[f"riser {index}"] = _band(_noise(20 + index, FRAME, 0.8), low, high) * ends * (0.32, 0.26, 0.22)[index]
    return made


def _build() -> tuple[list[tuple[str, int, int]], list[Wave]]:
    names: list[tuple[str, int, int]] = []
    waves: list[Wave] = []

    def add(instrument: str, which: int, phase: int, wave: Wave) -> None:
        names.append((instrument, which, phase))
        waves.append(wave)

    for instrument, wave in {**_drums(), **_effects()}.items():
        for frame in range(wave.shape[-1] // FRAME):
            add(instrument, frame, 0, wave[:, frame * FRAME : (frame + 1) * FRAME])
    for pitch in PITCH_CLASSES:
        multiple = MULTIPLES[pitch]
        assert multiple is not None
        tilt = (30 / multiple) ** 0.5  # high notes softer
        add(
            "piano",
            pitch,
            0,
            0.17 * tilt * np.exp(-_time / 0.7) * _tone(multiple, (1, 0.4, 0.14, 0.14, 0.04, 0.04), 0.25),
        )
        add("pad", pitch, 0, 0.1 * tilt * _tone(multiple, (0.75, -0.6, 0.2, -0.35, 0.04, -0.1), 0.7))
        add(
            "lead", pitch, 0, 0.15 * tilt * np.exp(-_time / 0.3) * _tone(2 * multiple, (1, 0.12, 0.25, 0.05, 0.05), 0.4)
        )
    for pitch, low in BASS_MULTIPLES.items():
        fast = np.exp(-_time / 0.5) * 0.42
        if low % 1 == 0:
            add("bass", pitch, 0, fast * _tone(low, (1, 0.5, 0.25, 0.12), 0.0))
        elif low % 1 == 0.5:  # odd partials change sign from frame to frame, even ones do not
            add("bass", pitch, 0, fast * _tone(low, (1, 0, 0.25), 0.0))
            add("bass", pitch, 1, fast * _tone(low, (0, 0.5, 0, 0.12), 0.0))
        else:  # the fundamental turns by a quarter a frame, its octave changes sign
            add("bass", pitch, 0, fast * _tone(low, (1,), 0.0))
            add("bass", pitch, 1, fast * _tone(low, (1,), 0.0, phase=0.25))
            add("bass", pitch, 2, fast * _tone(low, (0, 0.5), 0.0))
    t = _time
    thump = np.exp(-t / 0.01) * (np.sin(2 * np.pi * 150 * t) + 0.3 * _noise(8, FRAME, 0.3)) * np.minimum(1, t / 0.0015)
    click = _band(_noise(9, FRAME, 0.4), 2000, 9000) * np.exp(-t / 0.008) * np.minimum(1, t / 0.001)
    add("piano attack", 0, 0, 0.1 * thump)
    add("lead attack", 0, 0, 0.11 * click)
    return names, waves


@functools.cache
def bank() -> Bank:
    names, waves = _build()
    stacked = np.stack(waves).reshape(len(waves), CHANNELS * FRAME) * _LEVEL
    return Bank(tuple(names), stacked.astype(np.float32))


@functools.cache
def _positions() -> dict[tuple[str, int, int], int]:
    return {name: index for index, name in enumerate(bank().names)}


def render(activations: NDArray[np.floating]) -> NDArray[np.float32]:
    """Activations (T, 64) -> audio (2, T * 4096)."""
    frames = (activations.astype(np.float32) @ bank().waves).reshape(len(activations), CHANNELS, FRAME)
    return np.ascontiguousarray(frames.transpose(1, 0, 2)).reshape(CHANNELS, -1)
