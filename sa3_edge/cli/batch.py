"""`sa3-edge generate --prompts FILE`: a list of prompts, resumable.

The list is text, a prompt a line, or JSONL, an object a line with "prompt" and any of the command's options. Clips
and `results.jsonl` go to one folder; a line whose clip is there and was made by the same request is not made again.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sa3_edge.audio_file import Encoding, encoding_for
from sa3_edge.cli import output
from sa3_edge.cli.display import json_text, print_json, stage_bars
from sa3_edge.cli.generate import STAGES, RunOptions, open_pipeline
from sa3_edge.cli.requests import RequestOptions, build_request, line_options
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.pipeline import Pipeline

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class _Line:
    number: int
    prompt: str
    options: RequestOptions

    def file_name(self, suffix: str) -> str:
        return f"{self.number:04d}-{output.slug(self.prompt)}.{suffix}"

    def key(self, bundle_id: str, encoding: Encoding) -> dict[str, Any]:
        """What makes this line's clip what it is."""
        options = {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.options).items()
        }
        return {"prompt": self.prompt, "bundle": bundle_id, "bits": encoding.bits, **options}


def read_list(path: Path, defaults: RequestOptions) -> list[_Line]:
    """All lines, checked as far as that is possible without the model. Raises RequestError with the line's number."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"the list {path} cannot be read: {error}") from None
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            lines.append(_parse_line(number, line.strip(), path, defaults))
        except RequestError as error:
            raise RequestError(f"{path}, line {number}: {error}") from None
    if not lines:
        raise RequestError(f"the list {path} has no prompts")
    return lines


def _parse_line(number: int, line: str, path: Path, defaults: RequestOptions) -> _Line:
    if path.suffix.lower() != ".jsonl":
        return _Line(number, line, defaults)
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise RequestError(f"not JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("prompt"), str):
        raise RequestError('must be an object with a "prompt"')
    prompt = data.pop("prompt")
    options = line_options(data, defaults, path.parent)
    build_request(prompt, options)
    return _Line(number, prompt, options)


def _finished(folder: Path) -> list[dict[str, Any]]:
    """Results of earlier runs; a line that a crash cut short counts nothing."""
    results = []
    if (folder / RESULTS).is_file():
        for line in (folder / RESULTS).read_text(encoding="utf-8").splitlines():
            try:
                results.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return results


def run(path: Path, defaults: RequestOptions, files: output.FileOptions, options: RunOptions) -> None:
    """Make what is not there yet. A line that fails is reported and the others are made; then exit 1."""
    if files.latents is not None:
        raise RequestError("--save-latents does not go with --prompts")
    lines = read_list(path, defaults)
    folder = files.audio or Path(f"{path.stem}-clips")
    if folder.suffix or folder.is_file() or folder == output.STDOUT:
        raise RequestError(f"with --prompts the output is a folder, got {folder}")
    encoding = encoding_for(files.format or "wav", files.bits)
    pipeline = open_pipeline(options, keep_loaded=True)
    folder.mkdir(parents=True, exist_ok=True)
    finished = [result["request"] for result in _finished(folder) if (folder / result["name"]).is_file()]
    failed = 0
    for line in lines:
        name, key = line.file_name(encoding.format), line.key(pipeline.bundle.id, encoding)
        if key in finished:
            report: dict[str, object] = {"file": str(folder / name), "prompt": line.prompt, "skipped": True}
        else:
            try:
                report = _make(line, replace(files, audio=folder / name), pipeline, options)
            except Sa3Error as error:
                failed += 1
                report = {"line": line.number, "prompt": line.prompt, "error": str(error)}
            else:
                _remember(folder, {"name": name, "request": key, "result": report})
        print_json(report)
    if failed:
        raise Sa3Error(f"{failed} of {len(lines)} clips could not be made; their lines above say why")


def _make(line: _Line, files: output.FileOptions, pipeline: Pipeline, options: RunOptions) -> dict[str, object]:
    with stage_bars(STAGES, quiet=options.json or options.quiet) as progress:
        made = pipeline.generate(build_request(line.prompt, line.options), progress)
    return output.result(made, output.write(made, pipeline, line.prompt, line.options, options.model, files))


def _remember(folder: Path, result: dict[str, Any]) -> None:
    with (folder / RESULTS).open("a", encoding="utf-8") as file:
        file.write(json_text(result))
