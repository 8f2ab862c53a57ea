"""The whole request inside the file: what it takes to render a clip again, as JSON in the comment tag."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import msgspec

import sa3_edge
from sa3_edge.adapters.lora import AdapterFile
from sa3_edge.adapters.lora_files import LARGEST_FILE
from sa3_edge.adapters.names import installed_adapters
from sa3_edge.audio.av_file import SUFFIXES
from sa3_edge.audio.formats import readable
from sa3_edge.audio.wav_info import read_info
from sa3_edge.clips.options import ClipOptions, as_json
from sa3_edge.clips.request import typed_options
from sa3_edge.errors import RequestError
from sa3_edge.files import entries_of, is_file, sha256_of
from sa3_edge.generation.made import Stream
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.manifest import Adapter
from sa3_edge.models.catalog import PUBLISHED, installed_models, of_bundle

_KEY = "sa3-edge"
_LARGEST_RECORDING = 8 << 30  # bytes that are read to see whether a file is the recording


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """How a clip was made. It names no folder of the one who made it.

    model: the installed name that the model was asked for by, "" for one that lay in a folder; bundle: the bundle's
    id; options: those of ClipOptions without the prompt, with the values that were drawn or taken from the model;
    init_audio is relative to the clip, or a bare name; source_sha256: of that recording; adapters:
    those of `lora`, by name, hash and strength. Fields that later versions
    add are ignored.
    """

    version: str
    mode: str
    prompt: str
    options: dict[str, Any]
    model: str
    model_name: str
    revision: str
    bundle: str
    precision: str
    engine: str
    engine_version: str
    synthetic: bool
    source_sha256: str | None = None
    adapters: list[Adapter] = []


def make_record(
    options: ClipOptions,
    made: Stream,
    pipeline: Pipeline,
    source_sha256: str | None,
    folder: Path | None,
    adapters: Iterable[AdapterFile] = (),
) -> Record:
    """What was asked for, with what the model or chance decided filled in. `folder` is the clip's, if it is a file."""
    settled = as_json(
        replace(
            options,
            seed=made.seed,
            steps=made.steps,
            headroom=made.headroom,
            cfg=made.cfg,
            # Some lengths follow from something else: a recording, the tempo, the sections.
            seconds=None if options.mode == "continuation" or options.bars or options.sections else made.seconds,
        ),
        recorded=True,
    )
    del settled["prompt"]
    if options.init_audio is not None:
        settled["init_audio"] = _as_seen_from(folder, options.init_audio)
    described = [file.described for file in adapters]
    if described:
        settled["lora"] = [f"{each.file}:{each.strength:g}" for each in described]
    manifest = pipeline.bundle.manifest
    engine = pipeline.graphs.engine
    return Record(
        version=sa3_edge.__version__,
        mode=options.mode,
        prompt=options.prompt,
        options=settled,
        model=pipeline.name,
        model_name=manifest.model.name,
        revision=manifest.model.revision,
        bundle=pipeline.bundle.id,
        precision=manifest.graphs["denoiser"].artifacts[engine.format].precision,
        engine=engine.name,
        engine_version=engine.describe(),
        synthetic=manifest.model.synthetic,
        source_sha256=source_sha256,
        adapters=described,
    )


def _as_seen_from(folder: Path | None, recording: Path) -> str:
    """A recording's name in a clip in `folder`: relative where that says nothing of the folders above, else bare."""
    if folder is not None:
        try:
            relative = PurePath(os.path.relpath(recording.resolve(), folder.resolve()))
        except ValueError:  # another drive
            return recording.name
        named = [part for part in relative.parts if part != os.pardir]
        if len(named) == 1 or named == list(relative.parts):
            return relative.as_posix()
    return recording.name


def encode_record(record: Record) -> str:
    """The comment tag: JSON in ASCII, which the tags of every format carry unchanged."""
    return json.dumps({_KEY: msgspec.to_builtins(record)}, ensure_ascii=True, separators=(",", ":"))


def read_record(path: Path) -> Record:
    """The record in a sound file. Raises RequestError if there is none."""
    import soundfile

    if not is_file(path):
        raise RequestError(f"{path} does not exist")
    with readable(path), soundfile.SoundFile(path) as file:
        comment: str = file.comment
    with path.open("rb") as raw:
        comment = read_info(raw).get("ICMT", comment)
    try:
        return msgspec.json.decode(comment, type=dict[str, Record])[_KEY]
    except (msgspec.MsgspecError, KeyError, RecursionError):
        raise RequestError(f"{path} does not say how it was made: it has no record of sa3-edge") from None


