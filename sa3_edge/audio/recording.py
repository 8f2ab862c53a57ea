"""Recordings to edit: any file that libsndfile reads, any rate and number of channels, read as far as needed."""

import math
import os
from collections.abc import Callable, Iterable
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.av_file import SUFFIXES, av_blocks
from sa3_edge.audio.downmix import downmix
from sa3_edge.audio.formats import check_contents, readable
from sa3_edge.audio.unstated_length import decode_blocks, states_length
from sa3_edge.audio.wav_info import missing_share
from sa3_edge.errors import RequestError
from sa3_edge.files import is_file, sha256_of

Array = NDArray[np.float32]
_RATES = (1_000, 768_000)  # Hz; beyond them a small file asks for gigabytes once it is resampled
_MOST_SAMPLES = 1 << 28  # of all channels, read at once: 1 GB; 120 s of 8 channels at 192 kHz are fewer
_LOUDEST = 1e6  # 120 dB above full scale: mixing and resampling far larger ones gives no numbers
_MP3_WARM_UP = 20 * 1152  # samples: more frames than the reservoir reaches back
_MOST_CHANNELS = 32  # of an array: with more in the first place, and fewer in the second, it lies on its side
_FULL_SCALES = {"int16": (0, 2**15), "int32": (0, 2**31), "int8": (0, 2**7), "uint8": (2**7, 2**7)}  # silence, scale
_SILENCE = 1e-5  # -100 dBFS: below the noise of a 16-bit recording


def _first(frames: int, blocks: Iterable[Array], skip: int = 0) -> Array:
    """The first of some blocks (n, channels) after `skip` frames, joined: (frames, channels) or what there is."""
    joined, missing = [], frames
    for block in blocks:
        skipped = min(skip, len(block))
        skip -= skipped
        joined.append(block[skipped : skipped + missing])
        missing -= len(joined[-1])
        if missing == 0:
            break
    return np.concatenate(joined)


