"""Sound files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import RequestError, Sa3Error

_BITS = 24
_FULL_SCALE = 2 ** (_BITS - 1)


def check_destination(path: Path) -> None:
    """Raise RequestError if a file cannot be made at `path`; asked before work that would be lost."""
    if path.is_dir():
        raise RequestError(f"{path} is a directory; name a file")
    if not path.parent.is_dir():
        raise RequestError(f"the directory {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise RequestError(f"the directory {path.parent} is not writable")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when the block ends well, and is removed otherwise."""
    check_destination(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files
        temporary.replace(path)
    except OSError as error:
        raise Sa3Error(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_wav(path: Path, audio: NDArray[np.float32], sample_rate: int, comment: str = "") -> int:
    """Write audio (channels, N) in [-1, 1] as 24-bit WAV. Returns how many samples were outside and are clipped.

    Integers are made here, by a power of two: a sample read from a 16 or 24-bit file is written back bit for bit.
    """
    import soundfile

    scaled = np.rint(audio.T.astype(np.float64) * _FULL_SCALE)
    clipped = int(np.count_nonzero((scaled < -_FULL_SCALE) | (scaled > _FULL_SCALE - 1)))
    integers = np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int32) << (32 - _BITS)
    with whole_file(path) as temporary:
        try:
            channels = audio.shape[0]
            with soundfile.SoundFile(temporary, "w", sample_rate, channels, subtype="PCM_24", format="WAV") as file:
                if comment:
                    file.comment = comment
                file.write(integers)
        except soundfile.SoundFileError as error:
            raise Sa3Error(f"{path} cannot be written: {error}") from error
    return clipped
