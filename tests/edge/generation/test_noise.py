"""The noise is PyTorch's own, without PyTorch."""

import numpy as np
import pytest
import torch

from sa3_edge.errors import RequestError
from sa3_edge.generation.noise import SEEDS, NoiseStream
from tests.conftest import Golden


@pytest.mark.parametrize("seed", [0, 7, 123456789])
def test_noise_equals_the_reference(golden: Golden, seed: int) -> None:
    stream = NoiseStream(seed)
    drawn = np.concatenate([stream.normal((1, 16, 10)).ravel(), stream.normal((1, 16, 3)).ravel()])
    assert np.abs(drawn - golden[f"noise.seed{seed}"]).max() < 1e-6


@pytest.mark.parametrize("seed", [1, 42, 2**31, SEEDS - 1])
def test_noise_equals_torch_for_long_and_odd_draws(seed: int) -> None:
    torch.manual_seed(seed)
    stream = NoiseStream(seed)
    for shape in ((1, 256, 1292), (16,), (1, 1, 17), (5, 7), (1, 256, 2)):
        drawn = stream.normal(shape)
        assert drawn.dtype == np.float32
        assert np.abs(drawn - torch.randn(shape).numpy()).max() < 1e-6


@pytest.mark.parametrize("seed", [-1, SEEDS])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(RequestError, match=str(seed)):
        NoiseStream(seed)


def test_too_few_values_are_refused() -> None:
    with pytest.raises(ValueError, match="16"):
        NoiseStream(0).normal((15,))
