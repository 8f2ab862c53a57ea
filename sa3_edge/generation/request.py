"""What can be asked of a pipeline: a new clip, or one made from a recording."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sa3_edge.adapters.lora import AdapterFile
from sa3_edge.audio.recording import AudioSource
from sa3_edge.field_types import check_fields
from sa3_edge.manifest import Sampler

DEFAULT_SECONDS = 30.0
DEFAULT_NOISE_LEVEL = 0.7


@dataclass(frozen=True)
class Variation:
    """Another version of a recording.

    noise_level: 0.01..1, how far from the recording: 1 keeps nothing of it
    schedule: "monotonic" goes straight down from the noise level; "reference" is the reference implementation's,
        whose inner steps may exceed the noise level
    """

    source: AudioSource
    noise_level: float = DEFAULT_NOISE_LEVEL
    schedule: Literal["monotonic", "reference"] = "monotonic"


@dataclass(frozen=True)
class Region:
    """From `start` to `end` in seconds; None is the beginning or the end of the clip."""

    start: float | None
    end: float | None


@dataclass(frozen=True)
class Inpainting:
    """Make regions of a recording anew and keep the rest.

    splice: put the recording's own samples back outside the regions; False leaves the decoder's version of them
    """

    source: AudioSource
    regions: tuple[Region, ...]
    splice: bool = True


@dataclass(frozen=True)
class Continuation:
    """Go on for `extend` seconds after a recording, or begin `prepend` seconds before it."""

    source: AudioSource
    extend: float = 0.0
    prepend: float = 0.0
    splice: bool = True


@dataclass(frozen=True)
class Blend:
    """Come from another prompt: that one to `start` seconds of the clip, the request's own from `end` on.

    Between them each step takes both predictions, frame by frame in a share that moves from one to the other.
    """

    prompt: str
    start: float
    end: float


@dataclass(frozen=True)
class GenerationRequest:
    """What to make.

    prompt: what to hear; may be empty
    seconds: length of the clip; None is 30 s, or the recording's length when one is edited
    seed: 0..2^32-1, the same seed gives the same music; None draws one
    steps: denoising steps; None takes the model's own
    headroom: seconds that the model composes beyond the end, which are cut off; None takes the model's own
    edit: how a recording is used, if one is
    cfg: classifier-free guidance scale, 1 is none; None takes the model's own
    negative_prompt: what guidance leads away from
    apg: 1 guides only orthogonally to the prediction (adaptive projected guidance), 0 plainly, between is a blend
    limiter: keep the peaks of what is made below full scale (see limiter.py)
    piece_seconds: length of the piece that the clip is a slice of, which is what the model is told; None is the clip's.
        Of a longer piece than the clip the model writes no ending
    min_compose: seconds that are composed at the least; what is beyond the clip is cut off
    after: latents (1, C, T) that are the clip's first frames, and that it goes on from
    blend: the prompt that the clip comes from, if it is not one prompt's all through
    adapters: LoRA files, merged in this order into the weights that run; a loaded pipeline loads the conditioner and
        the denoiser anew where they are others than before
    """

    prompt: str
    seconds: float | None = None
    seed: int | None = None
    steps: int | None = None
    headroom: float | None = None
    edit: Variation | Inpainting | Continuation | None = None
    cfg: float | None = None
    negative_prompt: str = ""
    apg: float = 1.0
    limiter: bool = True
    piece_seconds: float | None = None
    min_compose: float = 0.0
    after: NDArray[np.float32] | None = None
    blend: Blend | None = None
    adapters: tuple[AdapterFile, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Sampling:
    """How a request is sampled: as it says, and as the model does by itself where it says nothing."""

    steps: int
    headroom: float
    cfg: float

    @classmethod
    def of(cls, request: GenerationRequest, sampler: Sampler) -> "Sampling":
        """The sampling of a request to a model. Values are not checked."""
        return cls(
            steps=sampler.steps if request.steps is None else request.steps,
            headroom=sampler.headroom_seconds if request.headroom is None else request.headroom,
            cfg=sampler.cfg if request.cfg is None else request.cfg,
        )
