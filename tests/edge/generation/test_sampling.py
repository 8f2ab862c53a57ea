"""Schedule, samplers and lengths."""

import math

import numpy as np
import pytest

from sa3_edge.errors import RequestError
from sa3_edge.generation.lengths import plan_lengths
from sa3_edge.generation.sampling import LatentNoise, Latents, euler, ping_pong, schedule
from sa3_edge.manifest import Manifest
from tests.conftest import Golden


@pytest.mark.parametrize("noise_level", [0.7, 1.0])
@pytest.mark.parametrize("steps", [1, 4, 8, 50])
def test_schedule_equals_the_reference(golden: Golden, steps: int, noise_level: float) -> None:
    expected = golden[f"schedule.steps{steps}.sigma{noise_level}"]
    computed = schedule(steps, -6.2, 2.0, noise_level)
    assert np.abs(computed - expected).max() < 1e-6
    assert (computed[0], computed[-1]) == (np.float32(noise_level), 0)


def test_ping_pong_of_a_known_model() -> None:
    """With velocity x / t everything denoises to 0, so each step leaves its own noise, scaled."""
    seen: list[tuple[int, int]] = []
    draws = iter(np.full((1, 1, 4), value, np.float32) for value in (1, 2, 3))
    x = ping_pong(
        lambda x, t: np.asarray(x / np.float32(t)),
        next(draws),
        np.array([1, 0.5, 0], np.float32),
        lambda: next(draws),
        lambda done, total: seen.append((done, total)),
    )
    assert np.array_equal(x, np.zeros((1, 1, 4)))  # the last draw counts nothing
    assert seen == [(1, 2), (2, 2)]


def test_ping_pong_mixes_fresh_noise_at_the_next_level() -> None:
    noise = np.full((1, 1, 2), 4, np.float32)
    levels: list[Latents] = []

    def velocity(x: Latents, t: float) -> Latents:
        levels.append(x)
        return np.asarray((x - 1) / np.float32(t))  # denoises to 1

    ping_pong(velocity, noise, np.array([1, 0.25, 0], np.float32), lambda: noise, lambda done, total: None)
    assert np.allclose(levels[1], 0.75 * 1 + 0.25 * 4)


def test_euler_follows_a_straight_line_exactly() -> None:
    x = np.full((1, 1, 3), 5, np.float32)
    out = euler(lambda x, t: np.full_like(x, 2), x, schedule(7, -6.2, 2.0), lambda done, total: None)
    assert np.allclose(out, 5 - 2)


def test_noise_is_drawn_for_the_allocated_frames() -> None:
    whole, cut = LatentNoise(3, 16, 8, 8), LatentNoise(3, 16, 8, 5)
    for _ in range(2):
        assert np.array_equal(whole()[:, :, :5], cut())


@pytest.mark.parametrize(
    ("seconds", "headroom", "expected"),
    [
        (5.0, 6.0, (220500, 118, 120)),
        (1.3, 6.0, (57330, 78, 80)),
        (2.0, 6.0, (88200, 86, 88)),
        (0.1, 0.0, (4410, 2, 2)),
        (120.0, 6.0, (5292000, 1292, 1292)),
        (119.0, 0.0, (5247900, 1282, 1282)),
    ],
)
def test_lengths_equal_the_reference(
    manifest: Manifest, seconds: float, headroom: float, expected: tuple[int, int, int]
) -> None:
    planned = plan_lengths(seconds, headroom, manifest)
    assert (planned.samples, planned.valid, planned.allocated) == expected


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.09, 120.5, math.nan, math.inf])
def test_lengths_that_cannot_be_made_are_refused(manifest: Manifest, seconds: float) -> None:
    with pytest.raises(RequestError, match=r"seconds|longest"):
        plan_lengths(seconds, 6.0, manifest)


@pytest.mark.parametrize("headroom", [-1.0, math.nan, math.inf])
def test_headroom_must_be_a_length(manifest: Manifest, headroom: float) -> None:
    with pytest.raises(RequestError, match="headroom"):
        plan_lengths(5.0, headroom, manifest)
