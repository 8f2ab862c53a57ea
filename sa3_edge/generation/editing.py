"""How a recording enters a run, and how its own samples come back out of it."""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import RequestError
from sa3_edge.generation.lengths import SHORTEST_SECONDS, Lengths, plan_lengths
from sa3_edge.generation.request import DEFAULT_SECONDS, Continuation, GenerationRequest, Inpainting, Region, Variation
from sa3_edge.manifest import Manifest

Array = NDArray[np.float32]
Span = tuple[int, int]  # samples [start, end)

LOWEST_NOISE_LEVEL = 0.01  # below it the model was never trained
CROSSFADE_SECONDS = 0.03


@dataclass(frozen=True)
class Plan:
    """A request with everything settled that does not need computing.

    source: the recording where it lies in the clip, (channels, allocated samples), if there is one; shorter where
        nothing of it is kept beyond
    regions: samples to make anew, None if nothing of the recording is to be kept as it is
    splice: whether the recording is put back outside the regions
    notes: what was done so that the recording fits
    """

    seconds: float
    lengths: Lengths
    source: Array | None = None
    regions: tuple[Span, ...] | None = None
    splice: bool = False
    notes: tuple[str, ...] = ()


def seconds_of(samples: int, rate: int) -> float:
    """Seconds that count as exactly this many samples: int(seconds * rate) == samples."""
    seconds = samples / rate
    return seconds if int(seconds * rate) == samples else math.nextafter(seconds, math.inf)


def plan_request(request: GenerationRequest, headroom: float, manifest: Manifest) -> Plan:
    """Settle lengths and regions, and read the recording. Raises RequestError for an invalid request."""
    try:
        match request.edit:
            case None:
                seconds = DEFAULT_SECONDS if request.seconds is None else request.seconds
                lengths = plan_lengths(seconds, headroom, manifest, request.min_compose)
                return Plan(seconds, lengths, regions=_regions_after(request, lengths, manifest))
            case Variation():
                return _plan_variation(request, request.edit, headroom, manifest)
            case Inpainting():
                return _plan_inpainting(request, request.edit, headroom, manifest)
            case Continuation():
                return _plan_continuation(request, request.edit, headroom, manifest)
    except OverflowError as error:  # seconds that are a number, but as samples no longer
        raise RequestError(f"a time in the request is too large: {error}") from None


def _regions_after(request: GenerationRequest, lengths: Lengths, manifest: Manifest) -> tuple[Span, ...] | None:
    """What is new in a clip that goes on from latents; None for one that does not."""
    if request.after is None:
        return None
    audio = manifest.audio
    shape = request.after.shape
    if len(shape) != 3 or shape[:2] != (1, audio.latent_channels):
        raise RequestError(f"latents must be (1, {audio.latent_channels}, frames), got {shape}")
    given = shape[2] * audio.samples_per_frame
    if given >= lengths.samples:
        raise RequestError(
            f"{lengths.samples} samples are no more than the {given} of the latents that they go on from"
        )
    return ((given, lengths.samples),)


def _plan_variation(request: GenerationRequest, edit: Variation, headroom: float, manifest: Manifest) -> Plan:
    if not LOWEST_NOISE_LEVEL <= edit.noise_level <= 1:
        raise RequestError(f"noise level must be from {LOWEST_NOISE_LEVEL} to 1, got {edit.noise_level}")
    audio = manifest.audio
    length = edit.source.samples_at(audio.sample_rate)
    seconds = _source_seconds(edit, manifest) if request.seconds is None else request.seconds
    lengths = plan_lengths(seconds, headroom, manifest, request.min_compose)
    other_length = []
    if lengths.samples != length:
        action = "the rest is silence" if lengths.samples > length else "what comes later is not used"
        other_length = [f"{edit.source.name} is {length / audio.sample_rate:.2f} s, the clip {seconds:g} s; {action}"]
    wanted = lengths.allocated * audio.samples_per_frame
    source, notes = edit.source.load(wanted, audio.sample_rate, audio.channels)
    return Plan(seconds, lengths, source, notes=(*other_length, *notes))


def _plan_inpainting(request: GenerationRequest, edit: Inpainting, headroom: float, manifest: Manifest) -> Plan:
    audio = manifest.audio
    length = edit.source.samples_at(audio.sample_rate)
    seconds = _source_seconds(edit, manifest) if request.seconds is None else request.seconds
    lengths = plan_lengths(seconds, headroom, manifest, request.min_compose)
    if lengths.samples > length:
        raise RequestError(
            f"{edit.source.name} ends after {length / audio.sample_rate:.2f} s, before the clip's {seconds:g} s; "
            "to go on after its end, extend it"
        )
    regions = _check_regions(edit.regions, lengths.samples, audio.sample_rate)
    wanted = lengths.allocated * audio.samples_per_frame
    source, notes = edit.source.load(wanted, audio.sample_rate, audio.channels)
    return Plan(seconds, lengths, source, regions, edit.splice, notes)


