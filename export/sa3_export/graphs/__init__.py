"""The five graphs of a bundle: what goes in, what comes out, and which part of the checkpoint computes it."""

from collections.abc import Callable, Mapping

from sa3_edge.manifest import GraphName
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs import codec, conditioner, denoiser, text_encoder
from sa3_export.graphs.graph import Graph, Sample

# Built one at a time: the caller drops a graph's weights before it asks for the next.
GRAPHS: dict[GraphName, Callable[[Checkpoint], Graph]] = {
    "text_encoder": text_encoder.build,
    "conditioner": conditioner.build,
    "denoiser": denoiser.build,
    "decoder": codec.build_decoder,
    "encoder": codec.build_encoder,
}
# What a bundle does not say of its graphs' inputs: values as they are met in use, where those are not normal.
SAMPLES: dict[GraphName, Mapping[str, Sample]] = {
    "text_encoder": text_encoder.SAMPLES,
    "conditioner": conditioner.SAMPLES,
    "denoiser": denoiser.SAMPLES,
    "decoder": {},
    "encoder": {},
}

__all__ = ["GRAPHS", "SAMPLES", "Graph"]
