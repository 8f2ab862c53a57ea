"""What can be asked of a clip and of its files: one field an option; the rest is made from the fields.

The command line's options, a list's lines, the defaults, what `regenerate` changes, a clip's record, the server's
schema and the options page are made from the fields below. `sa3-edge --help` loads this: it imports nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from sa3_edge.field_types import check_fields

EDITING, GUIDANCE, OUTPUT = "Editing a recording", "Guidance", "Output"
COMPOSING, ENDINGS = "Loops and longer pieces", "Beginning and end"


@dataclass(frozen=True)
class About:
    """An option in words.

    short: its one-letter option, "-s"
    metavar: what stands for its value in the help, None to go by the type
    panel: the group that it is shown in, "" for the first
    may_be_default: whether the user's config file and SA3_EDGE_* variables may set it
    always_recorded: False for an option that came after the first clips: it is in a record only where it says
        something, so that an older sa3-edge, and apps, read all clips that they can make
    is_time: seconds, which people may also write as minutes:seconds
    flag: its option on the command line, where that is not its name
    in_lists: whether a line of a list may say it; all options of a clip may be there
    """

    help: str
    short: str | None = None
    metavar: str | None = None
    panel: str = ""
    may_be_default: bool = False
    always_recorded: bool = True
    is_time: bool = False
    in_lists: bool = False
    flag: str | None = None


def option(default: Any, help: str, **about: Any) -> Any:
    """A field of an options class; `about` as in About. A mutable default is given as its factory."""
    made: dict[str, Any] = {"default_factory": default} if callable(default) else {"default": default}
    return field(**made, metadata={"about": About(help, **about)})


@dataclass(frozen=True)
class ClipOptions:
    """What shapes a clip, as people write it; None or empty is "not given".

    As JSON, with the same names and `init_audio` as text, these are a line of a list and a request to the server.
    """

    prompt: str = option("", "What to hear; may be empty.")
    seconds: float | None = option(
        None,
        "Length, seconds or mm:ss; 30, or the recording's, by default. At most 1 h; more than a pass takes several.",
        short="-s",
        may_be_default=True,
        is_time=True,
    )
    seed: int | None = option(None, "The same seed gives the same music; random by default.")
    steps: int | None = option(None, "Denoising steps; the model's own by default.", may_be_default=True)
    headroom: float | None = option(
        None, "Seconds composed beyond the end and cut off; 6 by default.", may_be_default=True, is_time=True
    )
    cfg: float | None = option(
        None,
        "Classifier-free guidance; 1 is none. The model's own by default.",
        panel=GUIDANCE,
        may_be_default=True,
    )
    apg: float = option(
        1.0, "Adaptive projected guidance: 1 all, 0 plain guidance.", panel=GUIDANCE, may_be_default=True
    )
    negative_prompt: str = option("", "What guidance leads away from.", panel=GUIDANCE)
    init_audio: Path | None = option(
        None,
        "A recording to start from: wav, flac, ogg, mp3 and others, at any rate; - is standard input.",
        panel=EDITING,
        metavar="FILE",
    )
    init_from: float | None = option(
        None,
        "Begin with so many seconds, or mm:ss, of the recording: leave out what is before.",
        panel=EDITING,
        always_recorded=False,
        is_time=True,
        flag="--from",
    )
    noise_level: float | None = option(
        None, "Variation: how far from the recording, 0.01 to 1; 0.7 by default.", panel=EDITING
    )
    schedule: str | None = option(
        None, "Variation: steps down from the noise level, monotonic (default) or reference.", panel=EDITING
    )
    inpaint: list[str] = option(
        list, "Make START:END anew, seconds or mm:ss; 4:8, 4:, :8, 1:30:1:45. Repeatable.", panel=EDITING
    )
    extend: float | None = option(
        None, "Go on for so many seconds, or mm:ss, after the recording.", panel=EDITING, is_time=True
    )
    prepend: float | None = option(
        None, "Begin so many seconds, or mm:ss, before the recording.", panel=EDITING, is_time=True
    )
    splice: bool = option(True, "Put the recording's own samples back where it is kept.", panel=EDITING)
    loop: bool = option(
        False, "Make the end lead into the beginning, without a seam.", panel=COMPOSING, always_recorded=False
    )
    bpm: float | None = option(
        None,
        "Tempo: said in the prompt unless it names one, and in the file's tags.",
        panel=COMPOSING,
        always_recorded=False,
    )
    bars: int | None = option(
        None, "Length in bars at --bpm, exact to the sample.", panel=COMPOSING, always_recorded=False
    )
    beats: int | None = option(None, "Beats in a bar; 4 by default.", panel=COMPOSING, always_recorded=False)
    bpm_prompt: bool = option(True, "Say the tempo in the prompt.", panel=COMPOSING, always_recorded=False)
    sections: str | None = option(
        None,
        "Parts in order, NAME:SECONDS,...; or a .toml or .json file of them. Each 2 s or more, an hour in all.",
        panel=COMPOSING,
        always_recorded=False,
    )
    section_prompt: list[str] = option(
        list,
        "The prompt of a part, NAME=PROMPT; PROMPT for parts without. Repeatable.",
        panel=COMPOSING,
        always_recorded=False,
    )
    min_compose: float | None = option(
        None,
        "Compose at least so many seconds and cut off the rest: models may sound bright below 24.",
        panel=ENDINGS,
        may_be_default=True,
        always_recorded=False,
        is_time=True,
    )
    trim_silence: bool = option(
        False, "Cut off silence (below -60 dBFS) at both ends.", panel=ENDINGS, always_recorded=False
    )
    fade_in: float | None = option(
        None, "Fade in, in so many seconds.", panel=ENDINGS, always_recorded=False, is_time=True
    )
    fade_out: float | None = option(
        None, "Fade out, in so many seconds.", panel=ENDINGS, always_recorded=False, is_time=True
    )
    normalize: float | None = option(
        None,
        "Bring to so many LUFS, as -14 (extra: measure).",
        panel=ENDINGS,
        may_be_default=True,
        always_recorded=False,
    )
    peak: float | None = option(
        None, "The highest true peak after normalizing, dBTP; -1 by default.", panel=ENDINGS, always_recorded=False
    )
    lora: list[str] = option(
        list,
        "Merge a LoRA or DoRA adapter (safetensors, or a name of lora add), 1 as strong as trained. Repeatable.",
        metavar="FILE[:STRENGTH]",
        panel=GUIDANCE,
        always_recorded=False,
    )
    limiter: bool = option(True, "Turn peaks down, not clip them.", panel=OUTPUT, may_be_default=True)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def mode(self) -> str:
        """What kind of clip these options make."""
        if self.loop:
            return "loop"
        if self.sections is not None:
            return "sections"
        if self.inpaint:
            return "inpainting"
        if self.extend is not None or self.prepend is not None:
            return "continuation"
        return "text" if self.init_audio is None else "variation"

    def with_usual_seconds(self, usual: float | None) -> "ClipOptions":
        """The same with the length that the user has set as default, where nothing else says one."""
        if all(given is None for given in (self.seconds, self.init_audio, self.bars, self.sections)):
            return replace(self, seconds=usual)
        return self


@dataclass(frozen=True)
class FileOptions:
    """The files to write. Without `output` the clip is named after its prompt and seed.

    A usual format or depth is for where neither options nor the file's name say one, and only if they go together.
    """

    output: Path | None = option(
        None,
        "The file to write; - is standard output; named after the prompt by default.",
        short="-o",
        panel=OUTPUT,
        in_lists=True,
    )
    save_latents: Path | None = option(None, "Also write the latents, (1, C, T) float32 .npy.", panel=OUTPUT)
    format: str | None = option(
        None,
        "wav, flac, ogg, opus or mp3; by the output's name, else wav.",
        panel=OUTPUT,
        may_be_default=True,
        in_lists=True,
    )
    bits: str | None = option(
        None, "16, 24 (default) or float (wav only).", panel=OUTPUT, may_be_default=True, in_lists=True
    )
    rate: int | None = option(
        None,
        "Sample rate of the file, 8000 to 192000 Hz, as 48000; the model's own by default.",
        panel=OUTPUT,
        may_be_default=True,
        in_lists=True,
    )
    mono: bool = option(False, "One channel: the mean of all.", panel=OUTPUT, may_be_default=True, in_lists=True)
    name: str | None = option(
        None,
        "The file's name by a template, {slug}_{bpm}bpm_{seed}; also {seconds}, {bars}, {mode}. Then --output is its "
        "folder.",
        panel=OUTPUT,
        metavar="TEMPLATE",
    )
    sidecar: bool = option(False, "Also write FILE.json: request, model, timings.", panel=OUTPUT)
    overwrite: bool = option(False, "Replace files that are there.", panel=OUTPUT)
    tags: str = option(
        "full",
        "What the file says of itself: full (the request, to make it again; that a machine made it), minimal (that a "
        "machine made it) or none.",
        panel=OUTPUT,
        may_be_default=True,
    )
    usual_format: str | None = None
    usual_bits: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def options_of(kind: type) -> dict[str, Field[Any]]:
    """The fields of an options class that are options, by name."""
    return {each.name: each for each in fields(kind) if "about" in each.metadata}


def about(each: Field[Any]) -> About:
    """An option in words."""
    found: About = each.metadata["about"]
    return found


def default_of(each: Field[Any]) -> Any:
    """The value of an option that is not given."""
    return each.default if each.default_factory is MISSING else each.default_factory()


def type_of(kind: type, name: str) -> Any:
    """The type of an option, such as `float | None`."""
    return get_type_hints(kind)[name]


def plain_type(kind: type, name: str) -> type:
    """The same without "or not given": float of `float | None`."""
    hint = type_of(kind, name)
    parts: list[type] = [part for part in getattr(hint, "__args__", (hint,)) if part is not type(None)]
    return parts[0]


def as_json(options: Any, *, recorded: bool = False) -> dict[str, Any]:
    """An options object by name, with paths as text; `recorded` leaves out what a record does not need to say."""
    values = {}
    for name, each in options_of(type(options)).items():
        value = getattr(options, name)
        if not recorded or about(each).always_recorded or value != default_of(each):
            values[name] = value.as_posix() if isinstance(value, Path) else value
    return values


_JSON_TYPES = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema(kind: type) -> dict[str, Any]:
    """JSON Schema (2020-12) of an options class."""
    properties: dict[str, Any] = {}
    for name, each in options_of(kind).items():
        properties[name] = {"description": about(each).help, **_json_type(type_of(kind, name))}
        if about(each).is_time:
            properties[name]["type"] = ["number", "string", "null"]
        default = default_of(each)
        if default is not None:
            properties[name]["default"] = default
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _json_type(hint: Any) -> Mapping[str, Any]:
    inner = [part for part in getattr(hint, "__args__", ()) if part is not type(None)]
    if getattr(hint, "__origin__", None) is list:
        return {"type": "array", "items": {"type": _JSON_TYPES[inner[0]]}}
    if inner:
        return {"type": [_JSON_TYPES[inner[0]], "null"]}
    return {"type": _JSON_TYPES[hint]}
