"""From a request to sound, with all that one pass does not do: bars, loops, sections, endings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from sa3_edge.compose.endings import Endings, check_fades, finished
from sa3_edge.compose.long_form import Pass, Section, long_stream, plan_passes, total_samples
from sa3_edge.compose.loop import SHORTEST_SECONDS, loop_stream
from sa3_edge.compose.tempo import Bars
from sa3_edge.compose.unfinished import Unfinished
from sa3_edge.errors import RequestError
from sa3_edge.generation.editing import plan_request, seconds_of
from sa3_edge.generation.made import Stream
from sa3_edge.generation.pipeline import SILENT, Pipeline, Progress
from sa3_edge.generation.request import GenerationRequest, Sampling
from sa3_edge.manifest import Manifest


@dataclass(frozen=True)
class Piece:
    """A request, and what is made of it.

    bars: the length, instead of the request's seconds
    loop: whether the end leads into the beginning
    sections: parts with prompts of their own, instead of the request's seconds and prompt
    """

    request: GenerationRequest
    bars: Bars | None = None
    loop: bool = False
    sections: tuple[Section, ...] = ()
    endings: Endings = field(default_factory=Endings)

    def settled(self, manifest: Manifest) -> GenerationRequest:
        """The request with the length in seconds that are exactly its samples."""
        rate = manifest.audio.sample_rate
        if self.sections:
            return replace(self.request, seconds=seconds_of(total_samples(self.sections, rate), rate))
        if self.bars is None:
            return self.request
        return replace(self.request, seconds=seconds_of(self.bars.samples(rate), rate))

    def parts(self, manifest: Manifest) -> tuple[Section, ...]:
        """The sections, or all as one if it is longer than a pass; none for what one pass makes."""
        seconds = self.settled(manifest).seconds
        if self.sections or self.loop or self.request.edit is not None or seconds is None:
            return self.sections
        return (Section("all", seconds, self.request.prompt),) if seconds > manifest.max_seconds else ()

    def passes(self, manifest: Manifest) -> list[Pass]:
        """The passes of a piece that takes several by its length or its sections, else none. Raises RequestError."""
        parts = self.parts(manifest)
        return plan_passes(parts, manifest) if parts else []

    def samples(self, manifest: Manifest) -> int:
        """The length before silence is trimmed. Raises RequestError for what this model cannot make."""
        request, rate = self.settled(manifest), manifest.audio.sample_rate
        headroom = Sampling.of(request, manifest.sampler).headroom
        passes = self.passes(manifest)
        samples = passes[-1].stop if passes else plan_request(request, headroom, manifest).lengths.samples
        if self.loop and samples < SHORTEST_SECONDS * rate:
            raise RequestError(f"a loop must be {SHORTEST_SECONDS} seconds or more, got {samples / rate:.2f}")
        check_fades(self.endings, samples, rate)
        return samples


def stream_many(
    pipeline: Pipeline,
    piece: Piece,
    seeds: range,
    progress: Progress = SILENT,
    unfinished: Callable[[int], Unfinished] | None = None,
) -> Iterator[Stream]:
    """A clip of each seed, each when it is asked for; its pieces must be taken before the next is asked for.

    `unfinished(seed)` is where passes of a long piece are kept until it is done. Raises as Pipeline.stream_many.
    """
    manifest = pipeline.bundle.manifest
    if piece.loop or piece.endings.fade_in or piece.endings.fade_out:
        piece.samples(manifest)
    request = piece.settled(manifest)
    streams: Iterator[Stream]
    parts = piece.parts(manifest)
    if parts:
        plan_passes(parts, manifest)
        streams = (
            long_stream(pipeline, request, parts, seed, progress, unfinished(seed) if unfinished else None)
            for seed in seeds
        )
    elif piece.loop:
        streams = (loop_stream(pipeline, request, seed, progress) for seed in seeds)
    else:
        streams = pipeline.stream_many(replace(request, seed=seeds[0]), len(seeds), progress)
    for stream in streams:
        yield finished(stream, piece.endings, loop=piece.loop)
