"""A pipeline a thread: one pipeline is for one call at a time, several run beside each other.

python docs/examples/threads.py MODEL THREADS
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from sa3_edge import GenerationRequest, Pipeline


def make(model: str, seed: int) -> NDArray[np.float32]:
    """A clip's audio, (channels, samples)."""
    with Pipeline.load(model, threads=1) as pipeline:
        return pipeline.generate(GenerationRequest("rain", seconds=1, seed=seed)).audio


def main(model: str, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        beside = list(pool.map(make, [model] * threads, range(threads)))
    alone = [make(model, seed) for seed in range(threads)]
    same = all(np.array_equal(one, other) for one, other in zip(beside, alone, strict=True))
    print(f"{threads} clips, {'the same' if same else 'others'} as one after another")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
