"""A list of prompts made into a folder of clips, resumable.

Beside the clips, `results.jsonl` keeps the request of each. A clip that is there and was made by the request of a line
is that line's, wherever in the list the line stands now: only what is new or was changed is made.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from sa3_edge.adapters.lora import AdapterFile
from sa3_edge.audio.formats import FORMATS
from sa3_edge.clips.files import encoding_of
from sa3_edge.clips.fleet import Fleet
from sa3_edge.clips.list_file import Line
from sa3_edge.clips.options import as_json
from sa3_edge.clips.record import read_record
from sa3_edge.clips.render import Clip, Job, prepare
from sa3_edge.clips.report import json_text
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.files import check_writable, sha256_of
from sa3_edge.generation.pipeline import SILENT, Pipeline, Progress

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class LineResult:
    """What became of a line: its clip and the clip's report, that it was there already (`skipped`), or the error."""

    line: Line
    report: dict[str, object]
    clip: Clip | None = None
    skipped: bool = False
    error: Sa3Error | None = None


@dataclass(frozen=True)
class _Planned:
    line: Line
    name: str
    is_there: bool


@dataclass(frozen=True)
class ListJob:
    """A list and its folder: which clips are there, and what the others are to be called.

    stale: clips of earlier lists that no line asks for any more, and that none of those to be made replaces
    """

    pipeline: Pipeline
    folder: Path
    planned: tuple[_Planned, ...]
    ours: frozenset[str]  # clips that the list's own requests made, which may be replaced
    stale: tuple[str, ...]

    def run(self, progress: Progress = SILENT, fleet: Fleet | None = None) -> Iterator[LineResult]:
        """Make what is not there yet and remember it; a line that fails stops none.

        Here line after line, and `progress` is as of Pipeline.generate; with a fleet as many at once as it has workers,
        and each as it comes. Raises Sa3Error if `results.jsonl` cannot be written.
        """
        return self._run_here(progress) if fleet is None else self._run_on(fleet)

    def _run_here(self, progress: Progress) -> Iterator[LineResult]:
        for planned in self.planned:
            begun = self._begin(planned)
            if isinstance(begun, LineResult):
                yield begun
                continue
            clips = begun.run(self.pipeline, progress)
            yield self._end(planned, partial(next, clips))

    def _run_on(self, fleet: Fleet) -> Iterator[LineResult]:
        orders, ordered = [], []
        for planned in self.planned:
            begun = self._begin(planned)
            if isinstance(begun, LineResult):
                yield begun
                continue
            orders.append((begun.options, begun.files[0]))
            ordered.append(planned)
        for place, made in fleet.make(orders):
            if isinstance(made, Sa3Error):
                yield LineResult(ordered[place].line, {}, error=made)
            else:
                yield self._end(ordered[place], made.write)

    def _begin(self, planned: _Planned) -> Job | LineResult:
        """What is to be made; a result where nothing is, or cannot be."""
        if planned.is_there:
            file, prompt = str(self.folder / planned.name), planned.line.options.prompt
            return LineResult(planned.line, {"file": file, "prompt": prompt, "skipped": True}, skipped=True)
        try:
            return self._prepared(planned)
        except Sa3Error as error:
            return LineResult(planned.line, {}, error=error)

    def _end(self, planned: _Planned, make: Callable[[], Clip]) -> LineResult:
        """Make and remember a clip."""
        try:
            clip = make()
        except Sa3Error as error:
            return LineResult(planned.line, {}, error=error)
        # By the recording as it was read, should it have changed since the plan.
        request = _request(planned.line, self.pipeline, clip.record.source_sha256)
        _remember(self.folder, {"name": planned.name, "request": request, "result": clip.report})
        return LineResult(planned.line, clip.report, clip)

    def _prepared(self, planned: _Planned) -> Job:
        line, path = planned.line, self.folder / planned.name
        _make_folder(path.parent)
        # Under the name of a line a clip with a record is one that `results.jsonl` lost; elsewhere it is anybody's.
        usual = line.files.output is None and line.files.name is None
        ours = planned.name in self.ours or (usual and _has_record(path))
        overwrite = line.files.overwrite or ours
        files = replace(line.files, output=path, name=None, format=None, save_latents=None, overwrite=overwrite)
        return prepare(line.options, files)


