"""A clip that is heard while it is decoded: pieces on disk as they are made, encoded anew for each who listens.

Who listens slowly reads later; the worker never waits for anybody, and memory stays flat.
"""

import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.encoding import AudioWriter, Tags
from sa3_edge.audio.formats import Encoding

Array = NDArray[np.float32]
_BLOCK = 1 << 15  # samples that are encoded at a time


@dataclass(frozen=True)
class Shape:
    """What is known of a clip before it is made."""

    samples: int
    channels: int
    sample_rate: int


class Live:
    """The pieces of one clip, in a file without a name that goes with the last who holds this."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed when nobody holds it any more
        self._lock = threading.Lock()
        self.frames = 0

    def hear(self, audio: Array, rate: int) -> None:
        """Keep the next piece, (channels, n)."""
        data = np.ascontiguousarray(audio.T, np.float32).tobytes()
        with self._lock:
            self._file.seek(0, os.SEEK_END)
            self._file.write(data)
            self._file.flush()
        self.frames += audio.shape[1]

    def read(self, start: int, count: int) -> Array:
        """Samples (channels, n) from `start` on, no more than there are."""
        count = min(count, self.frames - start)
        size = 4 * self.shape.channels
        with self._lock:
            self._file.seek(start * size)
            data = self._file.read(count * size)
        return np.frombuffer(data, np.float32).reshape(-1, self.shape.channels).T


class Listener:
    """One who listens: encodes what has come since the last time."""

    def __init__(self, live: Live, encoding: Encoding) -> None:
        self._live, self._taken = live, bytearray()
        self._position, self._closed = 0, False
        shape = live.shape
        self._writer = AudioWriter(
            self, shape.sample_rate, shape.channels, shape.samples, encoding, Tags(), patchable=False
        )

    def write(self, data: bytes) -> None:
        """Take bytes from the encoder."""
        self._taken += data

    def news(self) -> Iterator[bytes]:
        """Bytes of a file for what has come, block by block."""
        while self._position < self._live.frames:
            block = self._live.read(self._position, _BLOCK)
            self._position += block.shape[1]
            self._writer.write(block)
            yield self._take()

    def end(self) -> bytes:
        """The last bytes, when all has come."""
        self._closed = True
        self._writer.close()
        return self._take()

    def leave(self) -> None:
        """Listen no more."""
        if not self._closed:
            self._writer.abort()

    def _take(self) -> bytes:
        taken, self._taken = bytes(self._taken), bytearray()
        return taken
