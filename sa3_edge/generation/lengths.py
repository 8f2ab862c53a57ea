"""How many samples and latent frames a request of some seconds takes."""

import math
from dataclasses import dataclass

from sa3_edge.errors import RequestError
from sa3_edge.manifest import Manifest

SHORTEST_SECONDS = 0.1


@dataclass(frozen=True)
class Lengths:
    """`samples` of audio; latent frames that the model attends to (`valid`) and that noise is drawn for."""

    samples: int
    valid: int
    allocated: int


def plan_lengths(seconds: float, headroom: float, manifest: Manifest, min_compose: float = 0.0) -> Lengths:
    """Lengths for a clip of `seconds` with `headroom` seconds after it, as the reference counts them.

    The model composes an ending into the headroom, which is cut off. Noise is drawn for an even number of frames;
    those past the valid ones would be masked, so they are never computed. `min_compose`: seconds that there are at
    least, headroom included. Raises RequestError for lengths that the model cannot make.
    """
    if not math.isfinite(seconds) or seconds < SHORTEST_SECONDS:
        raise RequestError(f"seconds must be a number from {SHORTEST_SECONDS} on, got {seconds}")
    if seconds > manifest.max_seconds:
        raise RequestError(
            f"{seconds:g} seconds is more than {manifest.model.name} makes in one pass; "
            f"the longest clip is {manifest.max_seconds:g} s"
        )
    if not math.isfinite(headroom) or headroom < 0:
        raise RequestError(f"headroom must be 0 or more seconds, got {headroom}")
    rate, frame, longest = (
        manifest.audio.sample_rate,
        manifest.audio.samples_per_frame,
        manifest.audio.max_frames,
    )
    samples = int(seconds * rate)
    valid = math.ceil(samples / frame) + int(headroom * rate / frame)
    allocated = math.ceil(int((seconds + headroom) * rate) / frame)
    allocated += allocated % 2
    if not math.isfinite(min_compose) or min_compose < 0:
        raise RequestError(f"min_compose must be 0 or more seconds, got {min_compose}")
    least = math.ceil(int(min(min_compose, manifest.max_seconds) * rate) / frame)
    valid, allocated = max(valid, least), max(allocated, least + least % 2)
    # Near a whole frame the two roundings can differ; a frame without noise is none.
    return Lengths(samples, min(valid, allocated, longest), min(allocated, longest))
