"""`sa3-edge generate PROMPT`: one prompt, one clip or several of successive seeds."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.markup import escape

from sa3_edge.audio.formats import FORMATS
from sa3_edge.cli.defaults import defaults
from sa3_edge.cli.display import err, note, print_json, say, stage_bars, standard_output
from sa3_edge.cli.play import open_player
from sa3_edge.cli.printable import printable
from sa3_edge.clips.choices import all_of, has_choices, one_of
from sa3_edge.clips.files import DEFAULT_NAME, with_seed
from sa3_edge.clips.options import ClipOptions, FileOptions
from sa3_edge.clips.render import Clip, Job, prepare
from sa3_edge.engines import TAKE_COMPUTE_UNITS
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.generation.pipeline import Pipeline, settle_seeds

STDOUT = Path("-")
STAGES = {
    "text": "Reading the prompt",
    "encode": "Encoding the recording",
    "condition": "Conditioning",
    "denoise": "Denoising",
    "decode": "Decoding",
}


@dataclass(frozen=True)
class RunOptions:
    """What runs, and what is shown. on: the cluster that makes a list's clips."""

    model: str
    engine: str
    threads: int | None
    json: bool
    quiet: bool = False
    verbose: bool = False
    play: bool = False
    compute_units: str | None = None
    check: bool = False
    best_of: int = 1
    on: str | None = None
    max_memory: str | None = None


def compute_units(engine: str, given: str | None) -> str | None:
    """Where Core ML may run: as given, else the default, which is only for engines that have a choice."""
    if given is None and engine in TAKE_COMPUTE_UNITS:
        default: str | None = defaults().get("compute_units")
        return default
    return given


def open_pipeline(options: RunOptions, *, keep_loaded: bool = False) -> Pipeline:
    """The pipeline for a command's options."""
    return Pipeline.load(
        options.model,
        options.engine,
        threads=options.threads,
        compute_units=options.compute_units,
        max_memory=options.max_memory,
        keep_loaded=keep_loaded,
    )


@dataclass(frozen=True)
class Work:
    """A clip, or several seeds of one, with all settled that needs no model; `opened` is told the pipeline."""

    job: Job
    model: str
    opened: Callable[[Pipeline], None] = lambda pipeline: None

    @property
    def to_stdout(self) -> bool:
        """Whether the sound becomes no file."""
        return self.job.files[0].audio is None


def settle(clip_options: ClipOptions, count: int, files: FileOptions, options: RunOptions) -> Work:
    """What is to be made, refused as far as that can be known before any work. Raises RequestError."""
    to_stdout = files.output == STDOUT
    if to_stdout:
        if sys.stdout is None:
            raise Sa3Error("standard output is closed")
        if sys.stdout.isatty():
            raise RequestError("a clip is not text for a terminal; send it on (| or >) or name a file: -o clip.wav")
        files = replace(files, output=None)
    job = prepare(clip_options, files, count, elsewhere=to_stdout, check=options.check, best_of=options.best_of)
    if to_stdout and (count > 1 or options.json):
        raise RequestError("standard output takes one clip, without --json")
    return Work(job, options.model)


def run(clip_options: ClipOptions, count: int, files: FileOptions, options: RunOptions, *, every: bool = False) -> None:
    """Generate, write the files, say what was made; each clip as soon as it is there.

    `every` makes all that a prompt with choices stands for; else each clip draws one by its seed.
    """
    if every:
        works = _of_every_choice(clip_options, count, files, options)
    elif has_choices(clip_options.prompt):
        works = _of_drawn_choices(clip_options, count, files, options)
    else:
        works = [settle(clip_options, count, files, options)]
    if not (options.json or options.quiet):
        drawn = works[0].job.options.prompt != clip_options.prompt
        works = [replace(each, opened=partial(_announce, each.job, drawn, clip_options.seed)) for each in works]
    make(works, options)


