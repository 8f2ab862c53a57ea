"""From what people write to pieces: times, regions, recordings, and options as JSON.

Messages name options in backquotes, with the value where that says more (`splice: false`): a program knows them by
these names, and the command line writes its own.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_type_hints

import msgspec

from sa3_edge.adapters.lora import AdapterFile
from sa3_edge.audio.recording import AudioSource
from sa3_edge.clips.options import ClipOptions, about, default_of, options_of
from sa3_edge.clips.times import parse_time
from sa3_edge.compose.endings import Endings
from sa3_edge.compose.long_form import Section
from sa3_edge.compose.piece import Piece
from sa3_edge.compose.tempo import BEATS, Bars, check_tempo, with_tempo
from sa3_edge.errors import RequestError
from sa3_edge.generation.request import (
    DEFAULT_NOISE_LEVEL,
    Continuation,
    GenerationRequest,
    Inpainting,
    Region,
    Variation,
)

_MOST_BARS = 10_000
# None of the one goes with any of the other.
_APART = (
    (("bars",), ("seconds", "extend", "prepend")),
    (("sections",), ("seconds", "bars", "loop", "init_audio", "inpaint", "extend", "prepend")),
    (("loop",), ("inpaint", "extend", "prepend", "fade_in", "fade_out", "trim_silence")),
)
_NEED = {
    "bars": "bpm",
    "beats": "bars",
    "bpm_prompt": "bpm",
    "peak": "normalize",
    "section_prompt": "sections",
    "init_from": "init_audio",
}


def parse_region(text: str) -> Region:
    """A region from "4:8", "4:", ":8", "1:30:1:45" or, where that could be read in two ways, "50-1:10".

    Raises RequestError.
    """
    parts = text.split("-" if "-" in text else ":")
    if "-" not in text and len(parts) == 4:
        parts = [":".join(parts[:2]), ":".join(parts[2:])]  # 1:30:1:45
    elif "-" not in text and len(parts) == 3 and "" in (parts[0], parts[2]):
        parts = [":".join(parts[:2]), ""] if parts[2] == "" else ["", ":".join(parts[1:])]  # 1:30: or :1:30
    if len(parts) != 2 or parts == ["", ""]:
        raise RequestError(f"{text!r} is no region; write START:END in seconds (4:8, 4:, :8) or with a dash (50-1:10)")
    start, end = (parse_time(part) if part else None for part in parts)
    return Region(start, end)


def build_piece(options: ClipOptions) -> Piece:
    """Raises RequestError for options that do not go together, and for a recording that cannot be read."""
    _check_together(options)
    bars = None
    if options.bars is not None and options.bpm is not None:
        bars = Bars(options.bars, BEATS if options.beats is None else options.beats, options.bpm)
    endings = Endings(
        fade_in=options.fade_in or 0.0,
        fade_out=options.fade_out or 0.0,
        trim_silence=options.trim_silence,
        normalize=options.normalize,
        peak=options.peak,
    )
    return Piece(build_request(options), bars, options.loop, _sections(options), endings)


def build_request(options: ClipOptions) -> GenerationRequest:
    """A pass of the piece. Raises RequestError as `build_piece`, of what is in it."""
    return GenerationRequest(
        prompt=with_tempo(options.prompt, options.bpm) if options.bpm_prompt else options.prompt,
        seconds=options.seconds,
        seed=options.seed,
        steps=options.steps,
        headroom=options.headroom,
        edit=_edit(options),
        cfg=options.cfg,
        negative_prompt=options.negative_prompt,
        apg=options.apg,
        limiter=options.limiter,
        min_compose=options.min_compose or 0.0,
        adapters=tuple(map(AdapterFile.parse, options.lora)),
    )


def _sections(options: ClipOptions) -> tuple[Section, ...]:
    if options.sections is None:
        return ()
    prompts: dict[str, str] = {}
    for text in options.section_prompt:
        name, equals, prompt = text.partition("=")
        if not equals:
            raise RequestError(f"{text!r} is no section's prompt; write NAME=PROMPT")
        if name.strip() in prompts:
            raise RequestError(f"section {name.strip()!r} has two prompts")
        prompts[name.strip()] = prompt.strip()
    parts: list[tuple[str, float]] = []
    for text in options.sections.split(","):
        name, colon, length = text.strip().partition(":")
        if not colon or not name.strip():
            raise RequestError(f"{text.strip()!r} is no section; write NAME:SECONDS, as in intro:20,verse:40")
        parts.append((name.strip(), parse_time(length.strip())))
    unknown = prompts.keys() - {name for name, _ in parts}
    if unknown:
        raise RequestError(f"there is no section {min(unknown)!r}; the sections are {', '.join(dict(parts))}")
    tempo = options.bpm if options.bpm_prompt else None
    return tuple(
        Section(name, seconds, with_tempo(prompts.get(name, options.prompt), tempo)) for name, seconds in parts
    )


def read_sections(path: Path) -> dict[str, Any]:
    """The options `sections` and `section_prompt` of a TOML or JSON file.

    TOML: tables [[section]] with name, seconds and, if it has its own, prompt; JSON: a list of such objects, or an
    object with it as "section". Raises RequestError.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
        parts = msgspec.convert(data["section"] if isinstance(data, dict) else data, list[_Part])
    except KeyError:
        raise RequestError(f"{path} has no sections; write tables [[section]] with name and seconds") from None
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise RequestError(f"the sections in {path} cannot be read: {error}") from None
    prompts: dict[str, str] = {}
    for part in parts:
        if re.search(r"[:=,]", part.name) or not part.name.strip():
            raise RequestError(f"{path}: a section's name has letters and spaces, not {part.name!r}")
        if part.prompt is not None and prompts.setdefault(part.name, part.prompt) != part.prompt:
            raise RequestError(f"{path}: two sections {part.name!r} have other prompts; name them differently")
    return {
        "sections": ",".join(f"{part.name}:{part.seconds:.10g}" for part in parts),
        "section_prompt": [f"{name}={prompt}" for name, prompt in prompts.items()],
    }


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    seconds: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    prompt: str | None = None


