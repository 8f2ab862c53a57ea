"""From a graph's PyTorch module to an ONNX file with its weights beside it.

Attention, norms and rotary embeddings become the fused operators that ONNX Runtime has CPU kernels for. Weights are
stored as the kernels want them: halves of fused projections apart and transposed, so that nothing is rearranged when
the file is loaded.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
import onnxscript.optimizer
import torch

from sa3_export.graphs.graph import Graph, TensorSpec
from sa3_export.networks.kernels import use_kernels
from sa3_export.onnx.kernels import OPSET, OnnxKernels
from sa3_export.onnx.layers import Cuts
from sa3_export.quiet import quiet


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


def trace_onnx(graph: Graph) -> tuple[ir.Model, Cuts]:
    """The graph in ONNX's operators, for any length of its dynamic axes, and where it has the layers' weights.

    It still carries the tracer's notes.
    """
    with use_kernels(OnnxKernels()), torch.no_grad(), quiet("torch.onnx"):  # the tracer's notes on its own internals
        program = torch.onnx.export(
            graph.traced,
            kwargs=graph.example(graph.lengths[1]),
            dynamic_shapes=_dynamic_axes(graph),
            input_names=[spec.name for spec in graph.inputs],
            output_names=[spec.name for spec in graph.outputs],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,  # but below, when weights have been found
        )
        assert program is not None
        cuts = Cuts.of(program.model, graph.adaptable)
        program.optimize()
    model = program.model
    # No size limit: each weight is split, transposed and stored once, here, and not at every load.
    onnxscript.optimizer.fold_constants(model, input_size_limit=2**62, output_size_limit=2**62)
    onnxscript.optimizer.remove_unused_nodes(model)
    _declare(list(model.graph.inputs), graph.inputs)
    _declare(list(model.graph.outputs), graph.outputs)
    model.graph.name, model.doc_string = graph.name, graph.description
    model.producer_name = "sa3-edge"
    return model, cuts


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
