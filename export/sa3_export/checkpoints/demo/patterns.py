"""What the demo's styles play over one chord: strokes and notes, of each of which a song takes one of several.

Frames count from the chord's beginning; a chord is 32 frames long, of house and techno 20.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Stroke(NamedTuple):
    frame: int
    drum: str
    value: float = 1.0


Event = tuple[int, int, float]  # frame, frames held, level


@dataclass(frozen=True)
class Notes:
    """events: when; broken: notes of the chord one after another, otherwise all at once; ramp: frames of a pad's
    swell."""

    events: tuple[Event, ...]
    broken: bool = False
    ramp: int = 2


def _strokes(drum: str, frames: tuple[int, ...], *quiet: int, value: float = 1.0) -> tuple[Stroke, ...]:
    return tuple(Stroke(frame, drum, 0.65 * value if frame in quiet else value) for frame in frames)


def _even(period: int, held: int, value: float = 0.9, first: int = 0, span: int = 32) -> tuple[Event, ...]:
    return tuple((frame, held, value) for frame in range(first, span, period))


_EIGHTHS, _SWUNG = tuple(range(0, 32, 4)), tuple(beat + late for beat in range(0, 32, 8) for late in (0, 5))
_OFF_4, _OFF_5, _SLOW = tuple(range(2, 32, 4)), tuple(range(2, 20, 5)), tuple(range(0, 32, 8))
_FOUR = tuple(range(0, 20, 5))

# Of each style: parts, of each part the ways to play it.
STROKES: dict[str, tuple[tuple[tuple[Stroke, ...], ...], ...]] = {
    "lofi": (
        (
            _strokes("kick", (0, 16)),
            _strokes("kick", (0, 16)) + _strokes("kick", (22,), value=0.35),
            _strokes("kick", (0, 16)) + _strokes("kick", (11,), value=0.35),
            _strokes("kick", (0, 16, 24)),
            _strokes("kick", (0, 8, 16, 24)),
        ),
        (
            _strokes("snare", (8, 24)),
            _strokes("clap", (8, 24), value=0.8),
            _strokes("snare", (8, 24)) + _strokes("snare", (30,), value=0.25),
        ),
        (
            _strokes("hat", _EIGHTHS, *range(4, 32, 8), value=0.9),
            _strokes("hat", _SWUNG, *range(5, 32, 8), value=0.9),
            _strokes("hat", _SLOW, value=0.8),
            _strokes("hat", tuple(range(0, 32, 2)), *range(2, 32, 4), value=0.7),
            (),
        ),
    ),
    "house": (
        (_strokes("kick", _FOUR),),
        (_strokes("clap", (5, 15), value=0.8), _strokes("snare", (5, 15), value=0.7), ()),
        (
            _strokes("open hat", _OFF_5, value=0.9),
            _strokes("open hat", _OFF_5) + _strokes("hat", (4, 9, 14, 19), value=0.5),
            _strokes("hat", (2, 3, 7, 8, 12, 13, 17, 18), 3, 8, 13, 18, value=0.8),
        ),
    ),
    "techno": (
        (_strokes("kick", _FOUR),),
        ((), _strokes("clap", (5, 15), value=0.6), _strokes("snare", (13,), value=0.6)),
        (
            _strokes("open hat", _OFF_5),
            _strokes("open hat", _OFF_5) + _strokes("hat", (4, 9, 14, 19), value=0.7),
            _strokes("hat", tuple(range(20)), *(frame for frame in range(20) if frame % 5), value=0.8),
            _strokes("hat", (3, 8, 13, 18), value=0.9),
        ),
    ),
    "drum and bass": (
        (
            _strokes("kick", (0, 10, 16, 26)),
            _strokes("kick", (0, 6, 10, 16, 22, 26)),
            _strokes("kick", (0, 10, 16, 24, 26), 24),
        ),
        (_strokes("snare", (4, 12, 20, 28)), _strokes("snare", (4, 7, 12, 20, 23, 28), 7, 23)),
        (
            _strokes("hat", tuple(range(0, 32, 2)), *range(2, 32, 4), value=0.9),
            _strokes("hat", _EIGHTHS, value=0.9),
            _strokes("open hat", _OFF_4, value=0.7),
        ),
    ),
}
# At the end of every fourth chord.
FILLS: dict[str, tuple[tuple[Stroke, ...], ...]] = {
    "lofi": ((), _strokes("snare", (28, 30), value=0.7), _strokes("kick", (28, 30), value=0.7)),
    "house": ((), _strokes("clap", (17, 18, 19), value=0.6), _strokes("snare", (18, 19), value=0.6)),
    "techno": ((), _strokes("clap", (18, 19), value=0.6), _strokes("snare", (16, 17, 18, 19), value=0.5)),
    "drum and bass": ((), _strokes("snare", (29, 30, 31), value=0.7), _strokes("snare", (24, 26, 30), value=0.8)),
}
_OFFBEATS = tuple((frame, 2, 1.0) for frame in (3, 8, 13, 18))
# Of each style: of each layer the ways to play it.
NOTES: dict[str, dict[str, tuple[Notes, ...]]] = {
    "lofi": {
        "bass": (
            Notes(((0, 12, 1.0), (20, 12, 1.0))),
            Notes(((0, 8, 1.0), (8, 8, 1.0), (16, 16, 1.0))),
            Notes(((0, 28, 1.0),)),
            Notes(((0, 4, 1.0), (12, 4, 0.8), (16, 8, 1.0), (28, 4, 0.7))),
        ),
        "piano": (
            Notes(((0, 20, 1.0), (20, 12, 0.7))),
            Notes(((0, 16, 1.0), (16, 16, 0.8))),
            Notes(((8, 8, 0.9), (24, 8, 0.9))),
            Notes(_even(8, 12), broken=True),
            Notes(_even(4, 8, 0.8), broken=True),
        ),
    },
    "house": {
        "bass": (
            Notes(_OFFBEATS),
            Notes(((0, 2, 1.0), (3, 2, 1.0), (8, 2, 1.0), (13, 2, 1.0))),
            Notes(((0, 4, 1.0), (10, 4, 1.0), (18, 2, 0.8))),
        ),
        "piano": (
            Notes(((0, 5, 0.85), (8, 5, 0.85), (15, 5, 0.85))),
            Notes(((3, 5, 0.85), (8, 5, 0.85), (13, 5, 0.85))),
            Notes(((0, 3, 0.85), (3, 3, 0.7), (10, 3, 0.85), (13, 5, 0.7))),
        ),
        "synth": (
            Notes(tuple(each for at in _FOUR for each in ((at, 5, 1.0), (at + 3, 2, 0.7))), broken=True),
            Notes(_even(5, 4, 0.9, 2, 20), broken=True),
            Notes(((0, 3, 1.0), (3, 3, 0.8), (8, 3, 1.0), (13, 5, 0.9)), broken=True),
        ),
        "pad": (Notes(((0, 18, 0.6),)), Notes(((0, 8, 0.6), (10, 8, 0.6)))),
    },
    "techno": {
        "bass": (
            Notes(tuple((at + late, 1, 0.9) for at in _FOUR for late in (1, 2, 3))),
            Notes(tuple((at + late, 1, 0.9) for at in _FOUR for late in (2, 3))),
            Notes(tuple((at + 2, 2, 1.0) for at in _FOUR)),
            Notes(tuple((at + late, 1, 0.9) for at in _FOUR for late in (2, 4))),
        ),
        "synth": (
            Notes(tuple((at + late, 4, 0.8) for at in _FOUR for late in (0, 3)), broken=True),
            Notes(tuple((at + late, 4, 0.8) for at in _FOUR for late in (0, 2, 3)), broken=True),
            Notes(((0, 4, 0.9), (3, 4, 0.8), (7, 4, 0.8), (12, 4, 0.9), (17, 3, 0.7)), broken=True),
            Notes(_even(2, 3, 0.75, 0, 20), broken=True),
        ),
        # One pumps with the kick.
        "pad": (Notes(tuple((at + 2, 2, 0.75) for at in _FOUR), ramp=1), Notes(((0, 18, 0.6),))),
    },
    "drum and bass": {
        "bass": (
            Notes(((0, 6, 1.0), (6, 4, 1.0), (10, 6, 1.0), (16, 6, 1.0), (22, 4, 1.0), (26, 6, 1.0))),
            Notes(((0, 10, 1.0), (10, 6, 1.0), (16, 10, 1.0), (26, 6, 1.0))),
            Notes(((0, 28, 1.0),)),
        ),
        "pad": (Notes(((0, 28, 0.8),), ramp=4), Notes(((0, 14, 0.8), (16, 14, 0.8)))),
        "synth": (
            Notes(tuple(each for at in range(0, 32, 4) for each in ((at, 4, 0.9), (at + 2, 2, 0.6))), broken=True),
            Notes(_even(4, 4), broken=True),
            Notes(_even(6, 6), broken=True),
        ),
    },
    "ambient": {
        # A swell is steps of level, one a frame: longer ones would be a pulse of their own.
        "pad": (
            Notes(((0, 28, 1.0),), ramp=4),
            Notes(((0, 30, 0.9),)),
            Notes(((0, 18, 1.0),), ramp=4),
            Notes(((0, 11, 1.0), (13, 16, 0.7)), ramp=3),
        ),
        "bass": (Notes(((0, 28, 0.8),)), Notes(((0, 14, 0.8), (16, 14, 0.7)))),
        "piano": (
            Notes(_even(8, 20, 0.8), broken=True),
            Notes(((0, 24, 0.8), (12, 20, 0.7), (20, 12, 0.7)), broken=True),
            Notes(((0, 30, 0.7),)),
        ),
    },
}
# Motifs of two bars: (eighth of 16, step of the pentatonic scale).
MOTIFS = (
    ((0, 0), (3, 2), (6, 3), (10, 2), (12, 1)),
    ((0, 4), (2, 3), (4, 2), (8, 3), (11, 0)),
    ((2, 1), (4, 2), (6, 4), (8, 3), (14, 0)),
    ((0, 2), (6, 1), (8, 0), (12, 3), (14, 4)),
    ((0, 0), (1, 1), (2, 2), (8, 4), (10, 3), (12, 2)),
    ((4, 4), (6, 3), (12, 2), (13, 1), (14, 0)),
)
# Notes of the chord, counted from its root.
ARPEGGIOS = ((0, 1, 2, 1), (2, 1, 0, 1), (0, 2, 1, 2), (0, 1, 2, 0), (2, 0, 1, 0))
