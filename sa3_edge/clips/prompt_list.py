"""`sa3-edge generate --prompts FILE`: a list of prompts, resumable.

The list is text, a prompt a line, or JSONL, an object a line with "prompt" and any of the command's options. Clips
and `results.jsonl` go to one folder; a line whose clip is there and was made by the same request is not made again.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sa3_edge.audio.encoding import FORMATS, Encoding
from sa3_edge.bundle import sha256_of
from sa3_edge.cli.display import Stages, err, json_text, stage_bars
from sa3_edge.cli.generate import STAGES, RunOptions, open_pipeline
from sa3_edge.clips import files as output
from sa3_edge.clips.options import RequestOptions, build_request, line_options, with_usual_seconds
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.files import check_writable
from sa3_edge.generation.pipeline import Pipeline

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class _Line:
    number: int
    prompt: str
    options: RequestOptions

    def file_name(self, suffix: str) -> str:
        return f"{self.number:04d}-{output.slug(self.prompt)}.{suffix}"

    def key(self, pipeline: Pipeline, encoding: Encoding) -> dict[str, Any]:
        """What makes this line's clip what it is."""
        source = self.options.init_audio
        options = {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.options).items()
        }
        return {
            "prompt": self.prompt,
            "bundle": pipeline.bundle.id,
            "engine": pipeline.graphs.engine.name,
            "bits": encoding.bits,
            "source_sha256": sha256_of(source) if source is not None and source.is_file() else None,
            **options,
        }


def read_list(path: Path, defaults: RequestOptions, usual_seconds: float | None) -> list[_Line]:
    """All lines, checked as far as that is possible without the model. Raises RequestError with the line's number."""
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
            parsed = _parse_line(number, line.strip(), path, defaults)
        except RequestError as error:
            raise RequestError(f"{path}, line {number}: {error}") from None
        lines.append(replace(parsed, options=with_usual_seconds(parsed.options, usual_seconds)))
    if not lines:
        raise RequestError(f"the list {path} has no prompts")
    return lines


def _parse_line(number: int, line: str, path: Path, defaults: RequestOptions) -> _Line:
    if path.suffix.lower() != ".jsonl":
        return _Line(number, line, defaults)
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"not JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("prompt"), str):
        raise RequestError('must be an object with a "prompt"')
    prompt = data.pop("prompt")
    options = line_options(data, defaults, path.parent)
    build_request(prompt, options)
    return _Line(number, prompt, options)


def _finished(folder: Path) -> dict[str, Any]:
    """By name of a clip that is there, the request that it was made by last.

    A line that a crash cut, or that something else wrote, counts nothing.
    """
    requests = {}
    if (folder / RESULTS).is_file():
        for line in (folder / RESULTS).read_bytes().splitlines():
            try:
                result = json.loads(line)
            except (ValueError, RecursionError):
                continue
            match result:
                case {"name": str(name), "request": request} if (folder / name).is_file():
                    requests[name] = request
    return requests


def run(
    path: Path,
    defaults: RequestOptions,
    usual_seconds: float | None,
    files: output.FileOptions,
    options: RunOptions,
) -> None:
    """Make what is not there yet. A line that fails is reported and the others are made; then exit 1.

    `usual_seconds` is for lines that make a clip from text and, like `defaults`, say no length.
    """
    for option, given in (
        ("--save-latents", files.latents is not None),
        ("--play", options.play),
        ("--verbose", options.verbose),
    ):
        if given:
            raise RequestError(f"{option} does not go with --prompts")
    lines = read_list(path, defaults, usual_seconds)
    folder = files.audio or Path(f"{path.stem}-clips")
    is_audio = folder.suffix.lower().removeprefix(".") in FORMATS
    if is_audio or os.path.isfile(folder) or folder == output.STDOUT:
        raise RequestError(f"with --prompts the output is a folder, got {folder}")
    encoding = files.encoding()
    pipeline = open_pipeline(options, keep_loaded=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / RESULTS)
        finished = _finished(folder)
    except OSError as error:
        raise RequestError(f"clips cannot be put into {folder}: {error.strerror or error}") from None
    with stage_bars(STAGES, quiet=options.json or options.quiet, clips=len(lines)) as bars:
        failed = _make_all(lines, replace(files, audio=folder), encoding, pipeline, options, finished, bars)
    if failed:
        raise Sa3Error(f"{failed} of {len(lines)} clips could not be made; their lines above say why")


def _make_all(
    lines: list[_Line],
    files: output.FileOptions,
    encoding: Encoding,
    pipeline: Pipeline,
    options: RunOptions,
    finished: Mapping[str, Any],
    bars: Stages,
) -> int:
    """Make what is not finished, in the folder `files.audio`; how many lines failed."""
    folder = files.audio
    assert folder is not None
    failed = 0
    for line in lines:
        name, key = line.file_name(encoding.format), line.key(pipeline, encoding)
        skipped = finished.get(name) == key
        if skipped:
            report: dict[str, object] = {"file": str(folder / name), "prompt": line.prompt, "skipped": True}
        else:
            try:
                report = _make(line, replace(files, audio=folder / name), pipeline, options, bars)
            except Sa3Error as error:
                failed += 1
                report = {"line": line.number, "prompt": line.prompt, "error": str(error)}
            else:
                _remember(folder, {"name": name, "request": key, "result": report})
        if options.json or not options.quiet:
            bars.result(json_text(report).removesuffix("\n"))
        elif "error" in report:
            err().print(f"line {line.number}: {report['error']}", markup=False, soft_wrap=True)
        bars.next_clip(skipped=skipped)
    return failed


def _make(
    line: _Line, files: output.FileOptions, pipeline: Pipeline, options: RunOptions, bars: Stages
) -> dict[str, object]:
    files.check(line.prompt, line.options)
    made = pipeline.generate(build_request(line.prompt, line.options), bars)
    return output.result(made, output.write(made, pipeline, line.prompt, line.options, options.model, files))


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
