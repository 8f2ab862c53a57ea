"""Linear layers of the transformer blocks in int8: a quarter of the bytes, and the processor's integer products.

Weights are signed, one scale an output channel; unsigned weights miss the fast kernels of x86. Activations are
quantized as they come, one scale a tensor. Attention, softmax, norms, convolutions and the first and last projections
stay fp32: they cost little, and an error in the last is not damped by anything.

The operators are ONNX's own, so that any runtime can read the graph; ONNX Runtime fuses each layer's into one.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_SCOPES = "pkg.torch.onnx.name_scopes"  # where the tracer notes the modules that a node comes from
_IN_BLOCK = re.compile(r"(?:layers|transformers)\.(\d+)\.(self_attn|cross_attn|ff|mlp)\b")
LARGEST = 127  # symmetric: -128 is not used, so that a weight and its negative are equally exact


def block_linears(model: ir.Model) -> dict[int, list[ir.Node]]:
    """By block, the products with constant weights in its attention and feed-forward parts, as traced."""
    found = defaultdict[int, list[ir.Node]](list)
    for node in model.graph:
        inside = _IN_BLOCK.search(node.metadata_props.get(_SCOPES, ""))
        if inside and node.op_type == "MatMul" and node.inputs[1] is not None and node.inputs[1].is_initializer():
            found[int(inside[1])].append(node)
    return dict(found)


def quantize_weight(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weight (K, N) -> int8 (K, N) and scales (N,), so that weight is about int8 * scales."""
    largest = np.abs(weight).max(axis=0)
    scales = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales


def quantize(model: ir.Model, linears: Iterable[ir.Node]) -> None:
    """Put int8 products in the place of `linears`, nodes of `model`."""
    graph = model.graph
    activations: dict[ir.Value, ir.Node] = {}
    for linear in linears:
        source, weight = linear.inputs
        assert source is not None
        assert weight is not None
        assert weight.const_value is not None
        if source not in activations:
            # Layers that read one tensor (q, k, v; value, gate) share its quantization.
            made = ir.node("DynamicQuantizeLinear", [source], num_outputs=3)
            graph.insert_before(linear, made)
            activations[source] = made
        levels, scale, zero_point = activations[source].outputs
        quantized, scales = quantize_weight(weight.const_value.numpy())
        stored, stored_scales = (
            _initializer(graph, f"{weight.name}.{kind}", array)
            for kind, array in (("int8", quantized), ("scales", scales))
        )
        # 0 is implied too, but ONNX Runtime 1.26 reads this input where it makes signed weights unsigned, and ends the
        # process without. One for each weight: 1.32 then replaces it, and fails at one that it has replaced before.
        weight_zero = _initializer(graph, f"{weight.name}.zero_point", np.zeros((), np.int8))
        product = ir.node("MatMulInteger", [levels, stored, zero_point, weight_zero])
        real = ir.node("Cast", [product.outputs[0]], {"to": ir.DataType.FLOAT})
        both_scales = ir.node("Mul", [scale, stored_scales])
        result = ir.node("Mul", [real.outputs[0], both_scales.outputs[0]])
        ir.convenience.replace_nodes_and_values(
            graph, linear, [linear], [product, real, both_scales, result], linear.outputs, result.outputs
        )
        if not weight.uses():
            graph.initializers.pop(str(weight.name))


def _initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    value = graph.initializers.get(name)
    if value is None:
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
        graph.register_initializer(value)
    return value
