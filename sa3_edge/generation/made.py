"""What a pipeline makes: a clip, whole or piece by piece, and all that is known of it."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.encoding import Tags, write_audio
from sa3_edge.audio.formats import encoding_for
from sa3_edge.errors import RequestError
from sa3_edge.files import check_writable
from sa3_edge.generation.sampling import Latents

Array = NDArray[np.float32]
_LONGEST_TITLE = 100


@dataclass(frozen=True, kw_only=True)
class _Facts:
    sample_rate: int
    latents: Latents
    seed: int
    seconds: float
    steps: int
    headroom: float
    cfg: float
    timings: dict[str, float]
    notes: list[str] = field(default_factory=list)
    prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class Generation(_Facts):
    """What was made.

    audio: (channels, N) fp32, N = int(seconds * sample_rate); without the limiter peaks may exceed 1
    latents: (1, C, T) fp32, T the valid frames with the headroom
    timings: seconds by stage, e.g. "denoiser.load", "denoiser.run", and "total"
    notes: what the caller should know, e.g. that the prompt was cut
    """

    audio: Array

    def save(
        self, path: str | os.PathLike[str], *, bits: Literal["16", "24", "float"] | None = None, overwrite: bool = False
    ) -> Path:
        """Write the audio, as wav, flac, ogg, opus or mp3 by the name; with the prompt as title, and the mark that a
        machine made it.

        It cannot be made again by its tags, as what `render` writes can. `bits`: 24 by default, of formats that have
        them. Raises RequestError for an unknown format and a file that is there, Sa3Error if it cannot be written.
        """
        path = Path(path)
        encoding = encoding_for(path.suffix, bits)
        if path.exists() and not overwrite:
            raise RequestError(f"{path} exists and is not replaced; `overwrite: true` does")
        check_writable(path)
        title = self.prompt if len(self.prompt) <= _LONGEST_TITLE else f"{self.prompt[: _LONGEST_TITLE - 3]}..."
        tags = Tags(title=title, software=f"sa3-edge {version('sa3-edge')}", marked=True)
        write_audio(path, self.audio, self.sample_rate, encoding, tags)
        return path


@dataclass(frozen=True, kw_only=True)
class Stream(_Facts):
    """A clip while it is decoded: its pieces, in order, once.

    Iterating yields (channels, n) fp32 that join to exactly what `Pipeline.generate` gives as audio; the first comes
    when a tile is decoded. What else is known of the clip is known before: `samples` is its length, the other names
    are Generation's. `timings` are complete at the end; "first_piece" is the time from the start to the first piece.

    decode: from a latent frame on, the clip's pieces
    start: when the work on it began, by time.perf_counter
    free, ended: called when it breaks off, and when it ends in any way
    """

    samples: int
    channels: int
    decode: Callable[[int], Iterator[Array]] = field(repr=False)
    start: float = field(repr=False)
    free: Callable[[], None] = field(repr=False)
    ended: Callable[[], None] = field(default=lambda: None, repr=False)

    @classmethod
    def of(cls, pieces: Iterator[Array], **facts: Any) -> "Stream":
        """A clip whose time begins now, of pieces that are made as they are asked for."""
        return cls(decode=lambda first: pieces, start=time.perf_counter(), **facts)

    def __iter__(self) -> Iterator[Array]:
        return self.pieces()

    def pieces(self, first: int = 0) -> Iterator[Array]:
        """From latent frame `first` on, a multiple of the decoder's window; 0 is what iterating gives."""
        try:
            for piece in self.decode(first):
                self.timings.setdefault("first_piece", time.perf_counter() - self.start)
                yield piece
            self.timings["total"] = time.perf_counter() - self.start
        except BaseException:  # of a callback, or a caller that wants no more: not left to the garbage collector
            self.free()
            raise
        finally:
            self.ended()

    def replaced(self, pieces: Iterator[Array], samples: int, **others: Any) -> "Stream":
        """The same clip with other audio, `samples` long; `others`: further fields to replace."""
        return replace(self, decode=lambda first: pieces, samples=samples, **others)

    def whole(self) -> Generation:
        """All pieces joined."""
        audio = np.empty((self.channels, self.samples), np.float32)
        written = 0
        for piece in self:
            audio[:, written : written + piece.shape[-1]] = piece
            written += piece.shape[-1]
        return Generation(audio=audio, **{each.name: getattr(self, each.name) for each in fields(_Facts)})
