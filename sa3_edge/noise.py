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

    Equal to PyTorch's values within 1e-6: the integers are the same, logarithm and sine round differently.
    """

    def __init__(self, seed: int):
        """`seed` in 0..2^32-1. Raises RequestError outside."""
        if not 0 <= seed < SEEDS:
            raise RequestError(f"seed must be between 0 and {SEEDS - 1}, got {seed}")
        self._integers = np.random.RandomState(seed)

    def _uniform(self, count: int) -> NDArray[np.float64]:
        """Uniforms in [0, 1) of 24 random bits each, as PyTorch makes its fp32 ones."""
        raw = self._integers.randint(0, SEEDS, size=count, dtype=np.uint32)
        return (raw & np.uint32(0xFFFFFF)) * 2.0**-24

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
        return values.astype(np.float32).reshape(shape)


def _box_muller(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    blocks = uniform.reshape(-1, 2, _HALF)
    radius = np.sqrt(-2.0 * np.log(1.0 - blocks[:, 0]))
    angle = 2.0 * np.pi * blocks[:, 1]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1).reshape(-1)
