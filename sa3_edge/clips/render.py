"""Options to a file: the one way in, for the command, a list, a server and a cluster.

    pipeline = Pipeline.load("small-music", keep_loaded=True)
    clip = sa3_edge.render(ClipOptions("lofi piano", seconds=90), pipeline, FileOptions(Path("piano.wav")))

What can be settled without the model (seeds, every file's name, how they are stored) is settled in `prepare`, for all
seeds, before any work; `Job.run` then makes clip after clip.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import sa3_edge
from sa3_edge.audio.conversion import mixed_to_mono, resampled, resampled_loop, samples_at
from sa3_edge.audio.encoding import AudioWriter, Tags, Tempo
from sa3_edge.audio.levels import Levels
from sa3_edge.audio.loudness import load_meter
from sa3_edge.clips.check import Check, Watch, best, check_audio, why_best
from sa3_edge.clips.files import ClipFiles, free_name, settle_files, sidecar_of
from sa3_edge.clips.options import ClipOptions, FileOptions, as_json
from sa3_edge.clips.record import Record, encode_record, make_record
from sa3_edge.clips.report import json_text, report_of
from sa3_edge.clips.request import build_piece
from sa3_edge.compose.long_form import Pass
from sa3_edge.compose.piece import Piece, stream_many
from sa3_edge.compose.tempo import BEATS
from sa3_edge.compose.unfinished import Unfinished
from sa3_edge.errors import RequestError
from sa3_edge.files import whole_file
from sa3_edge.generation.made import Stream
from sa3_edge.generation.pipeline import SILENT, Pipeline, Progress, settle_seeds, stoppable

MOST_CLIPS = 100_000  # of one request: their names are all looked at before the first is made
MOST_SEEDS = 1000  # that one clip is the best of
_LONGEST_TITLE = 100
# What is done when the passes are.
_AFTER_PASSES = ("trim_silence", "fade_in", "fade_out", "normalize", "peak", "limiter")
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
    JSON, computed once. timings: seconds by stage, and "total"; latents_shape: (1, C, T). loudness: LUFS, None for
    silence and less than 0.4 s; true_peak: dBTP, None for silence.
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
    loudness: float | None
    true_peak: float | None


@dataclass(frozen=True)
class Job:
    """A request with all settled that does not need the model; `files` are those of each seed.

    check: whether clips are measured; best_of: of how many seeds each clip that is kept is the best
    """

    options: ClipOptions
    piece: Piece
    seeds: range
    files: tuple[ClipFiles, ...]
    check: bool = False
    best_of: int = 1

    def run(
        self,
        pipeline: Pipeline,
        progress: Progress = SILENT,
        *,
        sink: Sink | None = None,
        hear: Hear | None = None,
    ) -> Iterator[Clip]:
        """Make and write clip after clip, each when it is asked for.

        The sound is written as it is decoded. `progress` as of Pipeline.generate: what it raises stops the run, and no
        file is left half-written. `sink` takes a clip's bytes instead of its file: the same, if it is a stream that can
        seek. `hear` is given each piece of audio. Raises RequestError, EngineError, and Sa3Error if a file cannot be
        written.
        """
        passes = self.piece.passes(pipeline.bundle.manifest)
        if passes and self.files[0].latents is not None:
            raise RequestError("a piece of several passes has no latents: leave out `save_latents`")
        kept = partial(self._unfinished, pipeline) if passes else None
        streams = stream_many(pipeline, self.piece, self.seeds, progress, kept)
        if self.best_of > 1:
            yield self._best(streams, pipeline, sink, hear)
        else:
            for stream, files in zip(streams, self.files, strict=True):
                yield self._render(stream, pipeline, files, sink, hear)

    def _unfinished(self, pipeline: Pipeline, seed: int) -> Unfinished:
        """Where passes are kept until the piece is written: by all that its samples depend on."""
        options = as_json(replace(self.options, seed=seed), recorded=True)
        return Unfinished.of(
            {
                "version": sa3_edge.__version__,
                "bundle": pipeline.bundle.id,
                "engine": pipeline.engine,
                "adapters": [file.described.sha256 for file in self.piece.request.adapters],
                **{name: value for name, value in options.items() if name not in _AFTER_PASSES},
            }
        )

    def _best(self, streams: Iterator[Stream], pipeline: Pipeline, sink: Sink | None, hear: Hear | None) -> Clip:
        """The clip that measures best; two at most are in memory. The others are not written."""
        checks: list[Check] = []
        kept: Stream | None = None
        for stream in streams:
            audio = stream.whole().audio
            checks.append(check_audio(audio, stream.sample_rate, self.options))
            if best(checks) == len(checks) - 1:
                timings = {name: time for name, time in stream.timings.items() if name != "first_piece"}
                kept = stream.replaced(iter([audio]), audio.shape[-1], timings=timings)
        assert kept is not None
        kept.notes.append(why_best(checks, self.seeds))
        return self._render(kept, pipeline, self.files[best(checks)], sink, hear)

    def _tempo(self) -> Tempo | None:
        """What DAWs read of tempo and bars."""
        if self.options.bpm is None:
            return None
        bars = self.piece.bars
        return Tempo(self.options.bpm, bars.count * bars.beats if bars else 0, bars.beats if bars else BEATS)

    def _render(
        self, stream: Stream, pipeline: Pipeline, files: ClipFiles, sink: Sink | None, hear: Hear | None
    ) -> Clip:
        edit = self.piece.request.edit
        source_sha256 = edit.source.sha256 if edit is not None else None
        folder = files.audio.parent if files.audio is not None else None
        record = make_record(self.options, stream, pipeline, source_sha256, folder, self.piece.request.adapters)
        tags = _tags(record, files.tags, self._tempo(), self.options.loop)
        stream = _as_stored(stream, files, loop=self.options.loop)
        watch, heard = Watch(), list[NDArray[np.float32]]()
        levels = Levels(stream.sample_rate, stream.channels)

        def look(piece: NDArray[np.float32], rate: int) -> None:
            watch(piece)
            levels.push(piece)
            if self.check:
                heard.append(piece)
            if hear is not None:
                hear(piece, rate)

        if sink is not None or files.audio is None:
            out = sink or _Nowhere()
            patchable = isinstance(out, io.IOBase) and out.seekable()
            clipped = _encode(stream, files, tags, out, look, patchable=patchable)
        else:
            name = _Name(files)
            otherwise = name.another if files.automatic else None
            with (
                whole_file(files.audio, replace=files.overwrite, otherwise=otherwise) as temporary,
                temporary.open("wb") as file,
            ):
                clipped = _encode(stream, files, tags, file, look, patchable=True)
            files = name.files
        notes = list(stream.notes)
        if record.synthetic:
            notes.append(f"{record.model_name} is untrained (random weights): what it makes is noise")
        if clipped:
            notes.append(f"{clipped} samples were louder than full scale and are clipped")
        notes += watch.notes()
        check = None
        if self.check:
            check = check_audio(np.concatenate(heard, axis=1), stream.sample_rate, self.options)
            notes += [fault for fault in check.faults() if fault not in notes]
        if files.latents is not None:
            latents = io.BytesIO()  # np.save says nothing of the reason if it cannot write a file
            np.save(latents, stream.latents)
            with whole_file(files.latents, replace=files.overwrite) as temporary:
                temporary.write_bytes(latents.getvalue())
        loudness, true_peak = levels.loudness(), levels.true_peak()
        report = report_of(stream, files, record, notes)
        report["loudness"] = None if loudness is None else round(loudness, 2)
        report["true_peak"] = None if true_peak is None else round(true_peak, 2)
        if check is not None:
            report["check"] = check.as_json()
        passes = self.piece.passes(pipeline.bundle.manifest)
        if passes:
            report["passes"] = _said(passes, pipeline.bundle.manifest.audio.sample_rate)
            for seed in self.seeds if self.best_of > 1 else (stream.seed,):
                self._unfinished(pipeline, seed).forget()
        write_sidecar(files, report)
        return Clip(
            files,
            stream.seed,
            stream.samples,
            stream.sample_rate,
            stream.latents.shape,
            stream.timings,
            notes,
            record,
            report,
            loudness,
            true_peak,
        )


def write_sidecar(files: ClipFiles, report: Mapping[str, object]) -> None:
    """What is said of a clip, in the file beside it, if it has one. Raises Sa3Error."""
    if files.sidecar is not None:
        with whole_file(files.sidecar, replace=files.overwrite) as temporary:
            temporary.write_text(json_text(report), encoding="utf-8")


class _Name:
    """A clip's files, whose automatic name may still change."""

    def __init__(self, files: ClipFiles):
        self.files = files

    def another(self) -> Path:
        assert self.files.audio is not None
        audio = free_name(self.files.audio)
        self.files = replace(self.files, audio=audio, sidecar=self.files.sidecar and sidecar_of(audio))
        return audio


