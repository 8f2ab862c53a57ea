"""`sa3-edge info FILE` and `sa3-edge regenerate FILE`: how a clip was made, and making it again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from sa3_edge.audio.formats import FORMATS, stored_bits
from sa3_edge.cli import generate
from sa3_edge.cli.display import note, print_json, print_line
from sa3_edge.cli.options import spelled
from sa3_edge.clips.options import ClipOptions, FileOptions
from sa3_edge.clips.record import Record, find_adapters, find_recording, read_record, recorded_options
from sa3_edge.engines import DEFAULT_ENGINE
from sa3_edge.errors import RequestError
from sa3_edge.files import sha256_of
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.manifest import FILE_NAME
from sa3_edge.models.catalog import PUBLISHED, installed_models

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
    path: Path,
    changes: dict[str, Any],
    files: FileOptions,
    model: str | None,
    engine: str | None,
    compute_units: str | None,
    json: bool,
) -> None:
    """Render a clip again, with changes by option; notes say if model or engine differ from the original's.

    The clip's tags, which anyone may have written, choose neither the engine nor a folder.
    Raises RequestError if the recording that it was made from is gone or altered.
    """
    record = read_record(path)
    options = recorded_options(record, path)
    if options.init_audio is not None and "init_audio" not in changes:
        options = replace(options, init_audio=find_recording(record, options.init_audio, path))
    if record.adapters and "lora" not in changes:
        options = replace(options, lora=find_adapters(record, path))
    options = replace(options, **changes)
    _check_effort(options, path, changes)
    engine = engine or DEFAULT_ENGINE
    units = generate.compute_units(engine, compute_units)
    run_options = generate.RunOptions(model or model_of(record, path), engine, None, json, compute_units=units)

    def opened(pipeline: Pipeline) -> None:
        for difference in _differences(record, pipeline):
            note(spelled(difference))

    generate.run(options, 1, _as_the_original(files, path), run_options, opened)


def _as_the_original(files: FileOptions, path: Path) -> FileOptions:
    """The clip's own format and depth, where neither options nor the new name say another: the same samples."""
    named = files.output is not None and files.output != generate.STDOUT
    if not named and files.format is None:
        files = replace(files, format=path.suffix.lower().removeprefix("."))
    if files.bits is None:
        kind = files.output.suffix.lower().removeprefix(".") if named and files.output else files.format
        bits = stored_bits(path)
        files = replace(files, bits=bits if kind in FORMATS and bits in FORMATS[kind].subtypes else None)
    return files


def _check_effort(options: ClipOptions, path: Path, changes: dict[str, Any]) -> None:
    """Raise RequestError if the clip's record, not the user, asks for hours of work."""
    if options.steps is not None and options.steps > _MOST_STEPS_UNASKED and "steps" not in changes:
        raise RequestError(
            f"{path} says it was made in {options.steps} steps, which takes long; if they are meant, say so: `steps`"
        )


def model_of(record: Record, path: Path) -> str:
    """What to load for a clip: the model by its name, else what is installed of the same bundle.

    Anyone may have written a clip, so it has no bundle run that lies in a folder. Raises RequestError.
    """
    installed, model = installed_models(), record.model
    if model in installed:
        return model
    for name, folder in installed.items():
        manifest = folder / FILE_NAME
        if manifest.is_file() and sha256_of(manifest) == record.bundle:
            return name
    if model in PUBLISHED and not Path(model).exists():
        return model  # not installed, which loading says
    raise RequestError(
        f"{path} was made by a bundle that is not installed, {record.model_name} ({record.bundle[:12]}); "
        "name its folder: `model`"
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
