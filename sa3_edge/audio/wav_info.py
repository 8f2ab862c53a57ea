"""WAV files in one pass: the header first, whole, then samples, then the chunks that say what the file is.

libsndfile goes back to the header when all is written, which a pipe cannot, and has no room for texts over 2 kB.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from sa3_edge.errors import RequestError

_HEADER = struct.Struct("<4sI")  # a chunk's name and size
_PCM, _FLOAT = 1, 3
_LARGEST = 2**32 - 1
_UNKNOWN = 2**31 - 1  # sizes from here on stand for "as long as it goes"; ffmpeg and sox each have their own
_LONGEST_TEXT = 16 << 20  # bytes that are read of one
_MOST_CHUNKS = 10_000


def wav_head(samples: int, channels: int, rate: int, bits: str, after: bytes) -> bytes:
    """All of a file before its samples, "16", "24" or "float" of them; `after` is what will follow them.

    Raises RequestError for more than the format can hold.
    """
    width = {"16": 2, "24": 3, "float": 4}[bits]
    kind = _FLOAT if bits == "float" else _PCM
    described = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width)
    head = _chunk("fmt ", described + (struct.pack("<H", 0) if kind == _FLOAT else b""))
    if kind == _FLOAT:
        head += _chunk("fact", struct.pack("<I", samples))
    size = samples * channels * width
    whole = len(b"WAVE") + len(head) + _HEADER.size + size + size % 2 + len(after)
    if whole > _LARGEST:
        raise RequestError(f"{samples / rate:.0f} s of {bits}-bit sound are more than a wav file holds; choose flac")
    return _HEADER.pack(b"RIFF", whole) + b"WAVE" + head + _HEADER.pack(b"data", size)


def info_chunk(texts: Mapping[str, str]) -> bytes:
    """The chunk INFO with `texts`, by RIFF's names (INAM, ICMT); nothing if all are empty."""
    fields = b"".join(_chunk(name, text.encode("utf-8", "replace") + b"\0") for name, text in texts.items() if text)
    return _chunk("LIST", b"INFO" + fields) if fields else b""


def xmp_chunk(packet: bytes) -> bytes:
    """The chunk that an XMP packet lies in."""
    return _chunk("_PMX", packet)


def smpl_chunk(samples: int, rate: int) -> bytes:
    """Loop points, as samplers and game engines read them: all of the file, over and over."""
    middle_c, forward, for_ever = 60, 0, 0
    head = struct.pack("<9I", 0, 0, round(1e9 / rate), middle_c, 0, 0, 0, 1, 0)
    return _chunk("smpl", head + struct.pack("<6I", 0, forward, 0, samples - 1, 0, for_ever))


def acid_chunk(bpm: float, beats: int, meter: int, *, loop: bool) -> bytes:
    """Tempo and length in beats, as DAWs read them; `beats` 0 where the length is no number of them."""
    one_shot, stretch = 1, 4
    kind = stretch if loop else one_shot
    return _chunk("acid", struct.pack("<IHHfIHHf", kind, 60, 0x8000, 0.0, beats, 4, meter, bpm))


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
                text = file.read(min(length, _LONGEST_TEXT))
                texts[field.decode("ascii", "replace")] = text.split(b"\0")[0].decode("utf-8", "replace")
    return texts


def missing_share(file: BinaryIO) -> float:
    """How much of the samples that a WAV file's header promises is not there, 0 to 1; 0 if it is no WAV file.

    A header written before the end was known promises nothing: its size is 0 or the largest there is.
    """
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return 0.0
    for name, size in _chunks(file):
        if name == b"data":
            here = file.tell()
            there = file.seek(0, 2) - here
            return 1 - there / size if there < size < _UNKNOWN else 0.0
    return 0.0


def _chunk(name: str, content: bytes) -> bytes:
    """Chunks begin at even offsets; their sizes leave out the padding byte."""
    return _HEADER.pack(name.encode("ascii"), len(content)) + content + b"\0" * (len(content) % 2)


def _chunks(file: BinaryIO, end: int | None = None) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk from here to `end`; the file stands at its content, and may be moved."""
    position = file.tell()
    for _ in range(_MOST_CHUNKS):
        if end is not None and position >= end:
            return
        file.seek(position)
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return
        name, size = _HEADER.unpack(head)
        yield name, size
        position += _HEADER.size + size + size % 2
