"""`sa3-edge history`: the clips that were made in a folder, by what they say of themselves.

Nothing is kept elsewhere: a clip that was moved here is found here, one that was deleted is forgotten.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sa3_edge.audio.formats import FORMATS
from sa3_edge.cli.display import print_json, print_line
from sa3_edge.clips.record import Record, read_record
from sa3_edge.errors import RequestError

_SUFFIXES = {f".{name}" for name in FORMATS}


@dataclass(frozen=True)
class Made:
    """A clip that is there, when its file was written (seconds since 1970), and its record."""

    path: Path
    written: float
    record: Record


def find(folder: Path, words: list[str]) -> list[Made]:
    """The clips in a folder and below it whose prompt, name or model has all the words; the newest first."""
    if not folder.is_dir():
        raise RequestError(f"{folder} is no folder")
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in names if Path(name).suffix.lower() in _SUFFIXES):
            try:
                record, written = read_record(path), path.stat().st_mtime
            except (RequestError, OSError):  # a recording, or a clip that says nothing or is gone
                continue
            text = f"{record.prompt} {path.name} {record.model_name}".lower()
            if all(word.lower() in text for word in words):
                found.append(Made(path, written, record))
    return sorted(found, key=lambda made: (-made.written, made.path))


def show(folder: Path, words: list[str], limit: int, opened: int | None, json: bool) -> None:
    """List the newest `limit` clips, or open one in the system's player. Raises RequestError for no such clip."""
    if limit < 1:
        raise RequestError(f"--limit must be 1 or more, got {limit}")
    found = find(folder, words)
    if opened is not None:
        if not 1 <= opened <= len(found):
            raise RequestError(f"--open must be from 1 to {len(found)}, got {opened}" if found else "no clip is here")
        _open(found[opened - 1].path)
        return
    if json:
        print_json({"clips": [_as_json(made) for made in found[:limit]], "found": len(found)})
        return
    for place, made in enumerate(found[:limit], start=1):
        date = datetime.fromtimestamp(made.written).strftime("%Y-%m-%d %H:%M")
        print_line(f"{place:3}  {date}  {made.path}  seed {made.record.options.get('seed')}  {made.record.prompt}")
    more = len(found) - limit
    if more > 0:
        print_line(f"and {more} more; --limit {len(found)} shows all")
    if not found:
        print_line(f"no clip with {' and '.join(words)} is in {folder}" if words else f"no clip is in {folder}")


def _as_json(made: Made) -> dict[str, object]:
    return {
        "file": str(made.path),
        "written": datetime.fromtimestamp(made.written).astimezone().isoformat(timespec="seconds"),
        "prompt": made.record.prompt,
        "mode": made.record.mode,
        "model": made.record.model_name,
        "options": made.record.options,
    }


def _open(path: Path) -> None:
    import typer

    if typer.launch(str(path)):
        raise RequestError(f"nothing here opens {path}")