def _as_stored(stream: Stream, files: ClipFiles, *, loop: bool) -> Stream:
    """The clip at the rate and with the channels of its file. A loop at another rate is held in memory whole."""
    pieces: Iterator[NDArray[np.float32]] = iter(stream)
    channels, samples, rate = stream.channels, stream.samples, stream.sample_rate
    if files.mono and channels > 1:
        pieces, channels = mixed_to_mono(pieces), 1
    if files.rate not in (None, rate):
        samples = samples_at(stream.samples, stream.sample_rate, files.rate)
        if loop:
            whole = resampled_loop(np.concatenate(list(pieces), axis=1), rate, files.rate)
            pieces = iter([whole])
        else:
            pieces = resampled(pieces, stream.samples, rate, files.rate)
        rate = files.rate
    elif channels == stream.channels:
        return stream
    return stream.replaced(pieces, samples, channels=channels, sample_rate=rate)


class _Nowhere:
    """Takes the bytes of a clip that is only heard."""

    def write(self, data: bytes, /) -> None:
        pass

    def flush(self) -> None:
        pass


def _encode(stream: Stream, files: ClipFiles, tags: Tags, out: Sink, hear: Hear, *, patchable: bool) -> int:
    """Encode a clip as it is decoded; how many samples were clipped."""
    rate, channels = stream.sample_rate, stream.channels
    with AudioWriter(out, rate, channels, stream.samples, files.encoding, tags, patchable=patchable) as writer:
        for piece in stream:
            writer.write(piece)
            out.flush()
            hear(piece, rate)
    out.flush()
    return writer.clipped


