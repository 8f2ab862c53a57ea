"""The reference's noise: the same seed draws the same numbers as PyTorch's generator on the CPU, without PyTorch."""

import math

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import RequestError

# Box-Muller works on blocks of 16 uniforms: the first 8 make radii, the other 8 angles.
_BLOCK = 16
_HALF = _BLOCK // 2
SEEDS = 2**32  # MT19937 is seeded with 32 bits


class NoiseStream:
    """Successive draws of `torch.randn` after `torch.manual_seed(seed)`.

    Equal to PyTorch's values within 1e-6: the same integers, fp32 arithmetic in the same order; only the last bit
    of its logarithm and sine may differ.
    """

    def __init__(self, seed: int):
        """`seed` in 0..2^32-1. Raises RequestError outside."""
        if not 0 <= seed < SEEDS:
            raise RequestError(f"seed must be between 0 and {SEEDS - 1}, got {seed}")
        self._integers = np.random.RandomState(seed)

    def _uniform(self, count: int) -> NDArray[np.float32]:
        """Uniforms in [0, 1) of 24 random bits each."""
        raw = self._integers.randint(0, SEEDS, size=count, dtype=np.uint32)
        return (raw & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Unit normal values of `shape`, which holds at least 16 elements."""
        count = math.prod(shape)
        if count < _BLOCK:
            raise ValueError(f"PyTorch draws fewer than {_BLOCK} values in another way, got shape {shape}")
        uniform = self._uniform(count)
        remainder = count % _BLOCK
        values = _box_muller(uniform[: count - remainder])
        if remainder:
            # The last, partial block is drawn anew as a whole one that ends at the end.
            last = _box_muller(self._uniform(_BLOCK))
            values = np.concatenate((values[: count - _BLOCK], last))
        return values.reshape(shape)


def _box_muller(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to fp32 where PyTorch rounds; the functions in fp64, which is the same on every machine."""
    blocks = uniform.reshape(-1, 2, _HALF)
    log = np.log(1.0 - blocks[:, 0].astype(np.float64)).astype(np.float32)
    radius = np.sqrt(np.float32(-2.0) * log)
    angle = (np.float32(2.0 * np.pi) * blocks[:, 1]).astype(np.float64)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    return np.stack((radius * cos, radius * sin), axis=1).reshape(-1)
