"""Sound files that appear whole or not at all, in the format that their name asks for."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.mark import PLACEHOLDER, PassedOn, mark_mp3, xmp_packet
from sa3_edge.audio.wav_info import info_chunk, wav_head, xmp_chunk
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
    """What a file says of itself; `comment` carries the request, see clips/record.py.

    marked: whether it says that a machine made the sound, see mark.py
    """

    title: str = ""
    software: str = ""
    comment: str = ""
    marked: bool = False


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
    with whole_file(path) as temporary, temporary.open("wb") as file:
        return _write_all(file, audio, sample_rate, encoding, tags)


def encode_audio(audio: Array, sample_rate: int, encoding: Encoding, tags: Tags) -> tuple[bytes, int]:
    """As `write_audio`, to bytes. Raises RequestError if the tags do not fit."""
    buffer = io.BytesIO()
    clipped = _write_all(buffer, audio, sample_rate, encoding, tags)
    return buffer.getvalue(), clipped


def _write_all(out: BinaryIO, audio: Array, sample_rate: int, encoding: Encoding, tags: Tags) -> int:
    channels, samples = audio.shape
    with AudioWriter(out, sample_rate, channels, samples, encoding, tags, patchable=True) as writer:
        writer.write(audio)
    return writer.clipped


class Output(Protocol):
    """What takes a file's bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of it, or raise."""


class AudioWriter:
    """A sound file of a known length, written block by block.

    `clipped` counts samples that were beyond full scale. The bytes are the same however the sound is cut into blocks.
    """

    def __init__(
        self,
        out: Output,
        sample_rate: int,
        channels: int,
        samples: int,
        encoding: Encoding,
        tags: Tags,
        *,
        patchable: bool,
    ):
        """`out` takes the bytes in order. If it is `patchable`, a file open for writing, what a format knows only at
        its end (the length in a FLAC file's header) is put back there; else it stays unsaid, as the format allows.

        Raises RequestError if the tags do not fit or a WAV file cannot hold so much, Sa3Error for a failing encoder.
        """
        check_comment(encoding, len(tags.comment))
        self.clipped = 0
        self._quantizer = _Quantizer(encoding.bits, channels, samples)
        self._missing = samples
        self._pending = np.zeros((channels, 0), np.float32)
        kind = FORMATS[encoding.format]
        self._resample: Callable[..., Array] | None = None
        if kind.subtypes[encoding.bits] == "OPUS" and sample_rate != _OPUS_RATE:
            import soxr

            stream = soxr.ResampleStream(sample_rate, _OPUS_RATE, channels, dtype="float32", quality="VHQ")
            self._resample, sample_rate = stream.resample_chunk, _OPUS_RATE
        self._file: _WavFile | _SndFile
        if kind.container == "WAV":
            self._file = _WavFile(out, sample_rate, channels, samples, encoding.bits, tags)
        else:
            subtype = kind.subtypes[encoding.bits]
            self._file = _SndFile(out, sample_rate, channels, samples, kind.container, subtype, tags, patchable)

    def write(self, audio: Array) -> None:
        """The next samples (channels, n)."""
        self._missing -= audio.shape[-1]
        self._pending = np.concatenate((self._pending, audio), axis=1)
        whole = self._pending.shape[1] // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._encode(self._pending[:, start : start + _BLOCK], last=False)
        self._pending = self._pending[:, whole:].copy()

    def close(self) -> None:
        """Write what is left. Raises ValueError if not all samples came."""
        if self._missing:
            raise ValueError(f"{self._missing} samples are missing")
        self._encode(self._pending, last=True)
        self._file.close()

    def abort(self) -> None:
        """Close without a whole file."""
        self._file.abort()

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if kind is None else self.abort()

    def _encode(self, audio: Array, *, last: bool) -> None:
        if self._resample is not None:
            audio = self._resample(np.ascontiguousarray(audio.T), last=last).T
        samples, clipped = self._quantizer(audio)
        self.clipped += clipped
        if len(samples):
            self._file.write(samples)


class _WavFile:
    def __init__(self, out: Output, sample_rate: int, channels: int, samples: int, bits: str, tags: Tags):
        texts = {"INAM": tags.title, "ISFT": tags.software, "ICMT": tags.comment}
        self._after = info_chunk(texts) + (xmp_chunk(xmp_packet()) if tags.marked else b"")
        self._out, self._bits, self._odd = out, bits, samples * channels % 2 == 1 and bits == "24"
        out.write(wav_head(samples, channels, sample_rate, bits, self._after))

    def write(self, samples: NDArray[np.int32] | Array) -> None:
        """(n, channels), integers at the top of 32 bits."""
        if self._bits == "float":
            data = samples.astype("<f4").tobytes()
        else:
            width = int(self._bits) // 8  # the upper bytes of four
            data = samples.astype("<i4").reshape(-1, 1).view(np.uint8)[:, 4 - width :].tobytes()
        self._out.write(data)

    def close(self) -> None:
        self._out.write((b"\0" if self._odd else b"") + self._after)

    def abort(self) -> None:
        pass


