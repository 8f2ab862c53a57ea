"""A list of prompts, checked whole and resumable.

The list is text, a prompt a line, or JSONL, an object a line with "prompt" and any of a clip's options. Clips and
`results.jsonl` go to one folder; a line whose clip is there and was made by the same request is not made again.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sa3_edge.audio.formats import FORMATS, Encoding
from sa3_edge.clips.files import encoding_of, slug
from sa3_edge.clips.options import ClipOptions, FileOptions, as_json
from sa3_edge.clips.record import read_record
from sa3_edge.clips.render import prepare
from sa3_edge.clips.report import json_text
from sa3_edge.clips.request import build_piece, line_options
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.files import check_writable, sha256_of
from sa3_edge.generation.pipeline import SILENT, Pipeline, Progress

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Line:
    """One line of a list, by its number in the file."""

    number: int
    options: ClipOptions

    def file_name(self, suffix: str) -> str:
        """A name of its own, whatever other lines say."""
        return f"{self.number:04d}-{slug(self.options.prompt)}.{suffix}"

    def key(self, pipeline: Pipeline, encoding: Encoding, source_sha256: str | None) -> dict[str, Any]:
        """The resume key: all that the clip depends on, by content and not by path."""
        options = as_json(self.options, recorded=True)
        del options["init_audio"]
        return {
            "bundle": pipeline.bundle.id,
            "engine": pipeline.engine,
            "bits": encoding.bits,
            "source_sha256": source_sha256,
            **options,
        }


@dataclass(frozen=True)
class LineResult:
    """What became of a line: its clip's report, also if it was there already (`skipped`), or the error."""

    line: Line
    report: dict[str, object]
    skipped: bool = False
    error: Sa3Error | None = None


def read_list(path: Path, defaults: ClipOptions, usual_seconds: float | None = None) -> list[Line]:
    """All lines, checked as far as that is possible without the model. Raises RequestError with the line's number.

    `usual_seconds` is for lines that make a clip from text and, like `defaults`, say no length.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"the list {path} cannot be read: {error}") from None
    lines = []
    # Not splitlines: what else Unicode calls the end of a line may stand in a prompt.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            options = _parse_line(line.strip(), path, defaults).with_usual_seconds(usual_seconds)
            build_piece(options)
        except RequestError as error:
            raise RequestError(f"{path}, line {number}: {error}") from None
        lines.append(Line(number, options))
    if not lines:
        raise RequestError(f"the list {path} has no prompts")
    return lines


def _parse_line(line: str, path: Path, defaults: ClipOptions) -> ClipOptions:
    if path.suffix.lower() != ".jsonl":
        return replace(defaults, prompt=line)
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"not JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("prompt"), str):
        raise RequestError('must be an object with a "prompt"')
    return line_options(data, defaults, path.parent)


def check_folder(folder: Path) -> None:
    """Raise RequestError for what cannot be a folder of clips; asked before the model is opened."""
    is_audio = folder.suffix.lower().removeprefix(".") in FORMATS
    if is_audio or os.path.isfile(folder) or folder == Path("-"):
        raise RequestError(f"with `prompts` the output is a folder, got {folder}")


def render_list(
    lines: list[Line], pipeline: Pipeline, folder: Path, files: FileOptions, progress: Progress = SILENT
) -> Iterator[LineResult]:
    """Make what is not there yet, line after line, and remember it in `results.jsonl`; a line that fails stops none.

    `files` says how clips are stored; its names are not used. `progress` as of Pipeline.generate. Raises RequestError
    if `folder` cannot be written, Sa3Error if `results.jsonl` cannot.
    """
    encoding = encoding_of(files)
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / RESULTS)
        finished = _finished(folder)
    except OSError as error:
        raise RequestError(f"clips cannot be put into {folder}: {error.strerror or error}") from None
    return (_make(line, pipeline, folder, files, encoding, finished, progress) for line in lines)


def _make(
    line: Line,
    pipeline: Pipeline,
    folder: Path,
    files: FileOptions,
    encoding: Encoding,
    finished: Mapping[str, Any],
    progress: Progress,
) -> LineResult:
    name = line.file_name(encoding.format)
    source = line.options.init_audio
    source_sha256 = sha256_of(source) if source is not None and source.is_file() else None
    if (folder / name).is_file() and name in finished and finished[name] == line.key(pipeline, encoding, source_sha256):
        report: dict[str, object] = {"file": str(folder / name), "prompt": line.options.prompt, "skipped": True}
        return LineResult(line, report, skipped=True)
    try:
        ours = name in finished or _has_record(folder / name)  # one of another request, which is made anew
        overwrite = files.overwrite or ours
        job = prepare(line.options, replace(files, output=folder / name, save_latents=None, overwrite=overwrite))
        (clip,) = job.run(pipeline, progress)
    except Sa3Error as error:
        return LineResult(line, {}, error=error)
    # By the recording as it was read, should it have changed since the look above.
    key = line.key(pipeline, encoding, clip.record.source_sha256)
    _remember(folder, {"name": name, "request": key, "result": clip.report})
    return LineResult(line, clip.report)


def _has_record(path: Path) -> bool:
    try:
        read_record(path)
    except RequestError:
        return False
    return True


def _finished(folder: Path) -> dict[str, Any]:
    """The last request that each clip here was made by, by file name.

    Unreadable lines are ignored: a crash cuts lines.
    """
    requests = {}
    if (folder / RESULTS).is_file():
        for line in (folder / RESULTS).read_bytes().splitlines():
            try:
                result = json.loads(line)
            except (ValueError, RecursionError):
                continue
            match result:
                case {"name": str(name), "request": request}:
                    requests[name] = request
    return requests


def _remember(folder: Path, result: dict[str, Any]) -> None:
    try:
        with (folder / RESULTS).open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a crash cut the last line
                    file.write(b"\n")
            file.write(json_text(result).encode())
    except OSError as error:
        raise Sa3Error(f"{folder / RESULTS} cannot be written: {error.strerror or error}") from error
