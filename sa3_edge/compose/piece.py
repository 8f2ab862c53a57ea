"""What is to be composed, and composing it: the way from a request, with all that goes beyond one pass, to sound."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sa3_edge.compose.endings import Endings, check_fades, finished
from sa3_edge.compose.loop import SHORTEST_SECONDS, loop_stream
from sa3_edge.compose.tempo import Bars
from sa3_edge.errors import RequestError
from sa3_edge.generation.editing import plan_request, seconds_of
from sa3_edge.generation.pipeline import SILENT, Pipeline, Progress, Stream
from sa3_edge.generation.request import GenerationRequest
from sa3_edge.manifest import Manifest


@dataclass(frozen=True)
class Piece:
    """A request, and what is made of it.

    bars: the length, instead of the request's seconds
    loop: whether the end leads into the beginning
    """

    request: GenerationRequest
    bars: Bars | None = None
    loop: bool = False
    endings: Endings = field(default_factory=Endings)

    def settled(self, manifest: Manifest) -> GenerationRequest:
        """The request with the length in seconds that are exactly its samples."""
        if self.bars is None:
            return self.request
        rate = manifest.audio.sample_rate
        return replace(self.request, seconds=seconds_of(self.bars.samples(rate), rate))

    def samples(self, manifest: Manifest) -> int:
        """The length before silence is trimmed. Raises RequestError for what this model cannot make."""
        request, sampler, rate = self.settled(manifest), manifest.sampler, manifest.audio.sample_rate
        headroom = sampler.headroom_seconds if request.headroom is None else request.headroom
        samples = plan_request(request, headroom, manifest, []).lengths.samples
        if self.loop and samples < SHORTEST_SECONDS * rate:
            raise RequestError(f"a loop must be {SHORTEST_SECONDS} seconds or more, got {samples / rate:.2f}")
        check_fades(self.endings, samples, rate)
        return samples


def stream_many(pipeline: Pipeline, piece: Piece, seeds: range, progress: Progress = SILENT) -> Iterator[Stream]:
    """A clip of each seed, each when it is asked for; its pieces must be taken before the next is asked for.

    Raises as Pipeline.stream_many.
    """
    manifest = pipeline.bundle.manifest
    if piece.loop or piece.endings.fade_in or piece.endings.fade_out:
        piece.samples(manifest)
    request = piece.settled(manifest)
    streams: Iterator[Stream]
    if piece.loop:
        streams = (loop_stream(pipeline, request, seed, progress) for seed in seeds)
    else:
        streams = pipeline.stream_many(replace(request, seed=seeds[0]), len(seeds), progress)
    for stream in streams:
        yield finished(stream, piece.endings, loop=piece.loop)