def _plan_continuation(request: GenerationRequest, edit: Continuation, headroom: float, manifest: Manifest) -> Plan:
    audio = manifest.audio
    if request.seconds is not None:
        raise RequestError("seconds follows from the recording when it is extended; leave it out")
    for name, value in (("extend", edit.extend), ("prepend", edit.prepend)):
        if not math.isfinite(value) or value < 0 or 0 < value < SHORTEST_SECONDS:
            raise RequestError(f"{name} must be {SHORTEST_SECONDS} seconds or more, got {value}")
    if edit.extend == 0 and edit.prepend == 0:
        raise RequestError("say by how many seconds to extend or to prepend")
    length = edit.source.samples_at(audio.sample_rate)
    before, after = (int(value * audio.sample_rate) for value in (edit.prepend, edit.extend))
    _check_room(edit, length, before + after, manifest)
    total = before + length + after
    seconds = seconds_of(total, audio.sample_rate)
    lengths = plan_lengths(seconds, headroom, manifest, request.min_compose)
    allocated = lengths.allocated * audio.samples_per_frame
    if not edit.splice:
        # Silence that is only masked need not be encoded, beyond what the last frame's latents feel of it.
        heard = -(-(before + length) // audio.samples_per_frame) + manifest.tiles.encoder.overlap
        heard += -heard % manifest.tiles.encoder.multiple
        allocated = min(allocated, heard * audio.samples_per_frame)
    source, notes = edit.source.load(allocated - before, audio.sample_rate, audio.channels)
    if before:
        source = np.pad(source, ((0, 0), (before, 0)))
    regions = tuple(span for span in ((0, before), (before + length, total)) if span[0] < span[1])
    return Plan(seconds, lengths, source, regions, edit.splice, notes)


def _source_seconds(edit: Variation | Inpainting, manifest: Manifest) -> float:
    """The clip's length when none is asked for: the recording's."""
    rate = manifest.audio.sample_rate
    seconds = seconds_of(edit.source.samples_at(rate), rate)
    if seconds < SHORTEST_SECONDS:
        raise RequestError(
            f"{edit.source.name} is too short: {seconds:.4f} s, where {SHORTEST_SECONDS} s and more can be made"
        )
    if seconds > manifest.max_seconds:
        raise RequestError(
            f"{edit.source.name} is {seconds:.2f} s, more than {manifest.model.name} takes in one pass; "
            f"say how many seconds of it to use, at most {manifest.max_seconds:g}"
        )
    return seconds


def _check_room(edit: Continuation, length: int, added: int, manifest: Manifest) -> None:
    rate = manifest.audio.sample_rate
    room = int(manifest.max_seconds * rate) - length
    if added > room:
        possible = f"at most {room / rate:.2f} s can be added" if room > 0 else "nothing can be added"
        raise RequestError(
            f"{edit.source.name} is {length / rate:.2f} s and the longest clip is {manifest.max_seconds:g} s: "
            f"{possible}, {added / rate:g} s were asked for"
        )


def _check_regions(regions: tuple[Region, ...], samples: int, rate: int) -> tuple[Span, ...]:
    """Regions in samples, in order. Raises RequestError for one that is empty, outside or overlaps another."""
    if not regions:
        raise RequestError("inpainting needs at least one region")
    spans = []
    for region in regions:
        start = 0.0 if region.start is None else region.start
        end = math.inf if region.end is None else region.end
        said = f"region {start:g}:{'' if region.end is None else f'{end:g}'}"
        if not math.isfinite(start) or start < 0 or (region.end is not None and not math.isfinite(end)):
            raise RequestError(f"{said} must lie within the clip, from 0 to {samples / rate:.2f} s")
        if end < start:
            raise RequestError(f"{said} ends before it starts")
        first, last = int(start * rate), samples if region.end is None else int(end * rate)
        if first >= samples or last > samples:
            raise RequestError(f"{said} reaches beyond the clip's {samples / rate:.2f} s")
        if first == last:
            raise RequestError(f"{said} is empty")
        spans.append((first, last))
    spans.sort()
    for (_, end_sample), (next_start, _) in itertools.pairwise(spans):
        if next_start < end_sample:
            raise RequestError(f"regions overlap at {next_start / rate:g} s")
    return tuple(spans)


def keep_mask(plan: Plan, samples_per_frame: int) -> Array:
    """(1, 1, T): 1 for latent frames to keep. A frame goes by its first sample, as in the reference."""
    first_samples = np.arange(plan.lengths.valid) * samples_per_frame
    keep = first_samples < plan.lengths.samples
    for start, end in plan.regions or ():
        keep &= (first_samples < start) | (first_samples >= end)
    return keep.astype(np.float32)[None, None]


def splice(audio: Array, plan: Plan, rate: int, first: int = 0) -> Array:
    """Put the recording's samples back outside the regions; audio is (channels, n), the clip's from sample `first` on.

    Within 30 ms of a region the two are crossfaded, all on the recording's side: what was to be made anew is all new,
    and where a recording ends there is nothing of it beyond to fade with. Farther out the samples are the recording's.
    """
    if plan.source is None or plan.regions is None:
        return audio
    position = np.arange(first, first + audio.shape[-1])
    distance = np.full(audio.shape[-1], np.inf)
    for start, end in plan.regions:
        outside = np.maximum(start - position, position - end + 1)
        distance = np.minimum(distance, np.maximum(outside, 0))
    # 0 in a region, 1 beyond the fade, half a cosine between.
    progress = np.clip(distance / (CROSSFADE_SECONDS * rate), 0.0, 1.0)
    recording_share = 0.5 - 0.5 * np.cos(np.pi * progress)
    source = plan.source[:, first : first + audio.shape[-1]]
    mixed = (audio + (source - audio) * recording_share).astype(np.float32)
    return np.where(progress >= 1.0, source, np.where(progress <= 0.0, audio, mixed))


def without_source(plan: Plan) -> Plan:
    """The plan after the recording is encoded and will not be spliced: its samples can be freed."""
    return plan if plan.splice else replace(plan, source=None)