def with_sections_read(options: ClipOptions, folder: Path = Path()) -> ClipOptions:
    """The same with the sections of a file, if it names one, relative to `folder`. Raises RequestError."""
    if options.sections is None or Path(options.sections).suffix.lower() not in (".toml", ".json"):
        return options
    if options.section_prompt:
        raise RequestError("`section_prompt` does not go with a file of sections, which has prompts itself")
    return replace(options, **read_sections(folder / options.sections))


def _check_together(options: ClipOptions) -> None:
    """Raise RequestError for options that exclude each other, or that need another one."""
    given = [name for name, each in options_of(ClipOptions).items() if getattr(options, name) != default_of(each)]
    for names, others in _APART:
        one, other = next(filter(given.__contains__, names), None), next(filter(given.__contains__, others), None)
        if one is not None and other is not None:
            raise RequestError(f"`{one}` and `{other}` do not go together")
    for name, needed in _NEED.items():
        if name in given and needed not in given:
            said = f"`{name}: false`" if name == "bpm_prompt" else f"`{name}`"
            raise RequestError(f"{said} needs `{needed}`")
    if options.loop and options.bpm is not None and options.bars is None:
        raise RequestError("a loop at a tempo is as long as its bars; say how many: `bars`")
    for name in ("bars", "beats"):
        count = getattr(options, name)
        if count is not None and not 1 <= count <= _MOST_BARS:
            raise RequestError(f"{name} must be from 1 to {_MOST_BARS}, got {count}")
    if options.bpm is not None:
        check_tempo(options.bpm)


def _edit(options: ClipOptions) -> Variation | Inpainting | Continuation | None:
    continues = options.extend is not None or options.prepend is not None
    varies = options.noise_level is not None or options.schedule is not None
    wanted = [
        name
        for name, given in (
            ("`noise_level` or `schedule`", varies),
            ("`inpaint`", bool(options.inpaint)),
            ("`extend` or `prepend`", continues),
        )
        if given
    ]
    if len(wanted) > 1:
        raise RequestError(f"{' and '.join(wanted)} do not go together; do one after the other")
    if options.init_audio is None:
        if wanted:
            raise RequestError(f"{wanted[0]} needs a recording: `init_audio`")
        if not options.splice:
            raise RequestError("`splice: false` needs `inpaint`, `extend` or `prepend`")
        return None
    if not options.splice and not (options.inpaint or continues):
        raise RequestError("`splice: false` needs `inpaint`, `extend` or `prepend`")

    source = AudioSource.from_file(options.init_audio, options.init_from or 0.0)
    if options.inpaint:
        return Inpainting(source, tuple(map(parse_region, options.inpaint)), options.splice)
    if continues:
        return Continuation(source, options.extend or 0.0, options.prepend or 0.0, options.splice)
    if options.schedule not in (None, "monotonic", "reference"):
        raise RequestError(f"unknown schedule {options.schedule!r}; choose monotonic or reference")
    schedule = cast(Literal["monotonic", "reference"], options.schedule or "monotonic")
    level = DEFAULT_NOISE_LEVEL if options.noise_level is None else options.noise_level
    return Variation(source, level, schedule)


def typed_options(data: Mapping[str, Any], kind: type = ClipOptions, *, strict: bool = True) -> dict[str, Any]:
    """Options as JSON has them, each as its type; not `strict`, numbers and true or false may be text, as in a table.

    Raises RequestError for an unknown one or another type.
    """
    known, types = options_of(kind), get_type_hints(kind)
    typed = {}
    for key, value in data.items():
        if key not in known:
            raise RequestError(f"unknown option {key!r}; choose {', '.join(known)}")
        if isinstance(value, str) and about(known[key]).is_time:
            try:
                typed[key] = parse_time(value)
            except RequestError as error:
                raise RequestError(f"{key} cannot be {value!r}: {error}") from None
            continue
        try:
            typed[key] = msgspec.convert(value, types[key], strict=strict, dec_hook=lambda kind, text: kind(text))
        except (msgspec.ValidationError, TypeError, ValueError) as error:  # ValueError: half a surrogate pair
            raise RequestError(f"{key} cannot be {value!r:.200}: {error}") from None
    return typed


def line_options(data: Mapping[str, Any], defaults: ClipOptions, folder: Path, *, strict: bool = True) -> ClipOptions:
    """Options of one line of a list, over the command line's; files are relative to the list's folder.

    Raises RequestError as `typed_options` does.
    """
    typed = typed_options(data, strict=strict)
    if typed.get("init_audio") is not None:
        typed["init_audio"] = folder / typed["init_audio"]
    if "lora" in typed:
        typed["lora"] = [str(folder / text) for text in typed["lora"]]
    return with_sections_read(replace(defaults, **typed), folder)
