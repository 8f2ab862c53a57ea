"""`sa3-edge generate PROMPT`: one prompt, one clip or several of successive seeds."""

from dataclasses import dataclass

from sa3_edge.cli.defaults import defaults
from sa3_edge.cli.display import print_json, stage_bars
from sa3_edge.cli.play import open_player
from sa3_edge.clips import files as output
from sa3_edge.clips.options import RequestOptions, build_request
from sa3_edge.engines import TAKE_COMPUTE_UNITS
from sa3_edge.errors import RequestError
from sa3_edge.generation.pipeline import Pipeline

STAGES = {
    "text": "Reading the prompt",
    "encode": "Encoding the recording",
    "condition": "Conditioning",
    "denoise": "Denoising",
    "decode": "Decoding",
}


@dataclass(frozen=True)
class RunOptions:
    """What runs, and what is shown."""

    model: str
    engine: str
    threads: int | None
    json: bool
    quiet: bool = False
    verbose: bool = False
    play: bool = False
    compute_units: str | None = None


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
        keep_loaded=keep_loaded,
    )


def run(prompt: str, shape: RequestOptions, count: int, files: output.FileOptions, options: RunOptions) -> None:
    """Generate, write the files, say what was made; each clip as soon as it is there."""
    files.check(prompt, shape, count)
    if files.audio == output.STDOUT and (count > 1 or options.json):
        raise RequestError("standard output takes one clip, without --json")
    player = open_player() if options.play else None
    request = build_request(prompt, shape)
    pipeline = open_pipeline(options)
    with stage_bars(STAGES, quiet=options.json or options.quiet, clips=count) as bars:
        for made in pipeline.generate_many(request, count, bars):
            clip_files = files.for_seed(made.seed) if count > 1 else files
            written = output.write(made, pipeline, prompt, shape, options.model, clip_files)
            if options.json:
                print_json(output.result(made, written))
            elif not options.quiet:
                output.summarize(made, written, bars.result, options.verbose)
            if player is not None:
                player(made.audio, made.sample_rate)
            bars.next_clip()
