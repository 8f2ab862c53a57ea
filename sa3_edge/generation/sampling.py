"""From noise to latents: the schedule of timesteps and the samplers, in fp32 NumPy.

The loop stays outside the graphs, so that a host can show progress, stop, and do the same in any language.
"""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sa3_edge.generation.noise import NoiseStream

Latents = NDArray[np.float32]  # (1, C, T)
Velocity = Callable[[Latents, float], Latents]
OnStep = Callable[[int, int], None]


def schedule(steps: int, logsnr_start: float, logsnr_end: float, noise_level: float = 1.0) -> NDArray[np.float32]:
    """Timesteps from `noise_level` down to 0, (steps + 1,) fp32; they do not depend on the clip's length.

    A straight line in log-SNR, as in the reference: t = sigmoid(-logsnr), where logsnr goes from `logsnr_start` at
    t = 1 to `logsnr_end` at t = 0. A lower noise level starts the line there; its inner points may exceed it.
    """
    line = np.linspace(noise_level, 0.0, steps + 1)
    logsnr = logsnr_end + (logsnr_start - logsnr_end) * line
    timesteps = 1.0 / (1.0 + np.exp(logsnr))
    timesteps[0], timesteps[-1] = noise_level, 0.0
    return timesteps.astype(np.float32)


def ping_pong(
    velocity: Velocity,
    x: Latents,
    timesteps: NDArray[np.float32],
    noise: Callable[[], Latents],
    on_step: OnStep,
) -> Latents:
    """Denoise completely, add fresh noise of the next level, repeat. For `rf_denoiser` models.

    `noise` draws one tensor of x's shape a step, on the last step too, where it counts nothing: the reference does.
    """
    steps = len(timesteps) - 1
    for step, (t, t_next) in enumerate(itertools.pairwise(timesteps)):
        denoised = x - t * velocity(x, float(t))
        x = (np.float32(1) - t_next) * denoised + t_next * noise()
        on_step(step + 1, steps)
    return x


def euler(velocity: Velocity, x: Latents, timesteps: NDArray[np.float32], on_step: OnStep) -> Latents:
    """Follow the velocity in straight steps. For `rectified_flow` models."""
    steps = len(timesteps) - 1
    for step, (t, t_next) in enumerate(itertools.pairwise(timesteps)):
        x = x + (t_next - t) * velocity(x, float(t))
        on_step(step + 1, steps)
    return x


class LatentNoise:
    """Draws of latent noise: `allocated` frames each time as the reference draws them, the first `valid` returned."""

    def __init__(self, seed: int, channels: int, allocated: int, valid: int):
        self._stream, self._shape, self._valid = NoiseStream(seed), (1, channels, allocated), valid

    def __call__(self) -> Latents:
        return self._stream.normal(self._shape)[:, :, : self._valid]
