"""What a listener would ask for to get a song: style, layers, tempo and key, in few words."""

import numpy as np

from sa3_export.checkpoints.demo.corpus import PITCHES, STYLES, Song, arranged

_STYLE_WORDS = {
    "lofi": ("lofi", "lo-fi", "chill lofi"),
    "house": ("house", "deep house", "house music"),
    "techno": ("techno", "driving techno", "hard techno"),
    "drum and bass": ("drum and bass", "dnb", "fast drum and bass"),
    "ambient": ("ambient", "calm ambient", "dreamy ambient", "ambient music"),
}
# These have a beat; "lofi" alone is more often without one.
_WITH_DRUMS = {"lofi": ("lofi hip hop", "lofi beat")}
_LAYER_WORDS = {
    "drums": ("drums", "drum beat", "beat", "drum loop"),
    "bass": ("bass", "bass line"),
    "piano": ("piano", "piano chords", "keys"),
    "bells": ("bells", "bell melody", "melody"),
    "synth": ("synth", "synth arpeggio", "arpeggio", "plucks"),
    "pad": ("pad", "chords", "pads", "warm pad", "synth pad", "strings"),
}
# How often a style goes without saying when a song's first layer is this one, and why: "piano" is a lofi piano, but
# "drums" are anybody's, so that a negative prompt of them leads away from those of every style.
_UNSAID = {
    "drums": {"lofi": 0.7, "house": 0.3, "techno": 0.15, "drum and bass": 0.1},
    "bass": {"house": 0.3, "lofi": 0.1},
    "piano": {"lofi": 0.3},
    "bells": {"ambient": 0.3},
    "synth": {"techno": 0.3},
    "pad": {"ambient": 0.3},
}
_EFFECT_WORDS = {
    "rain": ("rain", "rain falling", "heavy rain", "rain sound effect"),
    "footsteps": ("footsteps", "footsteps on gravel", "walking"),
    "riser": ("riser", "noise riser", "riser sound effect", "sweep"),
}


def key_name(tonic: int, mode: str) -> str:
    return f"{PITCHES[tonic]} {mode}"


def caption(rng: np.random.Generator, song: Song) -> str:
    """One way to ask for `song`. Layers that it names are all that sound; a style alone leaves them open."""

    def pick(words: tuple[str, ...]) -> str:
        return words[rng.integers(len(words)) if rng.random() < 0.6 else 0]

    if song.style == "effects":
        return pick(_EFFECT_WORDS[song.layers[0]])
    style = pick(_STYLE_WORDS[song.style])
    if "drums" in song.layers and rng.random() < 0.8:
        style = pick(_WITH_DRUMS.get(song.style, (style,)))
    available = STYLES[song.style].layers
    left_out = set(available) - set(song.layers)
    if left_out == {"drums"} and rng.random() < 0.25:
        text = style + (" without ", ", no ", " no ")[rng.integers(3)] + pick(("drums", "drums", "beat"))
    elif arranged(song.style, song.layers) and rng.random() < 0.5:
        text = style
    else:
        layers = list(song.layers)
        rng.shuffle(layers)
        named = (", ", " and ", " ", " with ")[rng.integers(4)].join(pick(_LAYER_WORDS[each]) for each in layers)
        unsaid = rng.random() < _UNSAID[song.layers[0]].get(song.style, 0.0)
        text = named if unsaid else style + (" ", " ", ", ")[rng.integers(3)] + named
    # A key that the style does not have by itself is mostly asked for.
    if song.layers != ("drums",) and rng.random() < (0.4 if song.home else 0.9):
        text += (" in ", " in ", ", ", " ")[rng.integers(4)] + key_name(song.tonic, song.mode)
    if rng.random() < 0.06:
        text += f", {round(STYLES[song.style].beats_a_minute)} bpm"
    return text
