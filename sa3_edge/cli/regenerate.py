"""`sa3-edge info FILE` and `sa3-edge regenerate FILE`: how a clip was made, and making it again."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sa3_edge.audio.formats import FORMATS, rate_and_channels, stored_bits
from sa3_edge.cli import generate
from sa3_edge.cli.display import note, print_json, print_line
from sa3_edge.cli.options import chosen, spelled
from sa3_edge.cli.standard_input import with_recording_read
from sa3_edge.clips.options import ClipOptions, FileOptions
from sa3_edge.clips.record import Record, find_adapters, find_recording, model_of, read_record, recorded_options
from sa3_edge.clips.request import with_sections_read
from sa3_edge.errors import RequestError
from sa3_edge.files import sha256_of
from sa3_edge.generation.pipeline import Pipeline

_MOST_STEPS_UNASKED = 500  # ten times those of the models that take most


def info(path: Path, json: bool) -> None:
    """Show the record in a clip."""
    record = read_record(path)
    if json:
        print_json(msgspec.to_builtins(record))
        return
    print_line(f"{record.prompt!r}  ({record.mode})")
    for name, value in record.options.items():
        if value not in (None, "", []):
            print_line(f"{name.replace('_', '-'):16} {value}")
    print_line(f"{'model':16} {record.model_name} ({record.revision}, {record.precision})")
    if record.synthetic:
        print_line(f"{'':16} untrained: random weights, what it makes is noise")
    print_line(f"{'bundle':16} {record.bundle}")
    print_line(f"{'engine':16} {record.engine_version}")
    print_line(f"{'made by':16} sa3-edge {record.version}")


def regenerate(
    paths: list[Path], changes: dict[str, Any], files: FileOptions, count: int, run: generate.RunOptions
) -> None:
    """Render clips again, with changes by option; notes say if model, engine or recording differ from the original's.

    `run` names a model, or "" for each clip's own; of several clips `files.output` is the folder. A clip's tags, which
    anyone may have written, choose neither the engine nor a folder. Raises RequestError before any work, also if a
    recording that a clip was made from is gone or altered and no other was named.
    """
    if len(paths) > 1:
        _check_several(paths, files)
    said: set[str] = set()
    works = []
    for path in paths:
        record, options = _with_changes(path, changes)
        output = files.output
        if len(paths) > 1 and output is not None:
            suffix = f".{files.format}" if files.format else path.suffix
            output.mkdir(parents=True, exist_ok=True)
            output = output if files.name else output / path.with_suffix(suffix).name
        own = replace(run, model=run.model or model_of(record, path))
        work = generate.settle(options, count, _as_the_original(replace(files, output=output), path), own)
        works.append(replace(work, opened=partial(_say_differences, record, options, said)))
    generate.make(works, run)


def takes(path: Path, changes: dict[str, Any], count: int, files: FileOptions, run: generate.RunOptions) -> None:
    """Make so many takes of a clip's request, with changes, of its seed and those after it; and their page."""
    from sa3_edge.cli import takes as folder_of_takes

    record, options = _with_changes(path, changes)
    if files.output is None:
        files = replace(files, output=path.with_name(f"{path.stem}-takes"))
    files = replace(_as_the_original(replace(files, output=None), path), output=files.output)
    folder_of_takes.run(options, count, files, replace(run, model=run.model or model_of(record, path)))


def _with_changes(path: Path, changes: dict[str, Any]) -> tuple[Record, ClipOptions]:
    """A clip's record, and what is asked for now. Raises RequestError."""
    record = read_record(path)
    options = recorded_options(record, path)
    if options.init_audio is not None and "init_audio" not in changes:
        options = replace(options, init_audio=find_recording(record, options.init_audio, path))
    if record.adapters and "lora" not in changes:
        options = replace(options, lora=find_adapters(record, path))
    if "sections" in changes:  # a file of them says the prompts too
        asked = with_sections_read(chosen(ClipOptions, changes))
        changes = {**changes, "sections": asked.sections, "section_prompt": asked.section_prompt}
    options = (
        with_recording_read(replace(options, **changes)) if "init_audio" in changes else replace(options, **changes)
    )
    _check_effort(options, path, changes)
    return record, options


def _check_several(paths: list[Path], files: FileOptions) -> None:
    folder = files.output
    if folder is not None:
        if folder == generate.STDOUT or folder.is_file() or folder.suffix.lower().removeprefix(".") in FORMATS:
            raise RequestError(f"several clips go into a folder; -o {folder} is none")
        names = Counter(path.stem if files.format else path.name for path in paths)
        name, times = names.most_common(1)[0]
        if times > 1:
            raise RequestError(f"{times} of the clips are called {name}, and {folder} takes one of that name")
    if files.save_latents is not None:
        raise RequestError("--save-latents takes the latents of one clip")


def _say_differences(record: Record, options: ClipOptions, said: set[str], pipeline: Pipeline) -> None:
    """Note how model, engine and recording differ from the original's; each difference once."""
    for difference in (*_differences(record, pipeline), *_other_recording(record, options)):
        if difference not in said:
            note(spelled(difference))
            said.add(difference)


def _other_recording(record: Record, options: ClipOptions) -> list[str]:
    if options.init_audio is None or record.source_sha256 in (None, sha256_of(options.init_audio)):
        return []
    return [f"the recording differs: {options.init_audio} is not what the original was made from"]


def _as_the_original(files: FileOptions, path: Path) -> FileOptions:
    """The clip's own format, depth, rate and channels, where neither options nor the new name say others."""
    named = files.output is not None and files.output != generate.STDOUT and files.name is None
    if not named and files.format is None:
        files = replace(files, format=path.suffix.lower().removeprefix("."))
    kind = files.output.suffix.lower().removeprefix(".") if named and files.output else files.format
    if files.bits is None:
        bits = stored_bits(path)
        files = replace(files, bits=bits if kind in FORMATS and bits in FORMATS[kind].subtypes else None)
    rate, channels = rate_and_channels(path)
    if files.rate is None and path.suffix.lower() != ".opus" and kind != "opus":  # which has a rate of its own
        files = replace(files, rate=rate)
    return replace(files, mono=files.mono or channels == 1)


def _check_effort(options: ClipOptions, path: Path, changes: dict[str, Any]) -> None:
    """Raise RequestError if the clip's record, not the user, asks for hours of work."""
    if options.steps is not None and options.steps > _MOST_STEPS_UNASKED and "steps" not in changes:
        raise RequestError(
            f"{path} says it was made in {options.steps} steps, which takes long; if they are meant, say so: `steps`"
        )


def _differences(record: Record, pipeline: Pipeline) -> list[str]:
    """How the new rendering's model and engine differ from the original's."""
    differences = []
    bundle = pipeline.bundle
    if bundle.id != record.bundle:
        differences.append(
            f"the model differs: {bundle.manifest.model.name} ({bundle.id[:12]}), "
            f"the original's was {record.model_name} ({record.bundle[:12]})"
        )
    if pipeline.engine != record.engine_version:
        choose = f"; `engine` chooses {record.engine}" if pipeline.graphs.engine.name != record.engine else ""
        differences.append(f"the engine differs: {pipeline.engine}, the original's was {record.engine_version}{choose}")
    return differences
