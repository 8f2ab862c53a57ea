"""A sound in the format that a client asks for, and its picture."""

from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from sa3_edge.audio.encoding import Tags, encode_audio
from sa3_edge.audio.formats import FORMATS, Encoding, encoding_for, readable
from sa3_edge.audio.picture import Picture, picture_of
from sa3_edge.clips.record import encode_record, read_record
from sa3_edge.errors import RequestError

Array = NDArray[np.float32]
MEDIA_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
}
_ACCEPTED = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
assert MEDIA_TYPES.keys() == FORMATS.keys()


def accepted(accept: str) -> str | None:
    """The format that an Accept header prefers, None if what is stored is as good."""
    best: tuple[float, str | None] = (0.0, None)
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if "codecs=opus" in part and media == "audio/ogg":
            media = "audio/opus"
        format = _ACCEPTED.get(media)
        if (format is not None or "*" in media) and quality > best[0]:
            best = (quality, format)
    return best[1]


def samples_of(path: Path) -> tuple[Array, int]:
    """A clip's samples (channels, n) and its rate. Raises RequestError if it cannot be read."""
    import soundfile

    with readable(path):
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.ascontiguousarray(audio.T), rate


def transcoded(path: Path, format: str) -> bytes:
    """A clip in another format, with its record. Raises RequestError, Sa3Error."""
    audio, rate = samples_of(path)
    return encode_audio(audio, rate, encoding_for(format, None), _tags(path))[0]


def _tags(path: Path) -> Tags:
    try:
        record = read_record(path)
    except RequestError:  # an uploaded recording
        return Tags(path.stem, "sa3-edge", "")
    return Tags(record.prompt[:100], f"sa3-edge {record.version}", encode_record(record))


def as_asked(path: Path, format: str, rate: int) -> bytes:
    """A clip as ElevenLabs' names of formats ask: wav, mp3 or opus files, or bare samples of 16 bits ("pcm")."""
    audio, stored_rate = samples_of(path)
    if rate != stored_rate:
        audio = soxr.resample(audio.T, stored_rate, rate, quality="VHQ").T.astype(np.float32)
    if format == "pcm":
        return np.clip(np.rint(audio.T * 32768), -32768, 32767).astype("<i2").tobytes()
    return encode_audio(audio, rate, Encoding(format, "16" if format == "wav" else ""), _tags(path))[0]


def drawn(path: Path, mtime_ns: int, columns: int, bands: int) -> tuple[float, Picture]:
    """A sound's length in seconds and its picture. `mtime_ns` tells versions of a file apart for whoever caches."""
    return picture_of(path, columns, bands)
