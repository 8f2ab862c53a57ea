"""Passes of a piece that is not finished yet, on disk: an interrupted run goes on where it was, to the same samples."""

import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
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
    """What is kept of one piece: a pass's samples (fp32) and last latents, in a folder of the user's cache."""

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

    def read(self, index: int, channels: int, samples: int) -> tuple[Array | None, Iterator[Array]] | None:
        """A kept pass: latents that the next one continues, and its pieces (channels, n); None if it is not whole."""
        path, latents = self._path(index), None
        try:
            if path.stat().st_size != 4 * channels * samples:
                return None
            if self._latents(index).exists():
                latents = np.load(self._latents(index), allow_pickle=False)
        except (OSError, ValueError):
            return None
        return latents, self._blocks(path, channels, samples)

    def keeping(self, index: int, pieces: Iterator[Array], latents: Callable[[], Array | None]) -> Iterator[Array]:
        """Yield the pieces of a pass; when all have come, keep it and what `latents` then returns.

        Raises Sa3Error if it cannot be.
        """
        with whole_file(self._path(index)) as temporary, temporary.open("wb") as file:
            for piece in pieces:
                file.write(np.ascontiguousarray(piece.T, "<f4").data)
                yield piece
            handed_on = latents()
            if handed_on is not None:
                written = io.BytesIO()
                np.save(written, handed_on)
                with whole_file(self._latents(index)) as beside:
                    beside.write_bytes(written.getvalue())

    def forget(self) -> None:
        """Delete all of it: the piece is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:04d}.f32"

    def _latents(self, index: int) -> Path:
        return self.folder / f"{index:04d}.npy"

    def _blocks(self, path: Path, channels: int, samples: int) -> Iterator[Array]:
        with path.open("rb") as file:
            for start in range(0, samples, _BLOCK):
                count = min(_BLOCK, samples - start)
                data = np.frombuffer(file.read(4 * channels * count), "<f4").reshape(count, channels)
                yield np.ascontiguousarray(data.T, np.float32)