def check_folder(folder: Path) -> None:
    """Raise RequestError for what cannot be a folder of clips; asked before the model is opened."""
    is_audio = folder.suffix.lower().removeprefix(".") in FORMATS
    if is_audio or os.path.isfile(folder) or folder == Path("-"):
        raise RequestError(f"with `prompts` the output is a folder, got {folder}")


def plan_list(lines: list[Line], pipeline: Pipeline, folder: Path) -> ListJob:
    """See what is in the folder already. Raises RequestError if it cannot be written."""
    check_folder(folder)
    _make_folder(folder)
    try:
        check_writable(folder / RESULTS)
        finished = _finished(folder)
    except OSError as error:
        raise RequestError(f"clips cannot be put into {folder}: {error.strerror or error}") from None
    hashes = {source: sha256_of(source) if source else None for source in {line.options.init_audio for line in lines}}
    requests = [_request(line, pipeline, hashes[line.options.init_audio]) for line in lines]
    names = _those_there(lines, requests, {name: each for name, each in finished.items() if (folder / name).is_file()})
    taken = {*names.values(), *(line.name for line in lines if line.files.output)}
    planned = []
    for place, line in enumerate(lines):
        name = names.get(place) or (line.name if line.files.output else _free(line.name, taken))
        taken.add(name)
        planned.append(_Planned(line, name, place in names))
    stale = tuple(name for name in finished if name not in taken and (folder / name).is_file())
    return ListJob(pipeline, folder, tuple(planned), frozenset(finished), stale)


def _those_there(lines: list[Line], requests: list[dict[str, Any]], there: dict[str, Any]) -> dict[int, str]:
    """The clips that are there of which lines, by the lines' places; each clip is of one line."""
    found = {place: line.name for place, line in enumerate(lines) if there.get(line.name) == requests[place]}
    spoken_for = {*found.values(), *(line.name for line in lines if line.files.output)}
    by_request: dict[str, list[str]] = defaultdict(list)
    for name, request in there.items():
        if name not in spoken_for:
            by_request[_identity(request, name)].append(name)
    for place, line in enumerate(lines):
        same = by_request[_identity(requests[place], line.name)]
        if place not in found and line.files.output is None and same:
            found[place] = same.pop(0)
    return found


def _identity(request: Any, name: str) -> str:
    return json.dumps([PurePath(name).suffix, request], sort_keys=True)


def _free(name: str, taken: set[str]) -> str:
    path, count = PurePath(name), 1
    while name in taken:
        count += 1
        name = path.with_name(f"{path.stem}-{count}{path.suffix}").as_posix()
    return name


def _request(line: Line, pipeline: Pipeline, source_sha256: str | None) -> dict[str, Any]:
    """All that a clip depends on, by content and not by path."""
    options = as_json(line.options, recorded=True)
    del options["init_audio"]
    if line.options.lora:
        adapters = [AdapterFile.parse(text).described for text in line.options.lora]
        options["lora"] = [f"{each.sha256}:{each.strength!r}" for each in adapters]
    suffix = line.files.output.suffix if line.files.output else ""
    return {
        "bundle": pipeline.bundle.id,
        "engine": pipeline.engine,
        "bits": encoding_of(line.files, suffix).bits,
        "source_sha256": source_sha256,
        **({"rate": line.files.rate} if line.files.rate else {}),
        **({"mono": True} if line.files.mono else {}),
        **({"take": line.take} if line.take and line.options.seed is None else {}),
        **options,
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"clips cannot be put into {folder}: {error.strerror or error}") from None


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
