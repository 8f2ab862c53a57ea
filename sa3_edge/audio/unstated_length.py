"""Recordings whose header does not say how long they are: FLAC written to a pipe, MP3 without a Xing header."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_UNKNOWN = 2**63 - 1  # libsndfile's count of frames where a header has none
_BLOCK = 1152  # an MP3 frame: no more is lost of a file that ends within one
_CLAIM = 64  # more than any bit rate over any other


def states_length(path: Path, info: Any) -> bool:
    """Whether the count of frames in soundfile's `info` is what the header says, neither unknown nor an estimate."""
    return _has_xing_header(path) if info.format == "MP3" else bool(info.frames != _UNKNOWN)


def decode_blocks(path: Path, format_name: str) -> Iterator[NDArray[np.float32]]:
    """All of a file in blocks (n, channels), whatever its header says of its length.

    format_name: libsndfile's. Raises soundfile.SoundFileError for a damaged file.
    """
    import soundfile

    class Stream(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False  # else soundfile seeks after each read, and cannot to an end that is unknown

    with _LongerFile(path) as raw, Stream(raw if format_name == "MP3" else path) as file:
        while True:
            try:
                block = file.read(_BLOCK, dtype="float32", always_2d=True)
            except soundfile.SoundFileError:
                if raw.at_end():
                    return  # within an MP3 frame, as radio that was recorded
                raise
            yield block
            if len(block) < _BLOCK:
                return


class _LongerFile(io.FileIO):
    """A file that claims to be longer than it is: libsndfile reads an MP3 only to where it estimates the end."""

    _asked_size = False

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._asked_size = (offset, whence) == (0, os.SEEK_END)
        return super().seek(offset, whence)

    def tell(self) -> int:
        return super().tell() * (_CLAIM if self._asked_size else 1)

    def at_end(self) -> bool:
        return super().tell() == os.fstat(self.fileno()).st_size


def _has_xing_header(path: Path) -> bool:
    """Whether the first frame of an MP3 file is a header with the count of frames."""
    with path.open("rb") as file:
        head = file.read(10)
        while head[:3] == b"ID3":
            size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
            file.seek(size, os.SEEK_CUR)
            head = file.read(10)
        frame = head + file.read(64)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    flags = frame[place + 7 : place + 8]
    return place >= 0 and flags != b"" and flags[0] & 1 == 1
