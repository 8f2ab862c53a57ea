"""A loop: composed as a slice of a longer piece, its ends joined by composing what lies across them anew."""

from dataclasses import replace

import numpy as np

from sa3_edge.audio.recording import AudioSource
from sa3_edge.compose.passes import pass_seed, progress_of
from sa3_edge.generation.editing import seconds_of
from sa3_edge.generation.made import Stream
from sa3_edge.generation.pipeline import Pipeline, Progress
from sa3_edge.generation.request import GenerationRequest, Inpainting, Region

SHORTEST_SECONDS = 0.5  # a handful of latent frames: of fewer none would be kept
_SEAM_SECONDS = 1.0  # made anew to each side of the join, and no more than a quarter of the loop
_BLOCK = 1 << 16


def loop_stream(pipeline: Pipeline, request: GenerationRequest, seed: int, progress: Progress) -> Stream:
    """The loop of one seed. Its last sample leads into its first as any of its samples into the next.

    Two passes, so the first sound comes when both are done. Raises as Pipeline.stream.
    """
    manifest = pipeline.bundle.manifest
    rate = manifest.audio.sample_rate
    first = pipeline.stream(
        replace(request, seed=seed, piece_seconds=_whole_piece(request.seconds, manifest.max_seconds)),
        progress_of(progress, 0, 2),
    )
    samples = first.samples
    audio = first.whole().audio

    # Rotated by half, the join lies in the middle; what now lies at the ends was neighbours in the middle before.
    half, seam = samples // 2, min(int(_SEAM_SECONDS * rate), samples // 4)
    region = Region(seconds_of(half - seam, rate), seconds_of(half + seam, rate))
    source = AudioSource.from_array(np.roll(audio, half, axis=1), rate, "the loop")
    second = pipeline.stream(
        replace(
            request,
            seconds=None,
            seed=pass_seed(seed, 1),
            edit=Inpainting(source, (region,)),
            piece_seconds=_whole_piece(first.seconds, manifest.max_seconds),
        ),
        progress_of(progress, 1, 2),
    )
    joined = np.roll(second.whole().audio, -half, axis=1)
    timings = {key: first.timings.get(key, 0.0) + time for key, time in second.timings.items() if "." in key}
    blocks = (joined[:, start : start + _BLOCK] for start in range(0, samples, _BLOCK))
    return first.replaced(blocks, samples, latents=second.latents, timings=timings)


def _whole_piece(seconds: float | None, longest: float) -> float:
    """What the model is told: a piece as long as it makes, or twice the loop, so that it writes no ending."""
    return max(longest, 2 * (seconds or 0.0))
