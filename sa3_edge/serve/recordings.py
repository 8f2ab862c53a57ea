"""Recordings that clients upload to be edited: checked, and kept under their content's hash."""

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sa3_edge.audio.recording import AudioSource
from sa3_edge.audio.unstated_length import decode_blocks, states_length
from sa3_edge.errors import RequestError, Sa3Error

_PREFIX = "rec-"
_UNFINISHED = ".upload-"
_CHUNK = 1 << 20
LONGEST_SECONDS = 1800.0
# Of all channels together: eight channels at 48 kHz, or two at 192 kHz. What a few kilobytes of FLAC can claim beyond
# that would fill memory when it is read.
MOST_SAMPLES_A_SECOND = 400_000
SUFFIXES = {"WAV": "wav", "WAVEX": "wav", "FLAC": "flac", "OGG": "ogg", "MPEG": "mp3", "MP3": "mp3", "AIFF": "aiff"}


class FolderFullError(Sa3Error):
    """All recordings together take as much as they may."""


@dataclass(frozen=True)
class Recording:
    """An uploaded recording."""

    id: str
    path: Path
    seconds: float
    sample_rate: int
    channels: int
    bytes: int


class Recordings:
    """Uploads in a folder of their own, beside the clips."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.path, self._most_bytes = folder, most_bytes

    def add(self, upload: BinaryIO) -> Recording:
        """Keep an upload, once however often it comes.

        Raises RequestError if it is no audio that can be edited, FolderFullError if there is no room.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path, prefix=_UNFINISHED)
        except OSError as error:
            raise Sa3Error(f"recordings cannot be kept in {self.path}: {error.strerror or error}") from error
        temporary = Path(name)
        try:
            digest = hashlib.sha256()
            with os.fdopen(handle, "wb") as file:
                while chunk := upload.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            suffix = _check(temporary)
            stem = digest.hexdigest()[:32]
            target = self.path / f"{stem}.{suffix}"
            if not target.exists():
                if self._size() + temporary.stat().st_size > self._most_bytes:
                    raise FolderFullError(
                        f"{self.path} holds {self._most_bytes >> 20} MB of recordings already; delete some of them"
                    )
                temporary.replace(target)
            return self._describe(target)
        except OSError as error:
            raise Sa3Error(f"the recording cannot be kept: {error.strerror or error}") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete uploads that a killed server was in the middle of. One server uses a folder at a time."""
        with suppress(OSError):
            for path in self.path.glob(f"{_UNFINISHED}*"):
                path.unlink(missing_ok=True)

    def find(self, recording_id: str) -> Recording | None:
        """The recording of this id."""
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and _PREFIX + Path(entry.name).stem == recording_id:
                    return self._describe(Path(entry.path))
        return None

    def _describe(self, path: Path) -> Recording:
        source = AudioSource.from_file(path)
        return Recording(
            _PREFIX + path.stem,
            path,
            source.frames / source.rate,
            source.rate,
            source.channels,
            path.stat().st_size,
        )

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self.path.glob("[!.]*") if path.is_file())


def _check(path: Path) -> str:
    """The suffix for a recording that is no more than it should be. Raises RequestError."""
    import soundfile

    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        raise RequestError(
            "this is no recording that can be read; wav, flac, ogg, opus, mp3 and aiff can (AAC as in .m4a cannot)"
        ) from None
    if info.samplerate < 1000 or info.channels < 1 or info.samplerate * info.channels > MOST_SAMPLES_A_SECOND:
        raise RequestError(
            f"the recording has {info.channels} channels at {info.samplerate} Hz; at least 1000 Hz and together at "
            f"most {MOST_SAMPLES_A_SECOND} samples a second can be edited"
        )
    most = int(LONGEST_SECONDS * info.samplerate)
    counted = info.frames
    try:
        if not states_length(path, info):
            # No farther than is allowed, whatever there is.
            counted = 0
            for block in decode_blocks(path, info.format):
                counted += len(block)
                if counted > most:
                    break
    except soundfile.SoundFileError as error:
        raise RequestError(f"the recording is damaged: {error}") from None
    if counted > most:
        raise RequestError(
            f"the recording is longer than {LONGEST_SECONDS / 60:g} minutes; cut out what is to be edited"
        )
    if not counted:
        raise RequestError("the recording is empty: it has no audio")
    return SUFFIXES.get(info.format, "audio")
