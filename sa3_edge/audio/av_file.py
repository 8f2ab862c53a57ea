"""Recordings that libsndfile does not read, AAC in .m4a and the sound of films, by PyAV (extra `m4a`)."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import Remedy, RequestError

Array = NDArray[np.float32]
SUFFIXES = frozenset({".m4a", ".m4b", ".mp4", ".mov", ".aac", ".webm", ".mka", ".mkv", ".wma"})


def load_av(path: Path) -> Any:
    """The library. Raises RequestError if it is not installed."""
    try:
        return import_module("av")
    except ModuleNotFoundError:
        raise RequestError(
            f"{path} can be read by PyAV, which is not installed", remedy=Remedy("install extra", ("m4a",))
        ) from None


def av_blocks(path: Path) -> Iterator[tuple[int, Array]]:
    """The first sound of a file in blocks: samples a second, and (n, channels).

    Raises RequestError for a file without sound, and for one that is damaged or of a kind that PyAV does not know.
    """
    av = load_av(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise RequestError(f"there is no sound in {path}")
            as_floats = av.AudioResampler(format="fltp")
            for frame in container.decode(container.streams.audio[0]):
                for part in as_floats.resample(frame):
                    yield part.sample_rate, part.to_ndarray().T
            for part in as_floats.resample(None):
                yield part.sample_rate, part.to_ndarray().T
    except av.FFmpegError as error:
        raise RequestError(
            f"{path} cannot be read as audio: {error.strerror or error}; convert it to wav or flac"
        ) from None
