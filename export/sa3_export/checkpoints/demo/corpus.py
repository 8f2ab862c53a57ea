"""Procedural songs: a style, a key and layers to the activations of the atoms, frame by frame.

What a caption does not say is chosen by the seed: layers of a style that is asked for alone, patterns (`patterns.py`),
progression, voicing, motifs, levels. Tempo is exact on the frame grid: a beat is 4, 5 or 8 frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sa3_export.checkpoints.demo.atoms import FRAME, SAMPLE_RATE, bank
from sa3_export.checkpoints.demo.patterns import ARPEGGIOS, FILLS, MOTIFS, NOTES, STROKES, Notes

_T = TypeVar("_T")
FRAMES_A_SECOND = SAMPLE_RATE / FRAME
PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
KEYS = ((0, "major"), (7, "major"), (5, "major"), (9, "minor"), (4, "minor"), (0, "minor"), (2, "minor"), (7, "minor"))
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PENTATONIC = {"major": (0, 2, 4, 7, 9), "minor": (0, 3, 5, 7, 10)}
# Degrees of the scale a chord each, four chords a phrase. Their roots are those that have a bass. By its chroma, each
# is in its own key or the relative one.
_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 5, 4), (0, 5, 4, 3)),
    "minor": ((0, 5, 2, 6), (0, 2, 5, 6), (0, 6, 5, 0), (0, 5, 6, 0)),
}
_TRIAD, _SEVENTH = (0, 2, 4), (0, 2, 4, 6)
# Sevenths of a major key's chords lead to the key of its fifth degree.
_CHORDS = {"major": (_TRIAD,), "minor": (_TRIAD, _TRIAD, _SEVENTH)}


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


def _chord(tonic: int, mode: str, degree: int, steps: tuple[int, ...] = _TRIAD) -> tuple[int, ...]:
    """Root, third, fifth (and seventh) as pitch classes."""
    return tuple((tonic + SCALES[mode][(degree + step) % 7]) % 12 for step in steps)


def arranged(style: str, layers: tuple[str, ...]) -> bool:
    """Whether the style alone is enough to ask for these layers: two or more of the quiet ones, a beat and two others
    of those for dancing."""
    if style in {"lofi", "ambient"}:
        return len(layers) >= 2
    return len(layers) >= 3 and "drums" in layers


def choose_layers(rng: np.random.Generator, style: str) -> tuple[str, ...]:
    """All, all but one, one, or any: an arrangement about as often as a part."""
    available = STYLES[style].layers
    chance = rng.random()
    if style == "effects" or chance > 0.7:
        return (available[rng.integers(len(available))],)
    chosen = set(available)
    if 0.2 < chance <= 0.35:
        chosen.discard(available[rng.integers(len(available))])
    elif chance > 0.35:
        chosen = {layer for layer in available if rng.random() < 0.5} or chosen
        if style not in {"lofi", "ambient"} and rng.random() < 0.5:
            chosen.add("drums")
    return tuple(layer for layer in available if layer in chosen)


def choose_style(rng: np.random.Generator) -> str:
    return list(STYLES)[rng.choice(len(STYLES), p=(0.22, 0.17, 0.17, 0.12, 0.25, 0.07))]


def phrase(style: str) -> int:
    """Frames after which a song of the style is at the beginning of its progression again."""
    return 4 * STYLES[style].frames * STYLES[style].chord


def compose(
    rng: np.random.Generator,
    frames: int,
    *,
    style: str | None = None,
    key: tuple[int, str] | None = None,
    layers: tuple[str, ...] | None = None,
    start: int = 0,
    end: int | None = None,
) -> Song:
    """Frames `start` to `start + frames` of a song; with `end` it comes to an end there and is silent after it."""
    style = choose_style(rng) if style is None else style
    layers = choose_layers(rng, style) if layers is None else layers
    if key is None:
        key = KEYS[rng.integers(len(KEYS))] if rng.random() < 0.7 else STYLES[style].home
    tonic, mode = key
    skipped = start // phrase(style) * phrase(style)  # a song repeats: what is before this phrase need not be written
    score = _Score(start - skipped + frames)
    last = None if end is None else end - skipped
    if style == "effects":
        _effects(score, rng, layers[0])
    else:
        _music(score, rng, style, tonic, mode, layers, last)
    if last is not None:
        _close(score.values, last)
    heard = score.values[start - skipped :]
    return Song(heard, style, tonic, mode, layers, start + frames if end is None else end)


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


def _pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    return options[int(rng.integers(len(options)))]


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

    progression, steps = _pick(rng, _PROGRESSIONS[mode]), _pick(rng, _CHORDS[mode])
    softest = 0.45 if style == "ambient" else 0.7
    level = {layer: float(rng.uniform(softest, 1.0)) for layer in STYLES[style].layers}
    strokes = [_pick(rng, options) for options in STROKES.get(style, ())]
    fill = _pick(rng, FILLS[style]) if style in FILLS else ()
    notes = {layer: _pick(rng, options) for layer, options in NOTES[style].items()}
    arpeggio, motifs = _pick(rng, ARPEGGIOS), (_pick(rng, MOTIFS), _pick(rng, MOTIFS))
    # The last stroke, and silence for what would begin after it.
    last = len(score.values) if end is None else max(0, (end - beat) // beat * beat)
    for index in range(-(-len(score.values) // span)):
        start = index * span
        if start >= last:
            break
        if "drums" in layers:
            for stroke in (*(each for part in strokes for each in part), *(fill if index % 4 == 3 else ())):
                score.strike(start + stroke.frame, stroke.drum, stroke.value * level["drums"])
        pitches = _chord(tonic, mode, progression[index % 4], steps)
        for layer in layers:
            if layer in notes:
                _play(score, layer, notes[layer], start, pitches, arpeggio, level[layer])
        if "bells" in layers and index % 2 == 0:
            for eighth, step in motifs[index // 2 % 2]:
                pitch = (tonic + _PENTATONIC[mode][step]) % 12
                score.note(start + eighth * beat // 2, "bells", pitch, 24, 0.95 * level["bells"])
    if end is not None:
        # What rings on from before the last stroke has to go: strokes after it would not know of the end.
        score.values[last:] = 0
        _final(score, layers, last, _chord(tonic, mode, 0), end - last)


def _play(
    score: _Score,
    layer: str,
    notes: Notes,
    start: int,
    pitches: tuple[int, ...],
    arpeggio: tuple[int, ...],
    level: float,
) -> None:
    """A layer's notes over one chord."""
    for number, (frame, frames, value) in enumerate(notes.events):
        at, loud = start + frame, value * level
        if layer == "bass":
            score.bass(at, pitches[0], frames, loud)
        elif layer == "pad":
            score.pad(at, pitches, frames, loud, notes.ramp)
        elif notes.broken:
            pitch = pitches[arpeggio[number % len(arpeggio)]]
            if layer == "piano":
                score.chord(at, layer, (pitch,), frames, loud)
            else:
                score.note(at, layer, pitch, frames, loud)
        else:
            score.chord(at, layer, pitches, frames, loud)


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
