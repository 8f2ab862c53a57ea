"""Pieces longer than a pass, or of several prompts: passes chained by continuation, in memory that does not grow.

Each pass goes on from the last latents of the one before, which it keeps, and of what it makes only the new part is
taken, so what was made once never changes and nothing is encoded again. It begins a little before the pass
before it ends; over that overlap one goes over into the other, at the level of the first.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.limiter import limit_blocks
from sa3_edge.compose.passes import pass_seed, progress_of
from sa3_edge.compose.unfinished import Unfinished
from sa3_edge.errors import RequestError
from sa3_edge.generation.editing import seconds_of
from sa3_edge.generation.made import Stream
from sa3_edge.generation.pipeline import Pipeline, Progress
from sa3_edge.generation.request import Blend, GenerationRequest, Sampling
from sa3_edge.manifest import Manifest

Array = NDArray[np.float32]
LONGEST_SECONDS = 3600.0
SHORTEST_SECTION = 2.0  # seconds
_CONTEXT_SHARE = 6  # of the longest pass one such part is what it continues: 20 s of 120
_OVERLAP_FRAMES = 2  # latent frames, a fifth of a second
_LEVEL_SECONDS = 3.0  # of what two passes both have, by which their levels are compared
_BLEND_SECONDS = 4.0  # around a section's beginning, and no more than half of either section
_MOST_GAIN = 2.0
_FAINT = 1e-4  # root mean square: quieter sound says nothing of levels


@dataclass(frozen=True)
class Section:
    """A part of a piece with a prompt of its own."""

    name: str
    seconds: float
    prompt: str


@dataclass(frozen=True)
class Pass:
    """One pass; all in samples of the piece.

    start, stop: what is new in it, `start` on a frame; context: how much before `start` it is given; overlap: how much
    it makes beyond `stop`, for the next to come from; blend_from, blend: the prompt before, and how long after `start`
    it is blended into this one's
    """

    start: int
    stop: int
    context: int
    overlap: int
    prompt: str
    blend_from: str | None = None
    blend: int = 0


def total_samples(sections: tuple[Section, ...], rate: int) -> int:
    """The length of all sections."""
    return round(sum(section.seconds for section in sections) * rate)


def plan_passes(sections: tuple[Section, ...], manifest: Manifest) -> list[Pass]:
    """The passes of a piece. Raises RequestError for one that is too long, or a section that is too short."""
    rate, frame = manifest.audio.sample_rate, manifest.audio.samples_per_frame
    for section in sections:
        if len(sections) > 1 and not section.seconds >= SHORTEST_SECTION:
            raise RequestError(
                f"section {section.name!r} must be {SHORTEST_SECTION:g} seconds or more, got {section.seconds:g}"
            )
    seconds = sum(section.seconds for section in sections)
    if not seconds <= LONGEST_SECONDS:
        raise RequestError(f"{seconds:g} seconds is too long; the longest clip is {LONGEST_SECONDS:g} s")
    longest = int(manifest.max_seconds * rate)
    context = longest // _CONTEXT_SHARE // frame * frame
    overlap = _OVERLAP_FRAMES * frame
    room = longest - context - overlap - frame  # a frame, because passes begin on one
    if context == 0 or room <= overlap:
        raise RequestError(f"{manifest.model.name} makes too little in one pass to be continued")

    passes: list[Pass] = []
    ends = np.cumsum([section.seconds for section in sections])
    bounds = [0, *(round(float(end) * rate) for end in ends)]
    widths = [0, *(_blend_samples(one, other, rate) for one, other in itertools.pairwise(sections)), 0]
    for place, section in enumerate(sections):
        # A blend lies around the bound, so the pass begins half of it before.
        start = bounds[place] - widths[place] // 2
        stop = bounds[place + 1] - widths[place + 1] // 2
        given = 0 if place else context  # the first pass of all is given nothing and makes so much more
        count = max(1, math.ceil((stop - start - given) / room))
        each = (stop - start - given) / count
        cuts = [start, *(start + given + round(each * index) for index in range(1, count)), stop]
        for index in range(count):
            first = cuts[index] // frame * frame
            if passes:
                passes[-1] = replace(passes[-1], stop=first)
            blends = place > 0 and index == 0 and sections[place - 1].prompt != section.prompt
            passes.append(
                Pass(
                    start=first,
                    stop=cuts[index + 1],
                    context=min(context, first - passes[-1].start + passes[-1].context) if passes else 0,
                    overlap=overlap,
                    prompt=section.prompt,
                    blend_from=sections[place - 1].prompt if blends else None,
                    blend=widths[place] if blends else 0,
                )
            )
    passes[-1] = replace(passes[-1], overlap=0)
    return passes


def _blend_samples(one: Section, other: Section, rate: int) -> int:
    return round(min(_BLEND_SECONDS, one.seconds / 2, other.seconds / 2) * rate)


def long_stream(
    pipeline: Pipeline,
    request: GenerationRequest,
    sections: tuple[Section, ...],
    seed: int,
    progress: Progress,
    unfinished: Unfinished | None = None,
) -> Stream:
    """The piece of one seed; `request` says all but lengths and prompts.

    The first sound comes with the first pass's first tile. Passes that `unfinished` keeps are not made again. Has no
    latents. Raises as Pipeline.stream, when its pieces are asked for.
    """
    manifest = pipeline.bundle.manifest
    audio = manifest.audio
    passes = plan_passes(sections, manifest)
    chain = _Chain(pipeline, request, passes, seed, progress, unfinished)
    pieces = chain.pieces()
    if request.limiter:
        pieces = limit_blocks(pieces, audio.sample_rate)
    return Stream.of(
        pieces,
        latents=np.zeros((1, audio.latent_channels, 0), np.float32),
        seconds=seconds_of(passes[-1].stop, audio.sample_rate),
        samples=passes[-1].stop,
        sample_rate=audio.sample_rate,
        channels=audio.channels,
        seed=seed,
        **asdict(Sampling.of(request, manifest.sampler)),
        timings=chain.timings,
        notes=chain.notes,
        free=pipeline.free_unkept,
    )


class _Chain:
    """The passes of a piece, one after another, with what each needs of those before.

    timings, notes: as a Stream's, of the passes that are made so far
    """

    def __init__(
        self,
        pipeline: Pipeline,
        request: GenerationRequest,
        passes: list[Pass],
        seed: int,
        progress: Progress,
        unfinished: Unfinished | None,
    ):
        self._pipeline, self._request, self._passes, self._seed = pipeline, request, passes, seed
        self._progress, self._unfinished = progress, unfinished
        self.timings: dict[str, float] = {}
        self.notes: list[str] = []
        self._audio = pipeline.bundle.manifest.audio
        self._level = int(_LEVEL_SECONDS * self._audio.sample_rate / self._audio.samples_per_frame)
        self._multiple = pipeline.bundle.manifest.tiles.decoder.multiple
        self._recent = _Recent((self._level + self._multiple) * self._audio.samples_per_frame)
        self._latents: Array | None = None  # that the next pass goes on from
        self._beyond: Array | None = None  # what the pass before made after its end

    def pieces(self) -> Iterator[Array]:
        """The whole piece in (channels, n), before the limiter."""
        for index, each in enumerate(self._passes):
            wanted = each.stop - each.start
            made, beyond = 0, []
            for piece in self._kept_or_made(index):
                new = piece[:, : max(0, wanted - made)]
                if new.shape[-1] < piece.shape[-1]:
                    beyond.append(piece[:, new.shape[-1] :])
                made += piece.shape[-1]
                if new.shape[-1]:
                    self._recent.add(new)
                    yield new
            self._beyond = np.concatenate(beyond, axis=1) if beyond else None

    def _kept_or_made(self, index: int) -> Iterator[Array]:
        """Samples of a pass from its start to the end of its overlap, as they are in the piece."""
        each = self._passes[index]
        if self._unfinished is None:
            return self._made(index)
        length = each.stop - each.start + each.overlap
        kept = self._unfinished.read(index, self._audio.channels, length)
        if kept is not None:
            if not any("were kept" in note for note in self.notes):
                self.notes.append("passes that an interrupted run has made were kept")
            self._latents, pieces = kept
            return pieces
        return self._unfinished.keeping(index, self._made(index), lambda: self._latents)

    def _made(self, index: int) -> Iterator[Array]:
        each = self._passes[index]
        frame, rate = self._audio.samples_per_frame, self._audio.sample_rate
        before = (each.start - each.context) // frame
        there = -(-(each.start + self._passes[index - 1].overlap) // frame) if index else 0
        decoded = (before, there, -(-self._passes[-1].stop // frame))
        progress = progress_of(self._progress, index, len(self._passes), decoded)
        last = index == len(self._passes) - 1
        length = each.stop - each.start + each.overlap
        blend = None
        if each.blend_from is not None:
            blend = Blend(each.blend_from, each.context / rate, (each.context + each.blend) / rate)
        request = replace(
            self._request,
            prompt=each.prompt,
            seconds=seconds_of(each.context + length, rate),
            seed=pass_seed(self._seed, index),
            limiter=False,  # of the whole
            # Told of the whole piece the model writes no ending; the last pass is to have one.
            piece_seconds=None if last else self._passes[-1].stop / rate,
            after=self._latents,
            blend=blend,
        )
        stream = self._pipeline.stream(request, progress)
        self._latents = None if last else self._handed_on(each, self._passes[index + 1], stream.latents)
        if index == 0:
            yield from stream
        else:
            given = each.context // frame
            heard = min(given, self._level)
            heard += (given - heard) % self._multiple
            yield from self._continued(stream.pieces(given - heard), self._recent.last(heard * frame))
        for key, time in stream.timings.items():
            if "." in key:
                self.timings[key] = self.timings.get(key, 0.0) + time
        self.notes += [note for note in stream.notes if note not in self.notes]

    def _handed_on(self, each: Pass, following: Pass, latents: Array) -> Array:
        first = (following.start - following.context - each.start + each.context) // self._audio.samples_per_frame
        return latents[:, :, first : first + following.context // self._audio.samples_per_frame].copy()

    def _continued(self, pieces: Iterator[Array], known: Array) -> Iterator[Array]:
        """The new part of a pass whose `pieces` begin with what it continues, as much of it as is `known`."""
        beyond = self._beyond
        assert beyond is not None
        first = np.zeros((self._audio.channels, 0), np.float32)
        given, overlap = known.shape[-1], beyond.shape[-1]
        while first.shape[-1] < given + overlap:
            first = np.concatenate((first, next(pieces)), axis=1)
        gain = level_gain(np.concatenate((known, beyond), axis=1), first[:, : given + overlap])
        yield crossfade(beyond, first[:, given : given + overlap] * gain)
        first = first[:, given + overlap :] * gain
        if first.shape[-1]:
            yield first
        del first, known, beyond
        for piece in pieces:
            yield piece * gain


class _Recent:
    """The last samples of what was made."""

    def __init__(self, most: int):
        self._most, self._pieces, self._length = most, deque[Array](), 0

    def add(self, piece: Array) -> None:
        self._pieces.append(piece[:, -self._most :].copy())
        self._length += self._pieces[-1].shape[-1]
        while self._length - self._pieces[0].shape[-1] >= self._most:
            self._length -= self._pieces.popleft().shape[-1]

    def last(self, samples: int) -> Array:
        joined = np.concatenate(list(self._pieces), axis=1)
        return joined[:, joined.shape[-1] - samples :].copy()


def level_gain(kept: Array, again: Array) -> np.float32:
    """The gain that brings a pass to the level of the one before, measured where they overlap; within 6 dB."""
    levels = [math.sqrt(float(np.mean(np.square(each, dtype=np.float64)))) for each in (kept, again)]
    if min(levels) < _FAINT:
        return np.float32(1)
    return np.float32(min(max(levels[0] / levels[1], 1 / _MOST_GAIN), _MOST_GAIN))


def crossfade(one: Array, other: Array) -> Array:
    """An equal-power crossfade of (channels, n) each, corrected for how correlated the two are."""
    angle = np.pi / 2 * (np.arange(one.shape[-1]) + 0.5) / one.shape[-1]
    falling, rising = np.cos(angle), np.sin(angle)
    energy = math.sqrt(float(np.sum(np.square(one, dtype=np.float64)) * np.sum(np.square(other, dtype=np.float64))))
    likeness = float(np.sum(one * other, dtype=np.float64)) / energy if energy else 0.0
    # What is alike adds up in amplitude, what is not in power.
    power = 1 + 2 * max(0.0, likeness) * falling * rising
    faded: Array = ((one * falling + other * rising) / np.sqrt(power)).astype(np.float32)
    return faded