class _SndFile:
    """A file as libsndfile writes it."""

    def __init__(
        self,
        out: Output,
        sample_rate: int,
        channels: int,
        samples: int,
        container: str,
        subtype: str,
        tags: Tags,
        patchable: bool,
    ):
        import soundfile

        self._error = soundfile.SoundFileError
        marks = tags.marked and container != "MP3"
        # Where an MP3 file's tag ends is known when it is whole.
        self._whole = io.BytesIO() if container == "MP3" else None
        self._out, self._marked = out, tags.marked
        passed_on = PassedOn(samples, marked=marks) if self._whole is None else None
        self._tape = _Tape(out if self._whole is None else self._whole, patchable or passed_on is None, passed_on)
        with self._said():
            self._file = soundfile.SoundFile(self._tape, "w", sample_rate, channels, subtype=subtype, format=container)
            if marks:
                self._file.license = PLACEHOLDER
            for name, text in (("title", tags.title), ("software", tags.software), ("comment", tags.comment)):
                if text:  # libsndfile refuses an empty one
                    setattr(self._file, name, text)

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Raise what the tape met, which libsndfile does not tell, before its own error."""
        try:
            yield
        except self._error as error:
            self._tape.check()
            raise Sa3Error(f"the audio cannot be encoded: {error}") from error
        self._tape.check()

    def write(self, samples: NDArray[np.int32] | Array) -> None:
        with self._said():
            self._file.write(samples)

    def close(self) -> None:
        with self._said():
            self._file.close()
        if self._whole is not None:
            data = self._whole.getvalue()
            self._out.write(mark_mp3(data) if self._marked else data)

    def abort(self) -> None:
        with suppress(self._error):
            self._file.close()


class _Tape:
    """The file that libsndfile sees: it passes on what is appended, and what is put back if that can be.

    An error is kept for `check`: raised from here it would get lost in libsndfile.
    """

    def __init__(self, out: Any, patchable: bool, translate: PassedOn | None):
        self._out, self._patchable, self._translate = out, patchable, translate
        self._position = self._end = 0
        self._failed: BaseException | None = None

    def check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def write(self, data: Any) -> int:
        data = bytes(data)
        try:
            if self._failed is None:
                self._pass_on(data)
        except BaseException as error:
            self._failed = error
        self._position += len(data)
        self._end = max(self._end, self._position)
        return len(data) if self._failed is None else 0

    def _pass_on(self, data: bytes) -> None:
        if self._position == self._end:
            self._out.write(self._translate(data) if self._translate is not None else data)
        elif self._patchable:
            place = self._out.tell()
            self._out.seek(self._position)
            self._out.write(data)
            self._out.seek(place)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._end)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        return b""

    def readinto(self, buffer: Any) -> int:
        return 0

    def flush(self) -> None:
        pass


class _Quantizer:
    """Audio (channels, n), block by block -> what a file takes, (n, channels), and how many samples were clipped.

    Integers are made here, by a power of two: a sample read from a file of that depth is written back bit for bit.
    16 bits are dithered (triangular, one step), but for samples that need no rounding. The dither is the same each
    time, so that the same request gives the same file.
    """

    def __init__(self, bits: str, channels: int, samples: int):
        self._bits, self._channels = bits, channels
        # The second stream of dither goes on where the first ends: two 32-bit numbers of each 64 bits.
        count = channels * samples
        self._dither = [
            np.random.Generator(np.random.PCG64(0)),
            np.random.Generator(np.random.PCG64(0).advance(count // 2)),
        ]
        if bits == "16" and count % 2:
            self._dither[1].random(1, np.float32)

    def __call__(self, audio: Array) -> tuple[NDArray[np.int32] | Array, int]:
        bits = self._bits
        if bits not in {"16", "24"}:
            beyond = int(np.count_nonzero(np.abs(audio) > 1)) if bits == "" else 0  # floats may exceed full scale
            return np.ascontiguousarray(audio.T), beyond
        full_scale = 2 ** (int(bits) - 1)
        scaled = audio.T.astype(np.float64) * full_scale
        rounded = np.rint(scaled)
        if bits == "16":
            plus, minus = (stream.random(scaled.shape, np.float32) for stream in self._dither)
            rounded = np.where(scaled == rounded, rounded, np.rint(scaled + plus - minus))
        clipped = int(np.count_nonzero((rounded < -full_scale) | (rounded > full_scale - 1)))
        return np.clip(rounded, -full_scale, full_scale - 1).astype(np.int32) << (32 - int(bits)), clipped
