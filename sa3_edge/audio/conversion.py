"""A clip at another sample rate, or in one channel."""

from collections.abc import Iterable, Iterator
from math import gcd

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.formats import Encoding
from sa3_edge.errors import RequestError

Array = NDArray[np.float32]
RATES = (8_000, 192_000)  # Hz
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATE = 48_000


def check_rate(rate: int, encoding: Encoding) -> None:
    """Raise RequestError for a rate that a format cannot have."""
    if not RATES[0] <= rate <= RATES[1]:
        raise RequestError(f"`rate` must be from {RATES[0]} to {RATES[1]} Hz, got {rate}")
    if encoding.format == "opus" and rate != _OPUS_RATE:
        raise RequestError(f"opus is always at {_OPUS_RATE} Hz; leave out `rate` or choose another format")
    if encoding.format == "mp3" and rate not in _MP3_RATES:
        raise RequestError(f"mp3 cannot have {rate} Hz; choose {', '.join(map(str, _MP3_RATES))}")


def samples_at(samples: int, rate: int, other: int) -> int:
    """How many samples at another rate are as long."""
    return (2 * samples * other + rate) // (2 * rate)


def mixed_to_mono(pieces: Iterable[Array]) -> Iterator[Array]:
    """The mean of the channels of pieces (channels, n): (1, n), never louder than the loudest of them."""
    for piece in pieces:
        yield piece.mean(axis=0, keepdims=True, dtype=np.float32)


def resampled(pieces: Iterable[Array], samples: int, rate: int, other: int) -> Iterator[Array]:
    """Pieces (channels, n) of `samples` in all at another rate: exactly as many as `samples_at` says."""
    import soxr

    stream = None
    missing, wanted = samples, samples_at(samples, rate, other)
    for piece in pieces:
        if stream is None:
            stream = soxr.ResampleStream(rate, other, piece.shape[0], dtype="float32", quality="VHQ")
        missing -= piece.shape[-1]
        made: Array = stream.resample_chunk(np.ascontiguousarray(piece.T), last=missing == 0).T[:, :wanted]
        wanted -= made.shape[-1]
        if missing == 0 and wanted:  # by rounding, one sample or two of the filter's end
            made = np.pad(made, ((0, 0), (0, wanted)))
        if made.shape[-1]:
            yield made


def resampled_loop(audio: Array, rate: int, other: int) -> Array:
    """A whole loop (channels, N) at another rate: the filter runs on across its join, as the sound does.

    Its length is a whole number of samples there too, so that it is up to half a sample longer or shorter.
    """
    import soxr

    samples = audio.shape[-1]
    wanted = samples_at(samples, rate, other)
    common = gcd(samples, wanted)
    thrice = np.concatenate((audio, audio, audio), axis=1).T
    made: Array = soxr.resample(thrice, samples // common, wanted // common, quality="VHQ").T
    return np.ascontiguousarray(made[:, wanted : 2 * wanted])
