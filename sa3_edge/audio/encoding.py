"""Sound files that appear whole or not at all, in the format that their name asks for."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.wav_info import append_info
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.files import whole_file

Array = NDArray[np.float32]
_BLOCK = 1 << 16  # libsndfile's Vorbis encoder overflows its stack on one long write
_OPUS_RATE = 48_000  # the only one near 44 100 Hz that Opus has

_FORMAT_NOT_RECOGNISED = 1  # libsndfile's code
_UNKNOWN_FORMAT = (
    "its format is unknown (wav, flac, ogg, opus, mp3, aiff, caf and others are known, AAC as in .m4a is not); "
    "convert it to wav or flac"
)


@dataclass(frozen=True)
class Format:
    """A file format: libsndfile's container, and its subtype by bit depth ("" where there is none).

    longest_comment: bytes that the comment tag takes, None for any number
    """

    container: str
    subtypes: dict[str, str]
    longest_comment: int | None = None


FORMATS = {
    "wav": Format("WAV", {"24": "PCM_24", "16": "PCM_16", "float": "FLOAT"}),
    "flac": Format("FLAC", {"24": "PCM_24", "16": "PCM_16"}, 16_000_000),
    "ogg": Format("OGG", {"": "VORBIS"}),
    "opus": Format("OGG", {"": "OPUS"}, 51_000),
    "mp3": Format("MP3", {"": "MPEG_LAYER_III"}),
}


@dataclass(frozen=True)
class Encoding:
    """How samples are stored: a key of FORMATS, and a bit depth of it ("" for lossy formats)."""

    format: str
    bits: str


@dataclass(frozen=True)
class Tags:
    """What a file says of itself; `comment` carries the request, see clips/record.py."""

    title: str
    software: str
    comment: str


def encoding_for(suffix: str, bits: str | None) -> Encoding:
    """The encoding for a file's suffix (".flac") or a format's name. Raises RequestError."""
    name = suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise RequestError(f"{suffix or 'a file without suffix'} is no known format; choose {', '.join(FORMATS)}")
    depths = FORMATS[name].subtypes
    if bits is None:
        return Encoding(name, next(iter(depths)))
    if bits not in depths:
        choices = " or ".join(filter(None, depths))
        raise RequestError(f"{name} cannot store {bits} bits; " + (f"choose {choices}" if choices else "it is lossy"))
    return Encoding(name, bits)


def stored_bits(path: Path) -> str | None:
    """The bit depth of a readable sound file, as in FORMATS; None for one that is lossy or of another kind."""
    import soundfile

    subtype = soundfile.info(path).subtype
    depths = (depth for kind in FORMATS.values() for depth, name in kind.subtypes.items() if depth and name == subtype)
    return next(depths, None)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise RequestError, with what to do, where the block finds that soundfile cannot read `path`."""
    import soundfile

    if path.suffix.lower() == ".raw":  # samples without a header, of which soundfile would ask us all
        raise RequestError(f"{path} cannot be read as audio: {_UNKNOWN_FORMAT}")
    try:
        yield
    except soundfile.LibsndfileError as error:
        reason = _UNKNOWN_FORMAT if error.code == _FORMAT_NOT_RECOGNISED else error.error_string
        raise RequestError(f"{path} cannot be read as audio: {reason}") from None


def check_comment(encoding: Encoding, size: int) -> None:
    """Raise RequestError if a comment tag of `size` bytes does not fit; asked before work that would be lost."""
    longest = FORMATS[encoding.format].longest_comment
    if longest is not None and size > longest:
        roomier = ", ".join(name for name, kind in FORMATS.items() if size <= (kind.longest_comment or size))
        raise RequestError(
            f"the request is too long for the tags of a .{encoding.format} file, about {size} bytes of at most "
            f"{longest}; shorten the prompt or choose {roomier}"
        )


def write_audio(path: Path, audio: Array, sample_rate: int, encoding: Encoding, tags: Tags) -> int:
    """Write audio (channels, N) to `path`. Returns how many samples were beyond full scale and are clipped.

    Raises Sa3Error if it cannot be written.
    """
    with whole_file(path) as temporary:
        # Not by libsndfile: it does not say why it could not write, nor always that it could not.
        data, clipped = encode_audio(audio, sample_rate, encoding, tags)
        temporary.write_bytes(data)
    return clipped


def encode_audio(audio: Array, sample_rate: int, encoding: Encoding, tags: Tags) -> tuple[bytes, int]:
    """As `write_audio`, to bytes. Raises RequestError if the tags do not fit."""
    import soundfile

    check_comment(encoding, len(tags.comment))
    kind = FORMATS[encoding.format]
    subtype = kind.subtypes[encoding.bits]
    if subtype == "OPUS" and sample_rate != _OPUS_RATE:
        import soxr

        audio, sample_rate = soxr.resample(audio.T, sample_rate, _OPUS_RATE, quality="VHQ").T, _OPUS_RATE
    samples, clipped = _quantize(audio, encoding.bits)
    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(
            buffer, "w", sample_rate, audio.shape[0], subtype=subtype, format=kind.container
        ) as file:
            if kind.container != "WAV":
                if tags.title:  # libsndfile refuses an empty one
                    file.title = tags.title
                file.software, file.comment = tags.software, tags.comment
            for start in range(0, len(samples), _BLOCK):
                file.write(samples[start : start + _BLOCK])
    except soundfile.SoundFileError as error:
        raise Sa3Error(f"the audio cannot be encoded: {error}") from error
    if kind.container == "WAV":
        append_info(buffer, {"INAM": tags.title, "ISFT": tags.software, "ICMT": tags.comment})
    return buffer.getvalue(), clipped


def _quantize(audio: Array, bits: str) -> tuple[NDArray[np.int32] | Array, int]:
    """Audio (channels, N) -> what the file takes, (N, channels), and how many samples were clipped.

    Integers are made here, by a power of two: a sample read from a file of that depth is written back bit for bit.
    16 bits are dithered (triangular, one step), but for samples that need no rounding. The dither is the same each
    time, so that the same request gives the same file.
    """
    if bits not in {"16", "24"}:
        beyond = int(np.count_nonzero(np.abs(audio) > 1)) if bits == "" else 0  # floats may exceed full scale
        return np.ascontiguousarray(audio.T), beyond
    full_scale = 2 ** (int(bits) - 1)
    scaled = audio.T.astype(np.float64) * full_scale
    rounded = np.rint(scaled)
    if bits == "16":
        dither = np.random.default_rng(0).random((2, *scaled.shape), np.float32)
        rounded = np.where(scaled == rounded, rounded, np.rint(scaled + dither[0] - dither[1]))
    clipped = int(np.count_nonzero((rounded < -full_scale) | (rounded > full_scale - 1)))
    return np.clip(rounded, -full_scale, full_scale - 1).astype(np.int32) << (32 - int(bits)), clipped