def prepare(
    options: ClipOptions,
    files: FileOptions | None = None,
    count: int = 1,
    *,
    elsewhere: bool = False,
    check: bool = False,
    best_of: int = 1,
) -> Job:
    """Settle seeds, names and encoding of `count` clips of seeds s, s + 1, ...

    `elsewhere`: the sound is not to be a file but goes to a sink. Raises RequestError for options that do not go
    together, for a recording that cannot be read and for files that cannot be made. Reads no model.
    """
    if not 1 <= best_of <= MOST_SEEDS:
        raise RequestError(f"`best_of` must be from 1 to {MOST_SEEDS}, got {best_of}")
    if best_of > 1 and count > 1:
        raise RequestError("`best_of` and `count` do not go together: of all seeds one clip is kept")
    seeds = settle_seeds(options.seed, best_of if best_of > 1 else count)
    if count > MOST_CLIPS:
        raise RequestError(f"count must be at most {MOST_CLIPS}, got {count}")
    groups = [seeds] if best_of == 1 else [range(seed, seed + 1) for seed in seeds]
    settled = tuple(
        each for group in groups for each in settle_files(files or FileOptions(), options, group, elsewhere=elsewhere)
    )
    options = replace(options, seed=seeds[0])
    piece = build_piece(options)
    if options.loop and settled[0].latents is not None:
        raise RequestError("`save_latents` and `loop` do not go together: a loop is made in several passes")
    if piece.endings.normalize is not None:
        load_meter()
    return Job(options, piece, seeds, settled, check, best_of)


def render(
    options: ClipOptions,
    pipeline: Pipeline,
    files: FileOptions | None = None,
    progress: Progress = SILENT,
    *,
    sink: Sink | None = None,
    cancel: Event | None = None,
) -> Clip:
    """Make one clip and write it, with the tags by which it can be made again: what `sa3-edge generate` does.

    Without `files` it is named after its prompt and seed, in the current directory; with `sink`, an object to write
    bytes to, it becomes no file. `cancel` stops the run at its next step, once any thread has set it. Raises
    RequestError for an invalid request, before any work, EngineError if a graph fails, CancelledError, Sa3Error if a
    file cannot be written.
    """
    job = prepare(options, files, elsewhere=sink is not None)
    (clip,) = job.run(pipeline, stoppable(progress, cancel), sink=sink)
    return clip


def _said(passes: list[Pass], rate: int) -> list[dict[str, object]]:
    """The passes of a piece as JSON, in seconds."""
    return [
        {
            "start": round(each.start / rate, 4),
            "stop": round(each.stop / rate, 4),
            "continues": round(each.context / rate, 4),
            "prompt": each.prompt,
            "blended_from": each.blend_from,
            "blended_until": round((each.start + each.blend) / rate, 4) if each.blend else None,
        }
        for each in passes
    ]


def _tags(record: Record, which: str, tempo: Tempo | None, loop: bool) -> Tags:
    """Tempo and loop points are no words about the clip: players need them, so all files have them."""
    plain = Tags(tempo=tempo, loop=loop)
    software = f"sa3-edge {sa3_edge.__version__}"
    if which == "none":
        return plain
    if which == "minimal":
        return replace(plain, software=software, marked=True)
    prompt = record.prompt
    title = prompt if len(prompt) <= _LONGEST_TITLE else f"{prompt[: _LONGEST_TITLE - 3]}..."
    if record.synthetic:
        title += " (random weights: noise)"
    return replace(plain, title=title, software=software, comment=encode_record(record), marked=True)
