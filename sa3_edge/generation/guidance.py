"""Classifier-free guidance: away from what the model would do without the prompt, or with a negative one."""

import math

import numpy as np

from sa3_edge.errors import RequestError
from sa3_edge.generation.sampling import Latents, Velocity


def check_guidance(scale: float, apg: float, negative_prompt: str) -> None:
    """Raise RequestError for values without meaning."""
    if not math.isfinite(scale) or scale < 0:
        raise RequestError(f"cfg must be 0 or more (1 is no guidance), got {scale}")
    if not 0 <= apg <= 1:
        raise RequestError(f"apg must be from 0 to 1, got {apg}")
    if negative_prompt and scale == 1:
        raise RequestError("a negative prompt has no effect without guidance; set cfg above 1, e.g. 3")


def guided(conditional: Velocity, unconditional: Velocity, scale: float, apg: float) -> Velocity:
    """Combine two predictions as denoised signals c and u: c + (scale - 1) d, where d = c - u.

    `apg` is how much of d's part along c is taken out (over all channels and frames, in fp64): that part makes
    sound loud rather than closer to the prompt. Source: the reference's guidance; arXiv 2410.02416.
    """

    def velocity(x: Latents, t: float) -> Latents:
        step = np.float32(t)
        c = (x - step * conditional(x, t)).astype(np.float64)
        u = (x - step * unconditional(x, t)).astype(np.float64)
        d = c - u
        norm = float(np.sum(c * c))
        if norm > 0:
            d -= apg * (float(np.sum(d * c)) / norm) * c
        combined = c + (scale - 1) * d
        return ((x - combined) / t).astype(np.float32)

    return velocity