def _fingerprint(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _hashed(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}") from None


def _peak(audio: Array) -> float:
    """The largest magnitude, without a copy."""
    return max(float(audio.max(initial=0.0)), -float(audio.min(initial=0.0)))


class AudioSource:
    """A recording, read when it is needed and only as far as it is needed."""

    def __init__(
        self,
        name: str,
        rate: int,
        channels: int,
        frames: int,
        read: Callable[[int], Array],
        format_name: str = "WAV",
    ):
        """`read(n)` gives the first n frames, (n, channels) fp32, in the order of libsndfile's format.

        Raises RequestError for an empty recording.
        """
        if frames == 0 or channels == 0:
            raise RequestError(f"{name} is empty: it has no audio")
        if not _RATES[0] <= rate <= _RATES[1]:
            raise RequestError(f"{name} is at {rate} Hz; recordings from {_RATES[0]} to {_RATES[1]} Hz can be edited")
        self.name, self.rate, self.channels, self.frames = name, rate, channels, frames
        self.sha256: str | None = None  # of the file, as it was when it was loaded
        self.missing = 0.0  # the share of it that its header promises and that is not there
        self._read, self._format = read, format_name
        self._skipped = 0  # frames before it that are left out

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], start: float = 0.0) -> "AudioSource":
        """Any file that libsndfile reads, or PyAV (.m4a, .mp4; extra `m4a`), from `start` seconds on.

        Raises RequestError if it is missing, no audio, empty or ends before `start`.
        """
        import soundfile

        path = Path(path)
        if not math.isfinite(start) or start < 0:
            raise RequestError(f"`init_from` must be 0 or more seconds, got {start}")
        if path.is_dir():
            raise RequestError(f"{path} is a folder, not a recording")
        if not is_file(path):
            raise RequestError(f"the audio file {path} does not exist")
        check_contents(path)
        if path.suffix.lower() in SUFFIXES:
            return cls._from_av_file(path, start)
        with readable(path):
            info = soundfile.info(path)
        first = round(start * info.samplerate)

        # MP3 frames borrow bits and overlap from those before, which a decoder that was sent to a place has not seen.
        early = min(first, _MP3_WARM_UP) if info.format == "MP3" else 0

        def read(frames: int) -> Array:
            with readable(path):
                start, wanted = first - early, early + frames
                audio: Array = soundfile.read(path, start=start, frames=wanted, dtype="float32", always_2d=True)[0]
            audio = audio[early:]
            if len(audio) < frames:
                raise RequestError(f"{path} is damaged: it ends after {first + len(audio)} of {info.frames} frames")
            return audio

        def read_stream(frames: int) -> Array:
            with readable(path):
                return _first(frames, decode_blocks(path, info.format), first)

        with readable(path):
            frames, read_part = info.frames, read
            if not states_length(path, info):
                frames, read_part = sum(len(block) for block in decode_blocks(path, info.format)), read_stream
        source = cls._hashing(path, info.samplerate, info.channels, frames, first, read_part, info.format)
        with path.open("rb") as file:
            source.missing = missing_share(file)
        return source

    @classmethod
    def _from_av_file(cls, path: Path, start: float) -> "AudioSource":
        rate, channels, frames = 0, 0, 0
        for now, block in av_blocks(path):
            rate, channels = now, block.shape[1]
            frames += len(block)
        first = round(start * rate)

        def read(wanted: int) -> Array:
            return _first(wanted, (block for _, block in av_blocks(path)), first)

        return cls._hashing(path, rate, channels, frames, first, read, "WAV")

    @classmethod
    def _hashing(
        cls, path: Path, rate: int, channels: int, frames: int, first: int, read: Callable[[int], Array], format: str
    ) -> "AudioSource":
        """A file's source from frame `first` on; `read` as of the constructor. The hash is taken when it is read."""
        if first and first >= frames:
            length = frames / max(rate, 1)
            raise RequestError(f"{path} has {length:.2f} s: nothing is left of it from {first / rate:g} s on")

        def read_hashed(wanted: int) -> Array:
            before = _fingerprint(path)
            source.sha256 = _hashed(path)
            audio = read(wanted)
            if _fingerprint(path) != before:
                raise RequestError(f"{path} was changed while it was read; try again")
            return audio

        source = cls(str(path), rate, channels, frames - first, read_hashed, format)
        source._skipped = first
        return source

    @classmethod
    def from_array(cls, audio: NDArray[Any], rate: int, name: str = "the recording") -> "AudioSource":
        """Audio (channels, N) at `rate` Hz, in floats of full scale 1, or integers: int16, int32, int8, uint8.

        Raises RequestError for other arrays, such as (N, channels), and for no array.
        """
        if not isinstance(audio, np.ndarray):
            raise RequestError(f"audio must be a NumPy array (channels, samples), got {type(audio).__name__}")
        if isinstance(rate, bool) or not isinstance(rate, Integral):
            raise RequestError(f"rate must be a whole number of Hz, got {rate!r:.80}")
        if audio.ndim != 2:
            one = "; one channel is audio[None]" if audio.ndim == 1 else ""
            raise RequestError(f"audio must be (channels, samples), got shape {audio.shape}{one}")
        if audio.shape[1] <= _MOST_CHANNELS < audio.shape[0]:
            raise RequestError(f"audio must be (channels, samples), got shape {audio.shape}; turn it: audio.T")
        kind = audio.dtype
        if kind.kind != "f" and kind.name not in _FULL_SCALES:
            raise RequestError(
                f"audio must be floats or {', '.join(_FULL_SCALES)}, got {kind}: its full scale is unknown"
            )

        def read(frames: int) -> Array:
            part = audio.T[:frames]
            if kind.kind == "f":
                return part.astype(np.float32, copy=False)
            middle, scale = _FULL_SCALES[kind.name]
            return ((part.astype(np.float64) - middle) / scale).astype(np.float32)

        return cls(name, int(rate), audio.shape[0], audio.shape[1], read)

    def samples_at(self, rate: int) -> int:
        """The recording's length in samples at another rate."""
        return round(self.frames * rate / self.rate)

    def load(self, samples: int, rate: int, channels: int) -> tuple[Array, tuple[str, ...]]:
        """The first `samples` at `rate` Hz as (channels, samples) fp32, silence where the recording has ended.

        Also returns notes: what was done to fit. Raises RequestError if the recording is damaged or holds NaN.
        """
        wanted = min(samples, self.samples_at(rate))
        # A resampler's filter sees a little beyond the end.
        margin = 0 if rate == self.rate else 4096
        needed = min(self.frames, math.ceil(wanted * self.rate / rate) + margin)
        if needed * self.channels > _MOST_SAMPLES:
            raise RequestError(
                f"{self.name} is too much to work with: {self.channels} channels at {self.rate} Hz; convert it to "
                f"{channels} channels at {rate} Hz"
            )
        audio = self._read(needed)
        if not np.isfinite(audio).all():
            raise RequestError(f"{self.name} holds samples that are not numbers (NaN or infinity)")
        if _peak(audio) > _LOUDEST:
            raise RequestError(f"{self.name} is damaged: a sample is {_peak(audio):g} times full scale")
        notes: list[str] = []
        if self.missing:
            there = (self._skipped + self.frames) / self.rate
            promised = there / (1 - self.missing)
            notes.append(f"{self.name} is cut off: its header says {promised:.2f} s, {there:.2f} s are there")
        if self.channels == 1:
            audio = np.repeat(audio, channels, axis=1)
        elif self.channels != channels:
            audio, gain = downmix(audio, channels, self._format)
            quieter = f", {-20 * math.log10(gain):.1f} dB quieter so that none clips" if gain < 1 else ""
            notes.append(f"{self.name} has {self.channels} channels; they are mixed to {channels}{quieter}")
        if _peak(audio) < _SILENCE:
            notes.append(f"{self.name} is silent where it is used")
        if rate != self.rate:
            import soxr

            audio = soxr.resample(audio, self.rate, rate, quality="VHQ")
        fitted = np.zeros((channels, samples), np.float32)
        used = min(wanted, len(audio))
        fitted[:, :used] = audio[:used].T
        return fitted, tuple(notes)
