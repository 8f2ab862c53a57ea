"""From what people type to requests: times, regions, and the options of a command line or of a list's line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_type_hints

import msgspec

from sa3_edge.audio.recording import AudioSource
from sa3_edge.errors import RequestError
from sa3_edge.generation.request import Continuation, GenerationRequest, Inpainting, Region, Variation

_TIME = r"(?:\d+:)?\d+(?:\.\d*)?|\.\d+"  # seconds, or minutes:seconds
_DEFAULT_NOISE_LEVEL = 0.7


@dataclass(frozen=True)
class RequestOptions:
    """The options that shape a clip, as typed; None or empty is "not given"."""

    seconds: float | None = None
    seed: int | None = None
    steps: int | None = None
    headroom: float | None = None
    cfg: float | None = None
    apg: float = 1.0
    negative_prompt: str = ""
    init_audio: Path | None = None
    noise_level: float | None = None
    schedule: str | None = None
    inpaint: list[str] = field(default_factory=list)
    extend: float | None = None
    prepend: float | None = None
    splice: bool = True
    limiter: bool = True

    @property
    def mode(self) -> str:
        """What kind of clip these options make."""
        if self.inpaint:
            return "inpainting"
        if self.extend is not None or self.prepend is not None:
            return "continuation"
        return "text" if self.init_audio is None else "variation"


def parse_time(text: str) -> float:
    """Seconds from "90", "12.5" or "1:30". Raises RequestError."""
    if not re.fullmatch(_TIME, text):
        raise RequestError(f"{text!r} is no time; write seconds (12.5) or minutes:seconds (1:30)")
    minutes, _, seconds = text.rpartition(":")
    if minutes and float(seconds) >= 60:
        raise RequestError(f"{text!r} has more than 59 seconds after the minutes")
    return float(minutes or 0) * 60 + float(seconds)


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


def with_usual_seconds(options: RequestOptions, usual: float | None) -> RequestOptions:
    """The same with the length that the user has set as default. A clip from a recording takes the recording's."""
    if options.seconds is None and options.init_audio is None:
        return replace(options, seconds=usual)
    return options


def build_request(prompt: str, options: RequestOptions) -> GenerationRequest:
    """Raises RequestError for options that do not go together, and for a recording that cannot be read."""
    return GenerationRequest(
        prompt=prompt,
        seconds=options.seconds,
        seed=options.seed,
        steps=options.steps,
        headroom=options.headroom,
        edit=_edit(options),
        guidance=options.cfg,
        negative_prompt=options.negative_prompt,
        apg=options.apg,
        limiter=options.limiter,
    )


def _edit(options: RequestOptions) -> Variation | Inpainting | Continuation | None:
    continues = options.extend is not None or options.prepend is not None
    varies = options.noise_level is not None or options.schedule is not None
    wanted = [
        name
        for name, given in (
            ("--noise-level or --schedule", varies),
            ("--inpaint", bool(options.inpaint)),
            ("--extend or --prepend", continues),
        )
        if given
    ]
    if len(wanted) > 1:
        raise RequestError(f"{' and '.join(wanted)} do not go together; do one after the other")
    if options.init_audio is None:
        if wanted:
            raise RequestError(f"{wanted[0]} needs a recording: --init-audio FILE")
        if not options.splice:
            raise RequestError("--no-splice needs --inpaint, --extend or --prepend")
        return None
    if not options.splice and not (options.inpaint or continues):
        raise RequestError("--no-splice needs --inpaint, --extend or --prepend")

    source = AudioSource.from_file(options.init_audio)
    if options.inpaint:
        return Inpainting(source, tuple(map(parse_region, options.inpaint)), options.splice)
    if continues:
        return Continuation(source, options.extend or 0.0, options.prepend or 0.0, options.splice)
    if options.schedule not in (None, "monotonic", "reference"):
        raise RequestError(f"unknown schedule {options.schedule!r}; choose monotonic or reference")
    schedule = cast(Literal["monotonic", "reference"], options.schedule or "monotonic")
    level = _DEFAULT_NOISE_LEVEL if options.noise_level is None else options.noise_level
    return Variation(source, level, schedule)


def typed_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON has them, each as its type. Raises RequestError for an unknown one or another type."""
    types = get_type_hints(RequestOptions)
    typed = {}
    for key, value in data.items():
        if key not in types:
            raise RequestError(f"unknown option {key!r}; choose {', '.join(types)}")
        try:
            typed[key] = msgspec.convert(value, types[key], dec_hook=lambda kind, text: kind(text))
        except (msgspec.ValidationError, TypeError) as error:
            raise RequestError(f"{key} cannot be {value!r}: {error}") from None
    return typed


def line_options(data: Mapping[str, Any], defaults: RequestOptions, folder: Path) -> RequestOptions:
    """Options of one line of a list, over the command line's; files are relative to the list's folder.

    Raises RequestError as `typed_options` does.
    """
    typed = typed_options(data)
    if typed.get("init_audio") is not None:
        typed["init_audio"] = folder / typed["init_audio"]
    return replace(defaults, **typed)
