"""The clips of a folder, as far as a page shows them, and the stars that somebody gave them."""

import base64
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import soundfile

from sa3_edge.audio.formats import FORMATS, readable
from sa3_edge.audio.picture import picture_of
from sa3_edge.clips.options import ClipOptions, default_of, options_of
from sa3_edge.clips.record import Record, read_record
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.files import read_small

STARS = "stars.json"
_COLUMNS, _BANDS = 600, 64  # of a picture: what a wide screen shows of a card
_LARGEST_STARS = 4 << 20  # bytes


class Star(msgspec.Struct, frozen=True):
    """What somebody thinks of a clip."""

    star: bool = False
    note: str = ""


@dataclass(frozen=True)
class Take:
    """One clip. file: its name in the folder; peak: dBFS, None for silence; level: RMS of the whole, dBFS.

    lows, highs: (columns,) in -127..127; spectrogram: base64 of bands x columns bytes, the lowest band first.
    prompt, seed, model, command are of the clip's record and empty for a sound without one.
    """

    file: str
    seconds: float
    peak: float | None
    level: float | None
    prompt: str
    seed: int | None
    model: str
    command: str
    columns: int
    bands: int
    lows: list[int]
    highs: list[int]
    spectrogram: str


def takes_of(folder: Path) -> list[Take]:
    """Every sound in a folder, by name. Raises RequestError if there is none."""
    if not folder.is_dir():
        raise RequestError(f"there is no folder {folder}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower().removeprefix(".") in FORMATS)
    takes = [_take(path) for path in files if not path.name.startswith(".") and path.is_file()]
    if not takes:
        raise RequestError(f"there is no clip in {folder}")
    return takes


def read_stars(folder: Path) -> dict[str, Star]:
    """Stars and notes by file name. Raises RequestError for a file of another kind."""
    path = folder / STARS
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(read_small(path, _LARGEST_STARS), type=dict[str, Star])
    except (msgspec.MsgspecError, RecursionError, Sa3Error):
        raise RequestError(f"{path} holds no stars; move it away, or save it anew from the page") from None


def _take(path: Path) -> Take:
    seconds, picture = picture_of(path, _COLUMNS, _BANDS)
    peak, level = _levels(path)
    try:
        record: Record | None = read_record(path)
    except Sa3Error:
        record = None
    return Take(
        file=path.name,
        seconds=seconds,
        peak=peak,
        level=level,
        prompt=record.prompt if record else "",
        seed=record.options.get("seed") if record else None,
        model=record.model_name if record else "",
        command=command_of(record) if record else "",
        columns=len(picture.lows),
        bands=len(picture.spectrogram),
        lows=picture.lows.tolist(),
        highs=picture.highs.tolist(),
        spectrogram=base64.b64encode(picture.spectrogram.tobytes()).decode(),
    )


def _levels(path: Path) -> tuple[float | None, float | None]:
    """Sample peak and RMS, dBFS."""
    peak, power, count = 0.0, 0.0, 0
    with readable(path), soundfile.SoundFile(path) as file:
        for block in file.blocks(1 << 16, dtype="float32", always_2d=True):
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            power += float(np.square(block, dtype=np.float64).sum())
            count += block.size
    return _decibels(peak), _decibels(math.sqrt(power / count) if count else 0.0)


def _decibels(value: float) -> float | None:
    return round(20 * math.log10(value), 1) if value > 0 else None


def command_of(record: Record) -> str:
    """The command that makes such a clip, for a POSIX shell."""
    words = ["sa3-edge", "generate", record.prompt]
    for name, each in options_of(ClipOptions).items():
        value = record.options.get(name)
        if name != "prompt" and value is not None and value != default_of(each):
            words += _option(name, value)
    if record.model:
        words += ["--model", record.model]
    return shlex.join(words)


def _option(name: str, value: Any) -> list[str]:
    dashed = name.replace("_", "-")
    match value:
        case bool():
            return [f"--{dashed}" if value else f"--no-{dashed}"]
        case list():
            return [word for each in value for word in (f"--{dashed}", str(each))]
        case _:
            return [f"--{dashed}", str(value)]
