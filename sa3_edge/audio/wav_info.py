"""Text in a WAV file: the LIST chunk INFO of RIFF, of any length; libsndfile neither writes nor reads over 2 kB."""

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

_HEADER = struct.Struct("<4sI")  # a chunk's name and size


def append_info(file: BinaryIO, texts: Mapping[str, str]) -> None:
    """Append a chunk with `texts`, by RIFF's names (INAM, ICMT), to a whole WAV file open for reading and writing."""
    fields = b"".join(_chunk(name, text.encode("utf-8", "replace") + b"\0") for name, text in texts.items() if text)
    end = file.seek(0, 2)
    file.write(b"\0" * (end % 2) + _chunk("LIST", b"INFO" + fields))
    end = file.tell()
    file.seek(4)
    file.write(struct.pack("<I", end - _HEADER.size))


def read_info(file: BinaryIO) -> dict[str, str]:
    """The texts in a file open for reading, by RIFF's names; none if it is no WAV file."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return {}
    texts = {}
    for name, size in _chunks(file):
        if name == b"LIST" and file.read(4) == b"INFO":
            start = file.tell()
            for field, length in _chunks(file, start + size - 4):
                texts[field.decode("ascii", "replace")] = file.read(length).split(b"\0")[0].decode("utf-8", "replace")
    return texts


def _chunk(name: str, content: bytes) -> bytes:
    """Chunks begin at even places; their sizes do not count what fills up."""
    return _HEADER.pack(name.encode("ascii"), len(content)) + content + b"\0" * (len(content) % 2)


def _chunks(file: BinaryIO, end: int | None = None) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk from here to `end`; the file stands at its content, and may be moved."""
    position = file.tell()
    while end is None or position < end:
        file.seek(position)
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return
        name, size = _HEADER.unpack(head)
        yield name, size
        position += _HEADER.size + size + size % 2
