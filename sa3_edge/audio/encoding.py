"""Sound files, written block by block."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.formats import FORMATS, Encoding, check_comment
from sa3_edge.audio.mark import MARK, PassedOn, tag_mp3, tempo_entry, xmp_packet
from sa3_edge.audio.quantizer import Quantizer
from sa3_edge.audio.wav_info import acid_chunk, info_chunk, smpl_chunk, wav_head, xmp_chunk
from sa3_edge.errors import Sa3Error
from sa3_edge.files import whole_file

Array = NDArray[np.float32]
_BLOCK = 1 << 16  # libsndfile's Vorbis encoder overflows its stack on one long write
_OPUS_RATE = 48_000  # the only one near 44 100 Hz that Opus has


@dataclass(frozen=True)
class Tempo:
    """Beats a minute; beats in all, 0 if the length is no number of them; beats in a bar."""

    bpm: float
    beats: int = 0
    meter: int = 4


@dataclass(frozen=True)
class Tags:
    """What a file says of itself; `comment` carries the request, see clips/record.py.

    marked: whether it says that a machine made the sound, see mark.py
    tempo, loop: what DAWs, samplers and game engines read
    """

    title: str = ""
    software: str = ""
    comment: str = ""
    marked: bool = False
    tempo: Tempo | None = None
    loop: bool = False


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
        self._quantizer = Quantizer(encoding.bits, channels, samples)
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
        if tags.loop:
            self._after += smpl_chunk(samples, sample_rate)
        if tags.tempo is not None:
            self._after += acid_chunk(tags.tempo.bpm, tags.tempo.beats, tags.tempo.meter, loop=tags.loop)
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
        entries = [MARK] if tags.marked else []
        entries += [tempo_entry(tags.tempo.bpm)] if tags.tempo is not None else []
        # Where an MP3 file's tag ends is known when it is whole.
        self._whole = io.BytesIO() if container == "MP3" else None
        self._out, self._tags = out, tags
        passed_on = PassedOn(samples, entries) if self._whole is None else None
        self._tape = _Tape(out if self._whole is None else self._whole, patchable or passed_on is None, passed_on)
        with self._said():
            self._file = soundfile.SoundFile(self._tape, "w", sample_rate, channels, subtype=subtype, format=container)
            for entry in entries if self._whole is None else ():
                setattr(self._file, entry.stand_in, entry.placeholder)
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
            bpm = self._tags.tempo.bpm if self._tags.tempo is not None else None
            self._out.write(tag_mp3(data, marked=self._tags.marked, bpm=bpm))

    def abort(self) -> None:
        with suppress(self._error):
            self._file.close()


class _Tape:
    """The file that libsndfile writes to: passes on what is appended, and what is patched where that is possible.

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
