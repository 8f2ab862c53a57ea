"""Samples as a file stores them: rounded, dithered, clipped."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Quantizer:
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
