"""Procedural songs: a style, a key and layers to the activations of the atoms, frame by frame.

Few choices make a song (progression, patterns, motif), and what a caption says decides most of them: this is what lets
a small transformer learn it in an hour. Tempo is exact on the frame grid: a beat is 4, 5 or 8 frames.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa3_export.checkpoints.demo.atoms import FRAME, SAMPLE_RATE, bank

FRAMES_A_SECOND = SAMPLE_RATE / FRAME
PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
KEYS = ((0, "major"), (7, "major"), (5, "major"), (9, "minor"), (4, "minor"), (0, "minor"), (2, "minor"), (7, "minor"))
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PENTATONIC = {"major": (0, 2, 4, 7, 9), "minor": (0, 3, 5, 7, 10)}
# Degrees of the scale a chord each, four chords a phrase: of phrases of 128 frames, and of 80.
_PROGRESSIONS = {"major": ((0, 4, 5, 3), (0, 5, 3, 4)), "minor": ((0, 5, 2, 6), (0, 3, 5, 6))}


@dataclass(frozen=True)
class Style:
    """frames: of a beat; chord: beats a chord; layers: what can sound; home: the key when none is asked for."""

    frames: int
    chord: int
    layers: tuple[str, ...]
    home: tuple[int, str] = (0, "major")

    @property
    def beats_a_minute(self) -> float:
        return 60 * FRAMES_A_SECOND / self.frames


STYLES = {
    "lofi": Style(8, 4, ("drums", "bass", "piano", "bells"), (0, "minor")),
    "house": Style(5, 4, ("drums", "bass", "piano", "synth", "pad"), (9, "minor")),
    "techno": Style(5, 4, ("drums", "bass", "synth", "pad"), (4, "minor")),
    "drum and bass": Style(4, 8, ("drums", "bass", "pad", "synth"), (2, "minor")),
    "ambient": Style(8, 4, ("pad", "bells", "bass", "piano"), (0, "major")),
    "effects": Style(8, 4, ("rain", "footsteps", "riser")),
}

# Per layer: activation falls by exp(-seconds / this).
_DECAY = {"piano": 0.7, "bells": 0.8, "synth": 0.13, "bass": 0.5}
# Motifs of two bars: (eighth of 16, step of the pentatonic scale).
_MOTIFS = (
    ((0, 0), (3, 2), (6, 3), (10, 2), (12, 1)),
    ((0, 4), (2, 3), (4, 2), (8, 3), (11, 0)),
    ((2, 1), (4, 2), (6, 4), (8, 3), (14, 0)),
    ((0, 2), (6, 1), (8, 0), (12, 3), (14, 4)),
)
_ARPEGGIOS = ((0, 1, 2, 1), (2, 1, 0, 1), (0, 2, 1, 2))


@dataclass(frozen=True)
class Song:
    """What was composed: activations (frames, 64), and all that a caption may say of it.

    frames: length of the music; silence follows it
    """

    activations: NDArray[np.float32]
    style: str
    tonic: int
    mode: str
    layers: tuple[str, ...]
    frames: int

    @property
    def home(self) -> bool:
        """Whether the key is the one that the style has when none is asked for."""
        return (self.tonic, self.mode) == STYLES[self.style].home


class _Score:
    """Writes notes and strokes as activations."""

    def __init__(self, frames: int):
        self.values = np.zeros((frames, len(bank().names)), np.float32)

    def add(self, frame: int, value: float, instrument: str, which: int = 0, phase: int = 0) -> None:
        if 0 <= frame < len(self.values):
            self.values[frame, bank().index(instrument, which, phase)] += value

    def strike(self, frame: int, drum: str, value: float = 1.0) -> None:
        for part in range(2 if drum in {"kick", "open hat", "step"} else 1):
            self.add(frame + part, value, drum, part)

    def note(self, frame: int, layer: str, pitch: int, frames: int, value: float = 1.0) -> None:
        """A note that decays, from `frame` on; bells and synth share the waveforms of the lead."""
        instrument = "lead" if layer in {"bells", "synth"} else layer
        if layer == "synth":
            self.add(frame, value, "lead attack")
        for age in range(frames):
            level = value * float(np.exp(-age / FRAMES_A_SECOND / _DECAY[layer]))
            if level < 0.03:
                break
            self.add(frame + age, level, instrument, pitch)

    def bass(self, frame: int, pitch: int, frames: int, value: float = 1.0) -> None:
        """A bass note: its phase goes on from frame to frame, counted from where it begins."""
        parts = sum(1 for name in bank().names if name[:2] == ("bass", pitch))
        for age in range(frames):
            level = value * float(np.exp(-age / FRAMES_A_SECOND / _DECAY["bass"]))
            if parts == 1:
                self.add(frame + age, level, "bass", pitch)
            elif parts == 2:
                self.add(frame + age, level * (-1) ** age, "bass", pitch, 0)
                self.add(frame + age, level, "bass", pitch, 1)
            else:  # 10.75 periods a frame: the fundamental is three quarters on, its octave a half
                turn = 2 * np.pi * 0.75 * age
                self.add(frame + age, level * float(np.cos(turn)), "bass", pitch, 0)
                self.add(frame + age, level * float(np.sin(turn)), "bass", pitch, 1)
                self.add(frame + age, level * (-1) ** age, "bass", pitch, 2)

    def chord(self, frame: int, layer: str, pitches: tuple[int, ...], frames: int, value: float = 1.0) -> None:
        for pitch in pitches:
            self.note(frame, layer, pitch, frames, value)
        if layer == "piano":
            self.add(frame, value, "piano attack")

    def pad(self, frame: int, pitches: tuple[int, ...], frames: int, value: float, ramp: int) -> None:
        """A chord that swells for `ramp` frames and falls for as long after `frames`."""
        for age in range(frames + ramp):
            level = min(1.0, (age + 1) / ramp, (frames + ramp - age) / (ramp + 1))
            for pitch in pitches:
                self.add(frame + age, value * level, "pad", pitch)


def _triad(tonic: int, mode: str, degree: int) -> tuple[int, ...]:
    """Root, third and fifth as pitch classes."""
    return tuple((tonic + SCALES[mode][(degree + step) % 7]) % 12 for step in (0, 2, 4))


def choose_layers(rng: np.random.Generator, style: str) -> tuple[str, ...]:
    """All, all but one, one, or any."""
    available = STYLES[style].layers
    chance = rng.random()
    if style == "effects" or 0.55 < chance < 0.82:
        return (available[rng.integers(len(available))],)
    chosen = set(available)
    if 0.4 < chance <= 0.55:
        chosen.discard(available[rng.integers(len(available))])
    elif chance >= 0.82:
        chosen = {layer for layer in available if rng.random() < 0.5} or chosen
    return tuple(layer for layer in available if layer in chosen)


def compose(
    rng: np.random.Generator,
    frames: int,
    *,
    style: str | None = None,
    key: tuple[int, str] | None = None,
    layers: tuple[str, ...] | None = None,
    end: int | None = None,
) -> Song:
    """A song of `frames` frames; with `end` it comes to an end there and is silent after it."""
    if style is None:
        style = list(STYLES)[rng.choice(len(STYLES), p=(0.2, 0.18, 0.18, 0.14, 0.2, 0.1))]
    layers = choose_layers(rng, style) if layers is None else layers
    if key is None:
        key = KEYS[rng.integers(len(KEYS))] if rng.random() < 0.65 else STYLES[style].home
    tonic, mode = key
    score = _Score(frames)
    if style == "effects":
        _effects(score, rng, layers[0])
    else:
        _music(score, rng, style, tonic, mode, layers, end)
    if end is not None:
        _close(score.values, end)
    return Song(score.values, style, tonic, mode, layers, frames if end is None else end)


def _close(values: NDArray[np.float32], end: int) -> None:
    """Fade within the last three frames of the music, and keep silent after it."""
    for back, level in ((1, 0.3), (2, 0.6), (3, 0.85)):
        if 0 <= end - back < len(values):
            values[end - back] *= level
    values[end:] = 0


def _effects(score: _Score, rng: np.random.Generator, layer: str) -> None:
    frames = len(score.values)
    if layer == "rain":
        for index in range(3):
            for frame in range(frames):
                score.add(frame, float(rng.standard_normal()) * 0.8, f"rain {index}")
    elif layer == "footsteps":
        for frame in range(0, frames, 8):
            score.strike(frame, "step", 1.0 if frame % 16 == 0 else 0.75)
    else:  # a riser of 64 frames, from low to high
        for frame in range(frames):
            rise = frame % 64 / 63
            for index in range(3):
                level = max(0.0, 1 - abs(rise * 2 - index)) * (0.2 + 0.8 * rise)
                score.add(frame, level, f"riser {index}")


def _music(
    score: _Score,
    rng: np.random.Generator,
    style: str,
    tonic: int,
    mode: str,
    layers: tuple[str, ...],
    end: int | None,
) -> None:
    beat, chord_beats = STYLES[style].frames, STYLES[style].chord
    span = beat * chord_beats
    progression = _PROGRESSIONS[mode][span * 4 == 80]
    variant, groove = int(rng.integers(2)), int(rng.integers(2))
    motif, arpeggio = _MOTIFS[rng.integers(len(_MOTIFS))], _ARPEGGIOS[rng.integers(len(_ARPEGGIOS))]
    # The last stroke, and silence for what would begin after it.
    last = len(score.values) if end is None else max(0, (end - beat) // beat * beat)
    for index in range(-(-len(score.values) // span)):
        start = index * span
        if start >= last:
            break
        pitches = _triad(tonic, mode, progression[index % 4])
        _chord_span(score, style, layers, start, pitches, (variant, groove, index % 4 == 3), arpeggio)
        if "bells" in layers and index % 2 == 0:
            for eighth, step in motif:
                pitch = (tonic + _PENTATONIC[mode][step]) % 12
                score.note(start + eighth * beat // 2, "bells", pitch, 24, 0.9)
    if end is not None:
        # What rings on from before the last stroke has to go: strokes after it would not know of the end.
        score.values[last:] = 0
        _final(score, layers, last, _triad(tonic, mode, 0), end - last)


def _final(score: _Score, layers: tuple[str, ...], frame: int, pitches: tuple[int, ...], frames: int) -> None:
    """One stroke on the tonic, which rings to the end."""
    if "drums" in layers:
        score.strike(frame, "kick")
    if "bass" in layers:
        score.bass(frame, pitches[0], frames)
    if "piano" in layers:
        score.chord(frame, "piano", pitches, frames)
    if "pad" in layers:
        score.pad(frame, pitches, frames, 0.9, 2)
    for layer in ("bells", "synth"):
        if layer in layers:
            score.note(frame, layer, pitches[0], frames)


def _chord_span(
    score: _Score,
    style: str,
    layers: tuple[str, ...],
    start: int,
    pitches: tuple[int, ...],
    choices: tuple[int, int, bool],
    arpeggio: tuple[int, ...],
) -> None:
    """One chord of a progression, in the manner of the style."""
    variant, groove, turn = choices
    root = pitches[0]
    if style == "lofi":
        if "drums" in layers:
            for frame in (0, 16, 20) if variant else (0, 16):
                score.strike(start + frame, "kick", 1.0 if frame % 8 == 0 else 0.6)
            for frame in (8, 24):
                score.strike(start + frame, "snare")
            for frame in range(0, 32, 4):
                score.strike(start + frame, "hat", 0.9 if frame % 8 == 0 else 0.55)
            if turn:
                score.strike(start + 28, "snare", 0.6)
        if "bass" in layers:
            for frame, frames in ((0, 12), (20, 12)) if groove else ((0, 8), (8, 8), (16, 16)):
                score.bass(start + frame, root, frames)
        if "piano" in layers:
            for frame, frames, value in ((0, 20, 1.0), (20, 12, 0.7)) if variant else ((0, 16, 1.0), (16, 16, 0.8)):
                score.chord(start + frame, "piano", pitches, frames, value)
    elif style == "house":
        if "drums" in layers:
            for frame in range(0, 20, 5):
                score.strike(start + frame, "kick")
                score.strike(start + frame + 2, "open hat", 0.8)
            for frame in (5, 15):
                score.strike(start + frame, "clap", 0.7)
            if turn and variant:
                score.strike(start + 18, "clap", 0.5)
        if "bass" in layers:
            for frame in (3, 8, 13, 18) if groove else (0, 3, 8, 13):
                score.bass(start + frame, root, 2)
        if "piano" in layers:
            for frame in (0, 8, 15) if variant else (3, 8, 13):
                score.chord(start + frame, "piano", pitches, 5, 0.85)
        if "synth" in layers:
            for frame in range(0, 20, 5):
                score.note(start + frame, "synth", pitches[arpeggio[frame // 5]], 5)
                score.note(start + frame + 3, "synth", pitches[arpeggio[(frame // 5 + 1) % 4]], 2, 0.7)
        if "pad" in layers:
            score.pad(start, pitches, 18, 0.6, 2)
    elif style == "techno":
        if "drums" in layers:
            for frame in range(0, 20, 5):
                score.strike(start + frame, "kick")
                score.strike(start + frame + 2, "open hat")
                if variant:
                    score.strike(start + frame + 4, "hat", 0.7)
            for frame in (5, 15) if groove else ():
                score.strike(start + frame, "clap", 0.6)
        if "bass" in layers:
            for frame in range(0, 20, 5):
                for offset in (1, 2, 3) if groove else (2, 3):
                    score.bass(start + frame + offset, root, 1, 0.9)
        if "synth" in layers:
            for frame in range(20):
                if frame % 5 in ((0, 2, 3) if variant else (0, 3)):
                    score.note(start + frame, "synth", pitches[arpeggio[frame // 5]], 4, 0.9 if frame % 5 == 0 else 0.7)
        if "pad" in layers:
            for frame in range(0, 20, 5):  # pumps with the kick
                for offset, value in enumerate((0.15, 0.45, 0.7, 0.75, 0.75)):
                    for pitch in pitches:
                        score.add(start + frame + offset, value, "pad", pitch)
    elif style == "drum and bass":
        for bar in (0, 16):
            if "drums" in layers:
                for frame in (0, 10) if variant else (0, 6, 10):
                    score.strike(start + bar + frame, "kick")
                for frame in (4, 12):
                    score.strike(start + bar + frame, "snare")
                for frame in range(0, 16, 2):
                    score.strike(start + bar + frame, "hat", 0.9 if frame % 4 == 0 else 0.6)
            if "bass" in layers:
                for frame, frames in ((0, 6), (6, 4), (10, 6)) if groove else ((0, 10), (10, 6)):
                    score.bass(start + bar + frame, root, frames)
            if "synth" in layers:
                for frame in range(0, 16, 4):
                    score.note(start + bar + frame, "synth", pitches[arpeggio[frame // 4]], 4, 0.9)
                    score.note(start + bar + frame + 2, "synth", pitches[arpeggio[(frame // 4 + 1) % 4]], 2, 0.6)
        if "pad" in layers:
            score.pad(start, pitches, 28, 0.8, 4)
    else:  # ambient
        if "pad" in layers:
            score.pad(start, pitches, 26, 1.0, 6)
        if "bass" in layers:
            score.bass(start, root, 28, 0.8)
        if "piano" in layers:
            for step, frame in enumerate((0, 8, 16, 24)):
                score.chord(start + frame, "piano", (pitches[arpeggio[step]],), 20, 0.8)
