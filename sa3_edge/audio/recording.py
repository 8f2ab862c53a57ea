"""Recordings to edit: any file that libsndfile reads, any rate and number of channels, read as far as needed."""

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.downmix import downmix
from sa3_edge.audio.encoding import readable
from sa3_edge.audio.unstated_length import decode_blocks, states_length
from sa3_edge.errors import RequestError

Array = NDArray[np.float32]
_SILENCE = 1e-5  # -100 dBFS: below the noise of a 16-bit recording


def _first(frames: int, blocks: Iterable[Array]) -> Array:
    """The first of some blocks (n, channels), joined: (frames, channels)."""
    joined, missing = [], frames
    for block in blocks:
        joined.append(block[:missing])
        missing -= len(joined[-1])
        if missing == 0:
            break
    return np.concatenate(joined)


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
        self.name, self.rate, self.channels, self.frames = name, rate, channels, frames
        self._read, self._format = read, format_name

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "AudioSource":
        """Any file that libsndfile reads. Raises RequestError if it is missing, no audio or empty."""
        import soundfile

        path = Path(path)
        if not path.is_file():
            raise RequestError(f"the audio file {path} does not exist")
        with readable(path):
            info = soundfile.info(path)

        def read(frames: int) -> Array:
            with readable(path):
                audio: Array = soundfile.read(path, frames=frames, dtype="float32", always_2d=True)[0]
            if len(audio) < frames:
                raise RequestError(f"{path} is damaged: it ends after {len(audio)} of {info.frames} frames")
            return audio

        def read_stream(frames: int) -> Array:
            with readable(path):
                return _first(frames, decode_blocks(path, info.format))

        with readable(path):
            if states_length(path, info):
                return cls(str(path), info.samplerate, info.channels, info.frames, read, info.format)
            frames = sum(len(block) for block in decode_blocks(path, info.format))
        return cls(str(path), info.samplerate, info.channels, frames, read_stream, info.format)

    @classmethod
    def from_array(cls, audio: Array, rate: int, name: str = "the recording") -> "AudioSource":
        """Audio (channels, N) at `rate` Hz."""
        if audio.ndim != 2:
            raise RequestError(f"audio must be (channels, samples), got shape {audio.shape}")
        return cls(name, rate, audio.shape[0], audio.shape[1], lambda frames: audio.T[:frames].astype(np.float32))

    def samples_at(self, rate: int) -> int:
        """The recording's length in samples at another rate."""
        return round(self.frames * rate / self.rate)

    def load(self, samples: int, rate: int, channels: int, notes: list[str]) -> Array:
        """The first `samples` at `rate` Hz as (channels, samples) fp32, silence where the recording has ended.

        What was done to fit is added to `notes`. Raises RequestError if the recording is damaged or holds NaN.
        """
        wanted = min(samples, self.samples_at(rate))
        # A resampler's filter sees a little beyond the end.
        margin = 0 if rate == self.rate else 4096
        audio = self._read(min(self.frames, math.ceil(wanted * self.rate / rate) + margin))
        if not np.isfinite(audio).all():
            raise RequestError(f"{self.name} holds samples that are not numbers (NaN or infinity)")
        if self.channels == 1:
            audio = np.repeat(audio, channels, axis=1)
        elif self.channels != channels:
            audio, gain = downmix(audio, channels, self._format)
            quieter = f", {-20 * math.log10(gain):.1f} dB quieter so that none clips" if gain < 1 else ""
            notes.append(f"{self.name} has {self.channels} channels; they are mixed to {channels}{quieter}")
        if np.abs(audio).max(initial=0.0) < _SILENCE:
            notes.append(f"{self.name} is silent where it is used")
        if rate != self.rate:
            import soxr

            audio = soxr.resample(audio, self.rate, rate, quality="VHQ")
        fitted = np.zeros((channels, samples), np.float32)
        used = min(wanted, len(audio))
        fitted[:, :used] = audio[:used].T
        return fitted
