"""Which initializers of a traced graph are which layers' weights: what adapters change at run time.

Read off the graph before constants are folded, where a weight still has its module's name and is cut and transposed by
nodes, and then compared with the weights themselves. Nothing is told by the order or the looks of a tensor.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

from sa3_edge import manifest as m

_EXTERNAL = 256  # bytes; smaller tensors are stored in the graph's file itself


@dataclass(frozen=True)
class _Cut:
    value: str
    first: int
    rows: int
    transposed: bool


@dataclass(frozen=True)
class Cuts:
    """By parameter, the values that are made of it alone by cutting rows and transposing."""

    by_parameter: Mapping[str, tuple[_Cut, ...]]

    @classmethod
    def of(cls, model: ir.Model, parameters: Mapping[str, str]) -> "Cuts":
        """Of a model as it was traced, not yet folded."""
        found = {}
        for name in parameters:
            value = model.graph.initializers.get(name)
            if value is not None and value.uses():
                assert value.shape is not None
                rows = value.shape[0]
                assert isinstance(rows, int)
                found[name] = tuple(_follow(value, 0, rows, transposed=False))
        return cls(found)

    def layers(self, model: ir.Model, module: nn.Module, parameters: Mapping[str, str]) -> dict[str, m.Layer]:
        """Of the same model, folded; `parameters` says which of `module`'s is which layer's weight."""
        layers = {}
        for name, cuts in self.by_parameter.items():
            weight = module.get_parameter(name).detach().numpy()
            for cut in cuts:
                stored = model.graph.initializers[cut.value].const_value
                if stored is None or not np.array_equal(stored.numpy(), _part(weight, cut)):
                    raise AssertionError(f"{cut.value} is not the part of {name} that it was traced as")
            if weight.nbytes // len(weight) * min(cut.rows for cut in cuts) >= _EXTERNAL:
                parts = [
                    m.Part(initializer=cut.value, first=cut.first, rows=cut.rows, transposed=cut.transposed)
                    for cut in cuts
                ]
                layers[parameters[name]] = m.Layer(shape=list(weight.shape), parts=parts)
        return layers


def _part(weight: NDArray[np.float32], cut: _Cut) -> NDArray[np.float32]:
    rows = weight[cut.first : cut.first + cut.rows]
    return rows.T if cut.transposed else rows


def _follow(value: ir.Value, first: int, rows: int, *, transposed: bool) -> Iterator[_Cut]:
    """What is read of a weight, once for each value that is read."""
    read = False
    for node, _ in value.uses():
        out = node.outputs[0]
        if node.op_type == "Slice" and not transposed:
            start, stop, axis, step = (_integer(each) for each in node.inputs[1:])
            if (axis, step) != (0, 1):
                raise AssertionError(f"{out.name} is cut otherwise than by rows")
            start, stop, _ = slice(start, stop).indices(rows)
            yield from _follow(out, first + start, stop - start, transposed=False)
        elif node.op_type == "Transpose" and not transposed:
            yield from _follow(out, first, rows, transposed=True)
        elif node.op_type in {"MatMul", "Gemm", "Conv"}:
            read = True
        elif node.op_type != "Shape":
            raise AssertionError(f"{value.name} is read by {node.op_type}, not known to take a weight as it is")
    if read:
        yield _Cut(str(value.name), first, rows, transposed)


def _integer(value: ir.Value | None) -> int:
    """A constant, through the reshapes that the tracer puts around it."""
    assert value is not None
    producer = value.producer()
    if producer is not None and producer.op_type in {"Reshape", "Cast"}:
        return _integer(producer.inputs[0])
    constant = ir.convenience.get_const_tensor(value)
    if constant is None:
        raise AssertionError(f"{value.name} comes of {producer and producer.op_type}, and is no constant")
    return int(constant.numpy().item())
