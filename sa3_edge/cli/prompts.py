"""`sa3-edge prompts`: prompts to begin with.

They name kind, instruments, mood and tempo for music; what sounds, where and how near for effects. What the published
models make of each was not judged.
"""

from sa3_edge.cli.display import print_json, print_line
from sa3_edge.errors import RequestError

_MUSIC, _SOUNDS = "small-music", "small-sfx"
# Model, kind, prompts.
PROMPTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        _MUSIC,
        "lofi and hip hop",
        (
            "lofi hip hop, dusty electric piano, vinyl crackle, mellow, 82 BPM",
            "boom bap beat, upright bass, jazzy horn stabs, 92 BPM",
            "trap beat, deep 808 bass, sparse bells, dark, 140 BPM",
        ),
    ),
    (
        _MUSIC,
        "electronic",
        (
            "deep house, warm pads, four on the floor, late night, 122 BPM",
            "minimal techno, driving kick, metallic percussion, hypnotic, 130 BPM",
            "drum and bass, fast breakbeat, rolling reese bass, 174 BPM",
            "synthwave, analog arpeggio, gated drums, neon, 100 BPM",
            "chiptune, square wave lead, fast arpeggios, cheerful, 150 BPM",
        ),
    ),
    (
        _MUSIC,
        "ambient and film",
        (
            "ambient drone, slowly evolving pads, distant choir, calm",
            "cinematic strings, slow build, heroic brass, epic drums",
            "solo piano, slow, intimate, felt hammers, melancholic",
            "dark tension, low strings, ticking percussion, suspense",
        ),
    ),
    (
        _MUSIC,
        "band and acoustic",
        (
            "funk groove, slap bass, clean guitar, tight drums, 108 BPM",
            "bossa nova, nylon guitar, soft percussion, 75 BPM",
            "indie rock, jangly guitars, live drums, upbeat, 128 BPM",
            "folk, fingerpicked acoustic guitar, warm, 96 BPM",
            "{swing|bebop|modal} jazz trio, piano, double bass, brushed drums",
        ),
    ),
    (
        _SOUNDS,
        "nature",
        (
            "heavy rain on a {tin roof|tent|window}, distant thunder",
            "waves on a pebble beach, close, seagulls far away",
            "forest at dawn, many birds, a light wind",
            "campfire crackling, night, crickets",
        ),
    ),
    (
        _SOUNDS,
        "foley",
        (
            "footsteps on {gravel|snow|wooden stairs}, steady, close",
            "an old wooden door creaks open, then slams",
            "glass breaks on a stone floor, large room",
            "paper is torn slowly, close microphone",
        ),
    ),
    (
        _SOUNDS,
        "machines and places",
        (
            "a steam train passes, whistle, wheels on rails",
            "busy cafe, cups, low voices, an espresso machine",
            "an old car starts after a few tries, then idles",
            "a server room, fans, a steady hum",
        ),
    ),
    (
        _SOUNDS,
        "games and interfaces",
        (
            "a short bright notification, two notes, glassy",
            "a coin is collected, retro video game",
            "a magic spell is cast, rising shimmer, then an impact",
            "a laser is fired, science fiction, short",
        ),
    ),
)


def show(words: list[str], json: bool) -> None:
    """Print those that have all the words, by kind. Raises RequestError if none has."""
    found = [
        (model, kind, [prompt for prompt in prompts if _has(f"{model} {kind} {prompt}", words)])
        for model, kind, prompts in PROMPTS
    ]
    found = [each for each in found if each[2]]
    if not found:
        raise RequestError(f"no prompt here has {' and '.join(words)}; sa3-edge prompts shows all")
    if json:
        print_json({"prompts": [{"model": model, "kind": kind, "prompts": each} for model, kind, each in found]})
        return
    for model, kind, prompts in found:
        print_line(f"{kind}  (--model {model})")
        for prompt in prompts:
            print_line(f"  {prompt}")
    print_line(
        "\nMusic: kind, instruments, mood, tempo. Effects: what sounds, where, how near. {a|b} draws one by the seed."
    )


def _has(text: str, words: list[str]) -> bool:
    return all(word.lower() in text.lower() for word in words)
