"""From what people type to requests: times, regions, and the options of a command line or of a list's line."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from sa3_edge.audio_source import AudioSource
from sa3_edge.errors import RequestError
from sa3_edge.requests import Continuation, GenerationRequest, Inpainting, Region, Variation

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
    return int(minutes or 0) * 60 + float(seconds)


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


_LINE_TYPES: dict[str, type | tuple[type, ...]] = {
    "seconds": (int, float),
    "seed": int,
    "steps": int,
    "headroom": (int, float),
    "cfg": (int, float),
    "apg": (int, float),
    "negative_prompt": str,
    "init_audio": str,
    "noise_level": (int, float),
    "schedule": str,
    "inpaint": list,
    "extend": (int, float),
    "prepend": (int, float),
    "splice": bool,
    "limiter": bool,
}


def line_options(data: dict[str, Any], defaults: RequestOptions, folder: Path) -> RequestOptions:
    """Options of one line of a list, over the command line's; files are relative to the list's folder.

    Raises RequestError for an unknown option or a value of another type.
    """
    for key, value in data.items():
        if key not in _LINE_TYPES:
            raise RequestError(f"unknown option {key!r}; choose {', '.join(['prompt', *_LINE_TYPES])}")
        expected = _LINE_TYPES[key]
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise RequestError(f"{key} cannot be {value!r}")
    if not all(isinstance(region, str) for region in data.get("inpaint", [])):
        raise RequestError(f'inpaint must be a list of regions like "4:8", got {data["inpaint"]!r}')
    if "init_audio" in data:
        data = {**data, "init_audio": folder / data["init_audio"]}
    return RequestOptions(**{**defaults.__dict__, **data})