def _of_every_choice(clip: ClipOptions, count: int, files: FileOptions, options: RunOptions) -> list[Work]:
    folder = files.output
    if not has_choices(clip.prompt):
        raise RequestError('--all is for a prompt with choices, as in "{rain|wind} on {tin|wood}"')
    if folder is not None:
        if folder == STDOUT or folder.is_file() or folder.suffix.lower().removeprefix(".") in FORMATS:
            raise RequestError(f"--all makes several clips into a folder; -o {folder} is none")
        folder.mkdir(parents=True, exist_ok=True)
    files = replace(files, name=files.name or DEFAULT_NAME)
    return [settle(replace(clip, prompt=prompt), count, files, options) for prompt in all_of(clip.prompt)]


def _of_drawn_choices(clip: ClipOptions, count: int, files: FileOptions, options: RunOptions) -> list[Work]:
    several = count > 1 and files.name is None
    works = []
    for seed in settle_seeds(clip.seed, count):
        own = files
        if several and files.output not in (None, STDOUT):
            own = replace(own, output=files.output and with_seed(files.output, seed))
        if several and files.save_latents is not None:
            own = replace(own, save_latents=with_seed(files.save_latents, seed))
        works.append(settle(replace(clip, prompt=one_of(clip.prompt, seed), seed=seed), 1, own, options))
    return works


def _announce(job: Job, drawn: bool, seed: int | None, pipeline: Pipeline) -> None:
    if drawn:
        note(f"the prompt is: {job.options.prompt}")
    if seed is not None:
        return
    if job.piece.passes(pipeline.bundle.manifest):
        note(f"if this is interrupted, the same command with --seed {job.seeds[0]} goes on where it was")


def make(works: Sequence[Work], options: RunOptions) -> None:
    """Make one work after another, write the files, say what was made; a model stays open while works name it."""
    player = open_player() if options.play else None
    clips = sum(len(work.job.seeds) for work in works)
    pipeline, model = None, None
    with stage_bars(STAGES, quiet=options.json or options.quiet, clips=clips) as bars:
        for work in works:
            if pipeline is None or work.model != model:
                model = work.model
                pipeline = open_pipeline(replace(options, model=model))
            work.opened(pipeline)
            sink = _StandardOutput() if work.to_stdout else None
            for clip in work.job.run(pipeline, bars, sink=sink, hear=player):
                if player is not None:
                    player.finish()
                if options.json:
                    print_json(clip.report)
                elif not options.quiet:
                    summarize(clip, bars.result, options.verbose)
                bars.next_clip()


class _StandardOutput:
    """Takes a clip's bytes. Raises Sa3Error if they cannot be written."""

    def write(self, data: bytes) -> int:
        with standard_output():
            return sys.stdout.buffer.write(data)

    def flush(self) -> None:
        with standard_output():
            sys.stdout.buffer.flush()


def summarize(clip: Clip, result: Callable[[str], None], verbose: bool = False) -> None:
    """Notes and times on stderr; the file and how it was made by `result`, or on stderr if it went to stdout itself."""
    length = clip.samples / clip.sample_rate
    total = clip.timings["total"]
    console = err()
    for line in clip.notes:
        note(line)
    if verbose:
        record = clip.record
        console.print(
            f"[dim]{escape(printable(f'{record.engine_version}, {record.model_name} {record.precision}'))}[/]"
        )
        console.print(f"[dim]bundle {record.bundle}, latents {clip.latents_shape}[/]")
        for key, time in clip.timings.items():
            console.print(f"[dim]{key:18} {time:8.3f} s[/]")
    stages = ", ".join(f"{graph.replace('_', ' ')} {time:.2f} s" for graph, time in _by_graph(clip.timings).items())
    say(stages, "dim")
    speed = f"{length / total:.1f}x real time"
    levels = [] if clip.loudness is None else [f"{clip.loudness:.1f} LUFS"]
    levels += [] if clip.true_peak is None else [f"peak {clip.true_peak:.1f} dBTP"]
    made = f"{clip.files.audio or '-'}  {length:.2f} s of audio in {total:.2f} s ({speed})"
    line = "  ".join([made, *([", ".join(levels)] if levels else []), f"seed {clip.seed}"])
    if clip.files.audio is None:
        say(printable(line))
    else:
        result(line)


def _by_graph(timings: dict[str, float]) -> dict[str, float]:
    """Loading and running, added up for each graph."""
    added: dict[str, float] = {}
    for key, time in timings.items():
        if "." in key:
            graph = key.split(".")[0]
            added[graph] = added.get(graph, 0.0) + time
    return added
