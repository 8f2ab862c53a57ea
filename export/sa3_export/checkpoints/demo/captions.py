"""What a listener would ask for to get a song: style, layers, tempo and key, in few words."""

import numpy as np

from sa3_export.checkpoints.demo.corpus import PITCHES, STYLES, Song

_STYLE_WORDS = {
    "lofi": ("lofi", "lo-fi", "lofi hip hop", "chill lofi", "lofi beat"),
    "house": ("house", "deep house", "house music"),
    "techno": ("techno", "driving techno", "hard techno"),
    "drum and bass": ("drum and bass", "dnb", "fast drum and bass"),
    "ambient": ("ambient", "calm ambient", "dreamy ambient", "ambient music"),
}
_LAYER_WORDS = {
    "drums": ("drums", "drum beat", "beat", "drum loop"),
    "bass": ("bass", "bass line"),
    "piano": ("piano", "piano chords", "keys"),
    "bells": ("bells", "bell melody", "melody"),
    "synth": ("synth", "synth arpeggio", "arpeggio", "plucks"),
    "pad": ("pad", "chords", "pads", "warm pad", "synth pad", "strings"),
}
# What a layer is taken for when no style is named.
_USUAL_STYLE = {
    "drums": "house",
    "bass": "house",
    "piano": "lofi",
    "bells": "ambient",
    "synth": "techno",
    "pad": "ambient",
}
_EFFECT_WORDS = {
    "rain": ("rain", "rain falling", "heavy rain", "rain sound effect"),
    "footsteps": ("footsteps", "footsteps on gravel", "walking"),
    "riser": ("riser", "noise riser", "riser sound effect", "sweep"),
}


def key_name(tonic: int, mode: str) -> str:
    return f"{PITCHES[tonic]} {mode}"


def caption(rng: np.random.Generator, song: Song) -> str:
    """One way to ask for `song`. Layers that it names are all that sound; a style alone is all of its layers."""

    def pick(words: tuple[str, ...]) -> str:
        return words[rng.integers(len(words)) if rng.random() < 0.6 else 0]

    if song.style == "effects":
        return pick(_EFFECT_WORDS[song.layers[0]])
    complete = len(song.layers) == len(STYLES[song.style].layers)
    pitched = song.layers != ("drums",)
    words = []
    name_layers = not complete or rng.random() < 0.5
    usual = song.style == _USUAL_STYLE[song.layers[0]]
    if not name_layers or not usual or rng.random() < 0.7:
        words.append(pick(_STYLE_WORDS[song.style]))
    if name_layers:
        layers = list(song.layers)
        rng.shuffle(layers)
        words.append((", ", " and ", " ", " with ")[rng.integers(4)].join(pick(_LAYER_WORDS[each]) for each in layers))
    text = (" ", " ", ", ")[rng.integers(3)].join(words)
    # A key that the style does not have by itself has to be asked for.
    if pitched and (not song.home or rng.random() < 0.4):
        text += (" in ", " in ", ", ", " ")[rng.integers(4)] + key_name(song.tonic, song.mode)
    if rng.random() < 0.06:
        text += f", {round(STYLES[song.style].beats_a_minute)} bpm"
    return text
