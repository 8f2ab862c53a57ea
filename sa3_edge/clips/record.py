"""The whole request inside the file: what it takes to render a clip again, as JSON in the comment tag."""

import json
from pathlib import Path
from typing import Any

import msgspec

from sa3_edge.audio.encoding import readable
from sa3_edge.audio.wav_info import read_info
from sa3_edge.errors import RequestError

_KEY = "sa3-edge"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """How a clip was made.

    model: as it was named on the command line; bundle: the bundle's id; options: the command's options by name,
    with the values that were drawn or taken from the model; source_sha256: of the recording, if one was edited.
    Fields that later versions add are ignored.
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


def encode_record(record: Record) -> str:
    """The comment tag: JSON in ASCII, which the tags of every format carry unchanged."""
    return json.dumps({_KEY: msgspec.to_builtins(record)}, ensure_ascii=True, separators=(",", ":"))


def read_record(path: Path) -> Record:
    """The record in a sound file. Raises RequestError if there is none."""
    import soundfile

    if not path.is_file():
        raise RequestError(f"{path} does not exist")
    with readable(path), soundfile.SoundFile(path) as file:
        comment: str = file.comment
    with path.open("rb") as raw:
        comment = read_info(raw).get("ICMT", comment)
    try:
        return msgspec.json.decode(comment, type=dict[str, Record])[_KEY]
    except (msgspec.MsgspecError, KeyError):
        raise RequestError(f"{path} does not say how it was made: it has no record of sa3-edge") from None
