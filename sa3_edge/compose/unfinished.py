"""Passes of a piece that is not finished yet, on disk: an interrupted run goes on where it was, to the same samples."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from sa3_edge.errors import Sa3Error
from sa3_edge.files import whole_file

Array = NDArray[np.float32]
KEPT_DAYS = 7
_BLOCK = 1 << 16


class Unfinished:
    """What is kept of one piece: a file a pass, fp32 samples of all channels, in a folder of the user's cache."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> "Unfinished":
        """What is kept for this request, which says all that the samples depend on. Forgets what is a week old.

        Raises Sa3Error if the cache cannot be written.
        """
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]
        folder = user_cache_path("sa3-edge") / "unfinished" / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for other in folder.parent.iterdir():
                with suppress(OSError):  # another process was first
                    if other != folder and other.stat().st_mtime < time.time() - KEPT_DAYS * 24 * 3600:
                        shutil.rmtree(other, ignore_errors=True)
        except OSError as error:
            raise Sa3Error(f"the cache folder {folder.parent} cannot be written: {error.strerror}") from error
        return cls(folder)

    def read(self, index: int, channels: int, samples: int) -> Iterator[Array] | None:
        """A pass in pieces (channels, n), if all its samples are there."""
        path = self._path(index)
        try:
            if path.stat().st_size != 4 * channels * samples:
                return None
        except OSError:
            return None
        return self._blocks(path, channels, samples)

    def keeping(self, index: int, pieces: Iterator[Array]) -> Iterator[Array]:
        """The pieces of a pass, which is kept when all have come. Raises Sa3Error if it cannot be."""
        with whole_file(self._path(index)) as temporary, temporary.open("wb") as file:
            for piece in pieces:
                file.write(np.ascontiguousarray(piece.T, "<f4").tobytes())
                yield piece

    def forget(self) -> None:
        """Delete all of it: the piece is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:04d}.f32"

    def _blocks(self, path: Path, channels: int, samples: int) -> Iterator[Array]:
        with path.open("rb") as file:
            for start in range(0, samples, _BLOCK):
                count = min(_BLOCK, samples - start)
                data = np.frombuffer(file.read(4 * channels * count), "<f4").reshape(count, channels)
                yield np.ascontiguousarray(data.T, np.float32)
