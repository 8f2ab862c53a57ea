"""`sa3-edge info FILE` and `sa3-edge regenerate FILE`: how a clip was made, and making it again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from sa3_edge.audio.encoding import FORMATS, stored_bits
from sa3_edge.bundle import Bundle, sha256_of
from sa3_edge.cli import generate
from sa3_edge.cli.display import note, print_json
from sa3_edge.clips import files as output
from sa3_edge.clips.options import RequestOptions, typed_options
from sa3_edge.clips.record import Record, read_record
from sa3_edge.engines import EngineOptions, create_engine
from sa3_edge.errors import RequestError
from sa3_edge.models.catalog import resolve_model


def info(path: Path, json: bool) -> None:
    """Show the record in a clip."""
    record = read_record(path)
    if json:
        print_json(msgspec.to_builtins(record))
        return
    print(f"{record.prompt!r}  ({record.mode})")
    for name, value in record.options.items():
        if value not in (None, "", []):
            print(f"{name.replace('_', '-'):16} {value}")
    print(f"{'model':16} {record.model_name} ({record.revision}, {record.precision})")
    if record.synthetic:
        print(f"{'':16} untrained: random weights, what it makes is noise")
    print(f"{'bundle':16} {record.bundle}")
    print(f"{'engine':16} {record.engine_version}")
    print(f"{'made by':16} sa3-edge {record.version}")


def regenerate(
    path: Path,
    changes: dict[str, Any],
    model: str | None,
    engine: str | None,
    compute_units: str | None,
    files: output.FileOptions,
    json: bool,
) -> None:
    """Render a clip again, with changes; what differs from the original's making is said.

    Raises RequestError if the recording that it was made from is gone or altered.
    """
    record = read_record(path)
    prompt = changes.pop("prompt", None)
    shape = _shape(record, path)
    shape = replace(shape, **{key: value for key, value in changes.items() if value is not None})
    engine = engine or record.engine
    units = generate.compute_units(engine, compute_units)
    run_options = generate.RunOptions(model or record.model, engine, None, json, compute_units=units)
    for difference in _differences(record, run_options):
        note(difference)
    if files.audio is None and files.format is None:
        files = replace(files, format=path.suffix.lower().removeprefix("."))
    if files.bits is None:
        # The same depth, or the samples would not be the same.
        kind = files.format or (files.audio.suffix.lower().removeprefix(".") if files.audio else "wav")
        bits = stored_bits(path)
        files = replace(files, bits=bits if kind in FORMATS and bits in FORMATS[kind].subtypes else None)
    generate.run(record.prompt if prompt is None else prompt, shape, 1, files, run_options)


def _shape(record: Record, path: Path) -> RequestOptions:
    try:
        shape = RequestOptions(**typed_options(record.options))
    except RequestError as error:
        raise RequestError(f"the request in {path} cannot be made by this sa3-edge: {error}") from None
    source = shape.init_audio
    if source is None:
        return shape
    if not source.is_file():
        raise RequestError(f"{path} was made from {source}, which is not there any more")
    if sha256_of(source) != record.source_sha256:
        raise RequestError(f"{path} was made from {source}, which has changed since")
    return shape


def _differences(record: Record, options: generate.RunOptions) -> list[str]:
    """In what a new rendering differs from the original's circumstances."""
    differences = []
    bundle = Bundle.load(resolve_model(options.model))
    if bundle.id != record.bundle:
        differences.append(
            f"the model differs: {bundle.manifest.model.name} ({bundle.id[:12]}), "
            f"the original's was {record.model_name} ({record.bundle[:12]})"
        )
    engine = create_engine(options.engine, EngineOptions(compute_units=options.compute_units)).describe()
    if engine != record.engine_version:
        differences.append(f"the engine differs: {engine}, the original's was {record.engine_version}")
    return differences