def recorded_options(record: Record, clip: Path) -> ClipOptions:
    """The options of a record, as it stands: `init_audio` is what the record says, see `find_recording`.

    Raises RequestError for options that this version does not know.
    """
    try:
        return ClipOptions(**{**typed_options(record.options), "prompt": record.prompt})
    except RequestError as error:
        raise RequestError(f"the request in {clip} cannot be made by this sa3-edge: {error}") from None


def model_of(record: Record, path: Path) -> str:
    """What to load for a clip: the model by its name, else what is installed of the same bundle.

    Anyone may have written a clip, so it has no bundle run that lies in a folder. Raises RequestError.
    """
    installed, model = installed_models(), record.model
    if model in installed:
        return model
    same = of_bundle(record.bundle, installed.values())
    if same is not None:
        return next(name for name, folder in installed.items() if folder == same)
    if model in PUBLISHED and not Path(model).exists():
        return model  # not installed, which loading says
    raise RequestError(
        f"{path} was made by a bundle that is not installed, {record.model_name} ({record.bundle[:12]}); "
        "name its folder: `model`"
    )


def find_recording(record: Record, recording: Path, clip: Path) -> Path:
    """Where the recording that a clip was made from lies now: in the clip's folder or below it, or here, by its hash.

    Anyone may have written the clip: nothing is opened that lies elsewhere, and nothing that is no sound file is read.
    Raises RequestError if it is gone or was changed.
    """
    changed = None
    for path in _places(recording, clip):
        if not _may_be_read(path):
            continue
        if sha256_of(path) == record.source_sha256:
            return path
        if path.name == _bare(recording):
            changed = changed or path
    if changed is not None:
        raise RequestError(f"{clip} was made from {changed}, which has changed since")
    raise RequestError(
        f"{clip} was made from {recording}, which is not there any more, beside it or here; name it: `init_audio`"
    )


def find_adapters(record: Record, clip: Path) -> list[str]:
    """Where the adapters that a clip was made with lie now, as `lora` names them: beside the clip, here or installed.

    Raises RequestError if one is gone or was changed.
    """
    return [f"{_find_adapter(adapter, clip)}:{adapter.strength!r}" for adapter in record.adapters]


def _find_adapter(adapter: Adapter, clip: Path) -> Path:
    name = _bare(Path(adapter.file))
    for folder in dict.fromkeys((clip.parent, Path())):
        others = (path for path in entries_of(folder) if path.suffix.lower() == ".safetensors" and path.name != name)
        for path in (folder / name, *others):
            with suppress(OSError):
                if is_file(path) and path.stat().st_size <= LARGEST_FILE and sha256_of(path) == adapter.sha256:
                    return path
    for path in installed_adapters().values():
        with suppress(OSError):
            if sha256_of(path) == adapter.sha256:
                return path
    raise RequestError(
        f"{clip} was made with the adapter {adapter.file}, which is not there any more as it was, beside it or here; "
        "name it: `lora`"
    )


def _bare(recording: Path) -> str:
    return PureWindowsPath(recording).name  # it knows both kinds of slashes, wherever the clip was made


def _places(recording: Path, clip: Path) -> Iterator[Path]:
    """Where to look, the likeliest first."""
    parts = PureWindowsPath(recording)
    if not (parts.drive or parts.root or ".." in parts.parts):
        yield clip.parent / recording
    yield clip.parent / _bare(recording)
    yield Path(_bare(recording))
    with suppress(OSError):
        for path in sorted(clip.parent.iterdir()):
            if path.suffix.lower() == recording.suffix.lower() and path.name != clip.name:
                yield path


def _may_be_read(path: Path) -> bool:
    """Whether it is a sound file of a size that recordings have; hashing a disk's image takes long."""
    import soundfile

    try:
        if not path.is_file() or not 0 < path.stat().st_size <= _LARGEST_RECORDING:
            return False
        if path.suffix.lower() not in SUFFIXES:
            with readable(path):
                soundfile.info(path)
    except (OSError, ValueError):  # such as a name that is too long; RequestError is a ValueError
        return False
    return True
