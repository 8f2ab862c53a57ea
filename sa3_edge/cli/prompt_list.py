"""`sa3-edge generate --prompts FILE`: a list of prompts, resumable."""

from dataclasses import replace
from pathlib import Path

from sa3_edge.cli.display import Stages, err, stage_bars
from sa3_edge.cli.generate import STAGES, RunOptions, open_pipeline
from sa3_edge.cli.options import spelled
from sa3_edge.cli.printable import printable
from sa3_edge.clips.options import ClipOptions, FileOptions
from sa3_edge.clips.prompt_list import LineResult, check_folder, read_list, render_list
from sa3_edge.clips.report import json_text
from sa3_edge.errors import RequestError, Sa3Error


def run(
    path: Path, defaults: ClipOptions, usual_seconds: float | None, files: FileOptions, options: RunOptions
) -> None:
    """Make what is not there yet. A line that fails is reported and the others are made; then exit 1.

    `usual_seconds` is for lines that make a clip from text and, like `defaults`, say no length.
    """
    for option, given in (
        ("--save-latents", files.save_latents is not None),
        ("--play", options.play),
        ("--verbose", options.verbose),
        ("--check", options.check),
        ("--best-of", options.best_of != 1),
    ):
        if given:
            raise RequestError(f"{option} does not go with --prompts")
    lines = read_list(path, defaults, usual_seconds)
    folder = files.output or Path(f"{path.stem}-clips")
    check_folder(folder)
    pipeline = open_pipeline(options, keep_loaded=True)
    failed = 0
    with stage_bars(STAGES, quiet=options.json or options.quiet, clips=len(lines)) as bars:
        for result in render_list(lines, pipeline, folder, replace(files, output=None), bars):
            failed += result.error is not None
            _say(result, bars, options)
            bars.next_clip(skipped=result.skipped)
    if failed:
        raise Sa3Error(f"{failed} of {len(lines)} clips could not be made; their lines above say why")


def _say(result: LineResult, bars: Stages, options: RunOptions) -> None:
    report, line = result.report, result.line
    if result.error is not None:
        report = {"line": line.number, "prompt": line.options.prompt, "error": spelled(str(result.error))}
    if options.json or not options.quiet:
        bars.result(json_text(report).removesuffix("\n"))
    elif result.error is not None:
        err().print(f"line {line.number}: {printable(str(report['error']))}", markup=False, soft_wrap=True)
