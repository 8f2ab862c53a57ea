"""What a graph's Core ML package takes, where that differs from the graph, and how it is meant to run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sa3_edge.manifest import ComputeUnits
from sa3_export.graphs.graph import Graph, TensorSpec
from sa3_export.networks.layers import with_the_same_weights
from sa3_export.precision import FIXED_FRAMES, CoreMLOptions

FRAME_BIAS = "frame_bias"

_Selector = Callable[[Any], bool]


class _HalfTable(nn.Module):
    """The text encoder with its bf16 table as fp16, which Core ML can hold; rows still widen to fp32."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = with_the_same_weights(encoder)
        table = self.encoder.embed_tokens
        assert isinstance(table, nn.Embedding)
        table.weight = nn.Parameter(table.weight.half(), requires_grad=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(input_ids)
        return hidden


def package_graph(graph: Graph) -> Graph:
    """The graph as its package computes it: the same function of the same inputs, and a mask for the denoiser.

    The package's denoiser takes all memory + frames rows of the local embeddings, and `frame_bias` (1, frames): 0
    for a frame, MASKED_LOGIT for padding.
    """
    if graph.name == "text_encoder":
        return replace(graph, module=_HalfTable(graph.module.encoder))  # type: ignore[arg-type]
    if graph.name != "denoiser":
        return graph
    all_keys = graph.sizes(graph.longest)["keys"]
    return replace(
        graph,
        inputs=(*graph.inputs, TensorSpec(FRAME_BIAS, (1, graph.leading_axis), pad="mask")),
        sizes=lambda frames: {**graph.sizes(frames), "keys": all_keys},
    )


def _feeds_an_angle(op: Any) -> bool:
    """Whether an operation computes the argument of a Fourier feature: up to 62 832 radians, 32 apart in fp16."""
    kind: str = op.op_type
    if kind in {"cos", "sin"}:
        return True
    return kind in {"mul", "sub", "real_div", "clip", "expand_dims"} and any(
        _feeds_an_angle(child) for output in op.outputs for child in output.child_ops
    )


def _rounds_a_factor(op: Any) -> bool:
    """Whether an operation multiplies by a number that fp16 does not have, such as 48 ** -0.5: all would be off."""
    if op.op_type != "mul":
        return False
    factors = [source.val for source in (op.x, op.y) if source.rank == 0 and source.val is not None]
    return any(float(np.float16(factor)) != float(factor) for factor in factors)


def _all_but_angles(op: Any) -> bool:
    return not _feeds_an_angle(op) and not _rounds_a_factor(op)


def _products_only(op: Any) -> bool:
    return bool(op.op_type == "linear")


def stored_in_half(graph: Graph, part: nn.Module, name: str) -> bool:
    """Whether an fp16 package rounds the weight `name` of a part of the graph's module to fp16."""
    if graph.name == "text_encoder":
        return isinstance(part, nn.Linear)
    return graph.name in {"denoiser", "conditioner"} and name != "frequencies"


@dataclass(frozen=True)
class PackagePlan:
    """How one graph is converted. `half` says which operations compute in fp16 when the package is not fp32,
    None that none does; `full_inputs` stay fp32; `fixed` are the lengths of its fixed functions."""

    compute_units: ComputeUnits
    half: _Selector | None
    full_inputs: frozenset[str]
    fixed: tuple[int, ...]


def plan_for(graph: Graph, options: CoreMLOptions) -> PackagePlan:
    """How this graph is converted; the decoder has a function for the tiles it is mostly given."""
    match graph.name:
        case "denoiser":
            fixed = options.fixed_frames
            if fixed is None:
                fixed = (*(frames for frames in FIXED_FRAMES if frames < graph.longest), graph.longest)
            return PackagePlan("cpu_and_ne", _all_but_angles, frozenset({"t"}), fixed)
        case "conditioner":
            # The CPU: a GPU's cosine of thousands of radians is not to be trusted, and this runs once.
            return PackagePlan("cpu_only", _all_but_angles, frozenset({"seconds"}), ())
        case "text_encoder":
            return PackagePlan("cpu_and_gpu", _products_only, frozenset(), ())
        case "decoder":
            assert graph.tiles is not None
            return PackagePlan("cpu_and_gpu", None, frozenset(), (graph.tiles.frames + 2 * graph.tiles.overlap,))
    return PackagePlan("cpu_and_gpu", None, frozenset(), ())


def example_at(graph: Graph, length: int, seed: int = 0) -> dict[str, Tensor]:
    """Random inputs of `package_graph(graph)`, no frame masked."""
    masks = {spec.name: torch.zeros(1, length) for spec in graph.inputs if spec.name == FRAME_BIAS}
    return graph.example(length, seed) | masks
