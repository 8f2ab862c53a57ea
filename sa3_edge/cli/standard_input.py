"""`--init-audio -`: a recording on standard input."""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sa3_edge.clips.options import ClipOptions
from sa3_edge.errors import RequestError, Sa3Error

STDIN = Path("-")
# What files begin with, at which byte; what says nothing of itself is called as most of them are.
_KINDS = (
    (0, b"RIFF", ".wav"),
    (0, b"fLaC", ".flac"),
    (0, b"OggS", ".ogg"),
    (0, b"ID3", ".mp3"),
    (0, b"FORM", ".aiff"),
    (4, b"ftyp", ".m4a"),
)
_BLOCK = 1 << 20
_kept: list[TemporaryDirectory[str]] = []  # until the process ends: recordings are read when they are needed


def with_recording_read(options: ClipOptions) -> ClipOptions:
    """The same with what comes on standard input in a file, if `init_audio` is "-". Raises RequestError."""
    if options.init_audio != STDIN:
        return options
    if sys.stdin is None or sys.stdin.isatty():
        raise RequestError("--init-audio - reads a recording from standard input, and there is none; pipe one in")
    folder = TemporaryDirectory(prefix="sa3-edge-")
    _kept.append(folder)
    path = Path(folder.name, "stdin.mp3")
    try:
        with path.open("wb") as file:
            while block := sys.stdin.buffer.read(_BLOCK):
                file.write(block)
    except OSError as error:
        raise Sa3Error(f"standard input cannot be kept: {error.strerror or error}") from error
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise RequestError("--init-audio -: standard input is empty")
    suffix = next((suffix for at, magic, suffix in _KINDS if head[at:].startswith(magic)), path.suffix)
    return replace(options, init_audio=path.rename(path.with_suffix(suffix)))
