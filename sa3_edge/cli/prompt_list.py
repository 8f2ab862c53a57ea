"""`sa3-edge generate --prompts FILE`: a list of prompts, resumable."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from sa3_edge.cli.display import Stages, note, say, stage_bars
from sa3_edge.cli.generate import STAGES, RunOptions, open_pipeline, summarize
from sa3_edge.cli.options import spelled
from sa3_edge.cli.printable import printable
from sa3_edge.clips.fleet import Fleet, check_address
from sa3_edge.clips.list_file import Line, parse_list, read_list
from sa3_edge.clips.options import ClipOptions, FileOptions
from sa3_edge.clips.prompt_list import LineResult, check_folder, plan_list
from sa3_edge.clips.report import json_text
from sa3_edge.errors import RequestError, Sa3Error, listed

STDIN = Path("-")


def run(
    path: Path, defaults: ClipOptions, usual_seconds: float | None, files: FileOptions, options: RunOptions, every: bool
) -> None:
    """Make what is not there yet. A line that fails is reported and the others are made; then exit 1.

    `usual_seconds` is for lines that make a clip from text and, like `defaults`, say no length; `every` makes all that
    a prompt with choices stands for.
    """
    for option, given in (
        ("--save-latents", files.save_latents is not None),
        ("--play", options.play),
        ("--check", options.check),
        ("--best-of", options.best_of != 1),
    ):
        if given:
            raise RequestError(f"{option} does not go with --prompts")
    folder = files.output or Path("prompts-clips" if path == STDIN else f"{path.stem}-clips")
    check_folder(folder)
    if options.on is not None:
        check_address(options.on)
    lines = _read(path, defaults, usual_seconds, replace(files, output=None), every)
    pipeline = open_pipeline(options, keep_loaded=True)
    job = plan_list(lines, pipeline, folder)
    silent = options.json or options.quiet
    if job.stale and not silent:
        note(f"no line asks any more for {len(job.stale)} of the clips in {folder}: {listed(job.stale)}")
    failed = 0
    said: set[str] = set()
    fleet = nullcontext() if options.on is None else Fleet(options.on, pipeline)
    with fleet as workers, stage_bars(STAGES, quiet=silent, clips=len(lines)) as bars:
        for number, result in enumerate(job.run(bars, workers), start=1):
            failed += result.error is not None
            _say(result, f"{number} of {len(lines)}", said, bars, options)
            bars.next_clip(skipped=result.skipped)
    if failed:
        raise Sa3Error(f"{failed} of {len(lines)} clips could not be made; their lines above say why")


def _read(
    path: Path, defaults: ClipOptions, usual_seconds: float | None, files: FileOptions, every: bool
) -> list[Line]:
    if path != STDIN:
        return read_list(path, defaults, usual_seconds, files, every=every)
    if sys.stdin is None:
        raise RequestError("standard input is closed: there is no list to read")
    if sys.stdin.isatty():
        note("reading the list from this terminal; Ctrl-D ends it")
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"the list on standard input cannot be read: {error}") from None
    return parse_list(text, "standard input", Path(), defaults, usual_seconds, files, every=every)


def _say(result: LineResult, place: str, said: set[str], bars: Stages, options: RunOptions) -> None:
    """What became of a clip; what is said once is not said of each clip that it holds for."""
    line = result.line
    if options.json:
        report = result.report
        if result.error is not None:
            report = {"prompt": line.options.prompt, "error": spelled(str(result.error))}
        bars.result(json_text({"line": line.number, **report}).removesuffix("\n"))
    elif result.error is not None:
        text = f"line {line.number}: {printable(spelled(str(result.error)))}"
        say(text if options.quiet else f"{place}  {text}")
    elif result.clip is not None and not options.quiet:
        new = [each for each in result.clip.notes if each not in said]
        said.update(new)
        clip = replace(result.clip, notes=new)
        summarize(clip, lambda text: bars.result(f"{place}  {text}"), options.verbose)
    elif not options.quiet:
        bars.result(f"{place}  {result.report['file']}  is there already")
