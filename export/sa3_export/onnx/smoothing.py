"""Outliers of activations, moved into the weights beside them: the same function, of which int8 loses less.

One scale for all channels of an activation leaves few levels to most of them where a few are large. Between a layer
that makes a tensor and the one that reads it, channels can be scaled down and up again (SmoothQuant, arXiv:2211.10438).
Scales are powers of two, so in fp32 not one bit of the result changes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa3_export.graphs.graph import Graph
from sa3_export.networks.layers import HiddenScale, with_the_same_weights
from sa3_export.onnx.quantize import LARGEST

# How much of the difficulty moves from the activation to the weights: 0 evens out the weights alone, 1 the activation.
_STRENGTHS = (0.25, 0.5, 0.75)
# Of the leading axis, in its own steps. A few tokens would not do: their own largest values are not those of others.
_SEEN = 64
_JUDGED = 1024  # rows of an activation, spread over it
_LEAST = 1e-9  # of what is divided by


def hidden_tensors(graph: Graph) -> list[HiddenScale]:
    """The hidden tensors in the blocks of the graph's traced module."""
    inside = (getattr(part, "hidden", None) for part in graph.traced.modules())
    return [hidden for hidden in inside if isinstance(hidden, HiddenScale)]


def smooth(graph: Graph) -> Graph:
    """The graph with its hidden tensors scaled, each by what is best for int8, or not at all.

    Channels are measured on random inputs; what is best is decided on others, by the error of the layer that reads.
    The modules of `graph` stay as they are: the result is measured against them.
    """
    graph = replace(graph, arranged=with_the_same_weights(graph.traced))
    length = min(graph.longest, _SEEN * graph.step)
    tensors = {hidden.reader: hidden for hidden in hidden_tensors(graph)}
    largest: dict[nn.Linear, Tensor] = {}
    best: dict[nn.Linear, Tensor] = {}

    def measure(reader: nn.Linear, x: Tensor) -> None:
        largest[reader] = x.abs().flatten(0, -2).amax(dim=0)

    def choose(reader: nn.Linear, x: Tensor) -> None:
        rows = x.flatten(0, -2)
        rows = rows[:: -(-len(rows) // _JUDGED)]
        scales = [torch.ones(reader.in_features)]
        scales += [_scale(largest[reader], reader.weight, strength) for strength in _STRENGTHS]
        best[reader] = min(scales, key=lambda scale: _int8_error(rows / scale, reader.weight * scale))

    with torch.no_grad():
        for look, seed in ((measure, 0), (choose, 1)):
            with _looking(tensors, look):
                graph.traced(**graph.example(length, seed))
        for reader, scale in best.items():
            tensors[reader].divide(scale)
    return graph


@contextmanager
def _looking(readers: Iterable[nn.Linear], look: Callable[[nn.Linear, Tensor], None]) -> Iterator[None]:
    """While the block runs, `look` is called with each layer that runs and its input."""
    handles = [reader.register_forward_pre_hook(lambda layer, inputs: look(layer, inputs[0])) for reader in readers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scale(largest: Tensor, weight: Tensor, strength: float) -> Tensor:
    """By channel: SmoothQuant's, rounded to a power of two. Their mean is 1, so that nothing grows or shrinks."""
    wanted = strength * largest.clamp(min=_LEAST).log2()
    wanted -= (1 - strength) * weight.abs().amax(dim=0).clamp(min=_LEAST).log2()
    return torch.exp2((wanted - wanted.mean()).round())


def _int8_error(x: Tensor, weight: Tensor) -> float:
    """What a layer's result loses in int8, quantized as `quantize` does: sum of squares."""
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    step = ((high - low) / 255).clamp(min=_LEAST)
    steps = (weight.abs().amax(dim=1, keepdim=True) / LARGEST).clamp(min=_LEAST)
    coarse = F.linear((x / step).round() * step, (weight / steps).round() * steps)
    return float((coarse - F.linear(x, weight)).square().sum())
