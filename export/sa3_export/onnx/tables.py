"""A bf16 table in a type that every engine looks rows up in: some builds of ONNX Runtime for the web have no bf16."""

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

# What a value may lose: a quarter of fp32's step at its row's largest value, which no sum over the row can see.
_INVISIBLE = 2.0**-26


def widen_tables(model: ir.Model) -> None:
    """Store each bf16 table that rows are gathered from in fp16, times a power of two; in fp32 if it does not fit so.

    fp16 has more digits than bf16 but less range: the factor moves a table's values to where they are exact. The rows
    are divided by it after they are widened to fp32, which is exact too.
    """
    for value in list(model.graph.initializers.values()):
        if value.const_value is None or value.const_value.dtype != ir.DataType.BFLOAT16:
            continue
        table = value.const_value.numpy().astype(np.float32)
        factor = _factor(table)
        if factor is None:
            dtype = ir.DataType.FLOAT
            value.const_value = ir.tensor(table, name=value.name)
        else:
            dtype = ir.DataType.FLOAT16
            value.const_value = ir.tensor((table * np.float32(factor)).astype(np.float16), name=value.name)
        value.dtype = dtype
        for gather in list(value.consumers()):
            _follow(model, gather, dtype, factor or 1.0)


def _factor(table: NDArray[np.float32]) -> float | None:
    """The power of two that lets fp16 hold the table, None if none does."""
    largest = float(np.abs(table).max(initial=0.0))
    if largest == 0.0:
        return 1.0
    factor = 2.0 ** (15 - math.frexp(largest)[1])  # the largest value ends up below 2^15
    for rows in np.array_split(table, max(1, len(table) // 4096)):
        kept = (rows * np.float32(factor)).astype(np.float16).astype(np.float32) / np.float32(factor)
        if (np.abs(kept - rows) > _INVISIBLE * np.abs(rows).max(axis=-1, keepdims=True)).any():
            return None
    return factor


def _follow(model: ir.Model, gather: ir.Node, dtype: ir.DataType, factor: float) -> None:
    """Let what uses the rows know their new type, and divide them by the factor once they are fp32."""
    rows = gather.outputs[0]
    casts = list(rows.consumers())
    if gather.op_type != "Gather" or any(node.op_type != "Cast" for node in casts):
        raise AssertionError(f"a bf16 table is used by {gather.op_type}, then {[node.op_type for node in casts]}")
    rows.dtype = dtype
    if factor == 1.0:
        return
    for cast in casts:
        widened = cast.outputs[0]
        scale = ir.val("table_scale", const_value=ir.tensor(np.array(1 / factor, np.float32), name="table_scale"))
        model.graph.register_initializer(scale)
        scaled = ir.node("Mul", [widened, scale])
        scaled.outputs[0].name, scaled.outputs[0].dtype = f"{widened.name}_scaled", ir.DataType.FLOAT
        scaled.outputs[0].shape = widened.shape
        ir.convenience.replace_all_uses_with(widened, scaled.outputs[0])
        scaled.replace_input_with(0, widened)
        model.graph.insert_after(cast, scaled)
