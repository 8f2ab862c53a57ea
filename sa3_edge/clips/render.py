"""Options to a file: the one way in, for the command, a list, a server and a cluster.

    pipeline = Pipeline.load("small-music", keep_loaded=True)
    clip = sa3_edge.render(ClipOptions("lofi piano", seconds=90), pipeline, FileOptions(Path("piano.wav")))

What can be settled without the model (seeds, every file's name, how they are stored) is settled in `prepare`, for all
seeds, before any work; `Job.run` then makes clip after clip.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import sa3_edge
from sa3_edge.audio.encoding import Tags, encode_audio, write_audio
from sa3_edge.clips.files import ClipFiles, free_name, settle_files, sidecar_of
from sa3_edge.clips.options import ClipOptions, FileOptions
from sa3_edge.clips.record import Record, encode_record, make_record
from sa3_edge.clips.report import json_text, report_of
from sa3_edge.clips.request import build_request
from sa3_edge.errors import RequestError
from sa3_edge.files import whole_file
from sa3_edge.generation.pipeline import SILENT, Generation, Pipeline, Progress, settle_seeds
from sa3_edge.generation.request import GenerationRequest

MOST_CLIPS = 100_000  # of one request: their names are all looked at before the first is made
_LONGEST_TITLE = 100
Hear = Callable[[NDArray[np.float32], int], None]  # audio (channels, n) as it is made, samples a second


class Sink(Protocol):
    """What takes a clip's bytes, in order: a pipe, a response. What it raises stops the run."""

    def write(self, data: bytes, /) -> object:
        """Take all of it."""

    def flush(self) -> object:
        """Pass on what was taken."""


@dataclass(frozen=True)
class Clip:
    """A clip that was made and written.

    audio is in `files.audio`, unless it went to a sink. `report` is what --json, the sidecar and a list's results say:
    JSON, computed once. timings: seconds by stage, and "total"; latents_shape: (1, C, T).
    """

    files: ClipFiles
    seed: int
    samples: int
    sample_rate: int
    latents_shape: tuple[int, ...]
    timings: dict[str, float]
    notes: list[str]
    record: Record
    report: dict[str, object]


@dataclass(frozen=True)
class Job:
    """A request with all settled that does not need the model; `files` are those of each seed."""

    options: ClipOptions
    request: GenerationRequest
    seeds: range
    files: tuple[ClipFiles, ...]

    def run(
        self,
        pipeline: Pipeline,
        progress: Progress = SILENT,
        *,
        sink: Sink | None = None,
        hear: Hear | None = None,
    ) -> Iterator[Clip]:
        """Make and write clip after clip, each when it is asked for.

        `progress` as of Pipeline.generate: what it raises stops the run, and no file is left half-written. `sink` takes
        the bytes of a job that was prepared with `elsewhere`; `hear` is given the audio as it is made. Raises
        RequestError, EngineError, and Sa3Error if a file cannot be written.
        """
        made_clips = pipeline.generate_many(self.request, len(self.seeds), progress)
        for made, files in zip(made_clips, self.files, strict=True):
            yield self._write(made, pipeline, files, sink)
            if hear is not None:
                hear(made.audio, made.sample_rate)

    def _write(self, made: Generation, pipeline: Pipeline, files: ClipFiles, sink: Sink | None) -> Clip:
        if files.automatic and files.audio is not None and files.audio.exists():
            audio = free_name(self.options.prompt, made.seed, files.encoding.format)
            files = replace(files, audio=audio, sidecar=files.sidecar and sidecar_of(audio))
        source_sha256 = self.request.edit.source.sha256 if self.request.edit is not None else None
        folder = files.audio.parent if files.audio is not None else None
        record = make_record(self.options, made, pipeline, source_sha256, folder)
        notes = list(made.notes)
        tags = _tags(record, notes)
        clipped = _write_audio(made, files, tags, sink)
        if clipped:
            notes.append(f"{clipped} samples were louder than full scale and are clipped")
        if files.latents is not None:
            latents = io.BytesIO()  # np.save says nothing of the reason if it cannot write a file
            np.save(latents, made.latents)
            with whole_file(files.latents) as temporary:
                temporary.write_bytes(latents.getvalue())
        report = report_of(made, files, record, notes)
        if files.sidecar is not None:
            with whole_file(files.sidecar) as temporary:
                temporary.write_text(json_text(report), encoding="utf-8")
        return Clip(
            files,
            made.seed,
            made.audio.shape[-1],
            made.sample_rate,
            made.latents.shape,
            made.timings,
            notes,
            record,
            report,
        )


def prepare(options: ClipOptions, files: FileOptions | None = None, count: int = 1, *, elsewhere: bool = False) -> Job:
    """Settle seeds, names and encoding of `count` clips of seeds s, s + 1, ...

    `elsewhere`: the sound is not to be a file but goes to a sink. Raises RequestError for options that do not go
    together, for a recording that cannot be read and for files that cannot be made. Reads no model.
    """
    seeds = settle_seeds(options.seed, count)
    if count > MOST_CLIPS:
        raise RequestError(f"count must be at most {MOST_CLIPS}, got {count}")
    settled = settle_files(files or FileOptions(), options, seeds, elsewhere=elsewhere)
    options = replace(options, seed=seeds[0])
    return Job(options, build_request(options), seeds, settled)


def render(
    options: ClipOptions,
    pipeline: Pipeline,
    files: FileOptions | None = None,
    progress: Progress = SILENT,
    *,
    sink: Sink | None = None,
) -> Clip:
    """Make one clip and write it, with the tags by which it can be made again: what `sa3-edge generate` does.

    Without `files` it is named after its prompt and seed, in the current directory; with `sink`, an object to write
    bytes to, it becomes no file. Raises RequestError for what cannot be, before any work, EngineError if a graph fails,
    Sa3Error if a file cannot be written.
    """
    (clip,) = prepare(options, files, elsewhere=sink is not None).run(pipeline, progress, sink=sink)
    return clip


def _tags(record: Record, notes: list[str]) -> Tags:
    prompt = record.prompt
    title = prompt if len(prompt) <= _LONGEST_TITLE else f"{prompt[: _LONGEST_TITLE - 3]}..."
    if record.synthetic:
        title += " (random weights: noise)"
        notes.append(f"{record.model_name} is untrained (random weights): what it makes is noise")
    return Tags(title, f"sa3-edge {sa3_edge.__version__}", encode_record(record))


def _write_audio(made: Generation, files: ClipFiles, tags: Tags, sink: Sink | None) -> int:
    """How many samples were clipped."""
    if files.audio is not None:
        return write_audio(files.audio, made.audio, made.sample_rate, files.encoding, tags)
    data, clipped = encode_audio(made.audio, made.sample_rate, files.encoding, tags)
    if sink is not None:
        sink.write(data)
        sink.flush()
    return clipped
