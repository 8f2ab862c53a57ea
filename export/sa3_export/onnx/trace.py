"""From a graph's PyTorch module to an ONNX file with its weights beside it.

Attention, norms and rotary embeddings become the fused operators that ONNX Runtime has CPU kernels for. Weights are
stored as the kernels want them: halves of fused projections apart and transposed, so that nothing is rearranged when
the file is loaded.
"""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
import onnxscript.optimizer
import torch
from torch import Tensor
from torch.onnx.ops import symbolic

from sa3_export.graphs.graph import Graph, TensorSpec
from sa3_export.networks.kernels import use_kernels
from sa3_export.networks.layers import split_heads

OPSET = 23  # the first with RMSNormalization and RotaryEmbedding
_CONTRIB_VERSION = 1


class OnnxKernels:
    """The fused operators. Heads travel folded into the last axis, as the operators take them."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        length, heads, head_dim = q.shape[1:]
        if bias is not None and bias.ndim == 2:
            raise NotImplementedError("ONNX graphs take any length, so no frame is ever masked")
        if isinstance(length, int):
            # Windows, a few tokens each: opset 23's operator, which is done with them sooner.
            operator, version, attributes = "Attention", OPSET, ("q_num_heads", "kv_num_heads")
        else:
            # Whole sequences: ONNX Runtime's own, whose kernel works in tiles; the other stores all logits.
            operator, version, attributes = "com.microsoft::MultiHeadAttention", _CONTRIB_VERSION, ("num_heads",)
        folded = [each.flatten(2) for each in (q, k, v)]
        shape = folded[0].shape
        if bias is not None:
            folded.append(bias)
        attended: Tensor = symbolic(
            operator,
            folded,
            dict.fromkeys(attributes, heads),
            dtype=q.dtype,
            shape=shape,
            version=version,
        )
        return split_heads(attended, head_dim)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        normalized: Tensor = symbolic(
            "RMSNormalization",
            (x, weight),
            {"axis": -1, "epsilon": eps},
            dtype=x.dtype,
            shape=x.shape,
            version=OPSET,
        )
        return normalized

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads, head_dim = x.shape[2:]
        rotated: Tensor = symbolic(
            "RotaryEmbedding",
            (x.flatten(2), cos.expand(x.shape[0], -1, -1), sin.expand(x.shape[0], -1, -1)),
            {"num_heads": heads, "rotary_embedding_dim": 2 * cos.shape[-1]},
            dtype=x.dtype,
            shape=x.flatten(2).shape,
            version=OPSET,
        )
        return split_heads(rotated, head_dim)

    def rounded_here(self, x: Tensor) -> Tensor:
        return torch.relu(x)  # OpenVINO multiplies constants across anything less


def _dynamic_axes(graph: Graph) -> dict[str, dict[int, object]]:
    """torch.export's description of the axes whose length may change."""
    dims: dict[str, object] = {}
    for spec in graph.inputs:
        for axis in spec.shape:
            if isinstance(axis, str) and axis not in dims:
                if axis == graph.leading_axis and graph.step > 1:
                    steps = torch.export.Dim("steps", min=2, max=graph.longest // graph.step)
                    dims[axis] = graph.step * steps
                else:
                    # Length 1 needs no branch here, so the graph is right for it though the tracer assumes 2.
                    dims[axis] = torch.export.Dim(axis, min=2)
    return {
        spec.name: {index: dims[axis] for index, axis in enumerate(spec.shape) if isinstance(axis, str)}
        for spec in graph.inputs
    }


def _declare(values: list[ir.Value], specs: tuple[TensorSpec, ...]) -> None:
    """Give inputs or outputs the symbolic shapes of their specs, in place of the tracer's expressions."""
    for value, spec in zip(values, specs, strict=True):
        if value.name != spec.name:
            raise AssertionError(f"traced as {value.name}, specified as {spec.name}")
        value.shape = ir.Shape(spec.shape)


def trace_onnx(graph: Graph) -> ir.Model:
    """The graph in ONNX's operators, for any length of its dynamic axes; it still carries the tracer's notes."""
    with use_kernels(OnnxKernels()), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's notes on its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph.traced,
            kwargs=graph.example(graph.lengths[1]),
            dynamic_shapes=_dynamic_axes(graph),
            input_names=[spec.name for spec in graph.inputs],
            output_names=[spec.name for spec in graph.outputs],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model
    # No size limit: each weight is split, transposed and stored once, here, and not at every load.
    onnxscript.optimizer.fold_constants(model, input_size_limit=2**62, output_size_limit=2**62)
    onnxscript.optimizer.remove_unused_nodes(model)
    _declare(list(model.graph.inputs), graph.inputs)
    _declare(list(model.graph.outputs), graph.outputs)
    model.graph.name, model.doc_string = graph.name, graph.description
    model.producer_name = "sa3-edge"
    return model


def save_onnx(model: ir.Model, path: Path, metadata: Mapping[str, str]) -> None:
    """Write `path` and its weights, `path` + ".data", without the tracer's notes."""
    _strip_traces(model)
    model.metadata_props.update(metadata)
    ir.save(model, path, external_data=f"{path.name}.data")


def _strip_traces(model: ir.Model) -> None:
    """Drop the tracer's notes: source lines with paths of this machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.initializers.values(), *model.graph.inputs):
        value.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for output in node.outputs:
            output.metadata_props.clear()
