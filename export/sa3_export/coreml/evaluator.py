"""Runs a saved .mlpackage without Core ML: its own program and weights, one operation after the other, in PyTorch."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.frontend.milproto.load import load as load_program
from coremltools.converters.mil.mil import types
from numpy.typing import NDArray
from torch import Tensor

from sa3_export.coreml.mil_ops import OPERATIONS
from sa3_export.errors import EvaluationError

Value = Any  # a tensor, or a constant that is a number, a word or a truth value
_DATA = Path("Data/com.apple.CoreML")


class Package:
    """A saved package. `functions` are the names that `run` takes; a package of one function calls it "main".

    Raises EvaluationError for an operation that is not in the evaluator's table, before anything runs.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            spec = ct.utils.load_spec(str(path))
            weights = str(path / _DATA / "weights")
            self._program = load_program(spec, spec.specificationVersion, weights)
        except Exception as error:  # coremltools raises whatever its parsers raise
            raise EvaluationError(f"{path} is not a package that coremltools can read: {error}") from error
        self.functions: tuple[str, ...] = tuple(self._program.functions)
        self._shapes = {name: _declared_shapes(spec.description, name) for name in self.functions}
        for name, function in self._program.functions.items():
            for op in function.operations:
                if op.op_type != "const" and op.op_type not in OPERATIONS:
                    raise EvaluationError(f"{path}: {name} holds {op.op_type} ({op.name}), which is not evaluated")

    def run(
        self, function: str, inputs: Mapping[str, NDArray[Any]], *, half: bool = True
    ) -> dict[str, NDArray[np.float32]]:
        """Evaluate one function.

        `half` rounds every fp16 result to fp16, as the Neural Engine does between operations; without it the
        program's fp16 values keep fp32 precision, which shows its structure apart from its rounding.
        """
        if function not in self.functions:
            raise EvaluationError(f"{self.path} has no function {function!r}, only {', '.join(self.functions)}")
        program = self._program.functions[function]
        if inputs.keys() != program.inputs.keys():
            raise EvaluationError(f"{function} takes {', '.join(program.inputs)}, was given {', '.join(inputs)}")
        values: dict[Any, Value] = {}
        for name, var in program.inputs.items():
            shape, declared = inputs[name].shape, self._shapes[function][name]
            if not _within(shape, declared):
                axes = ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in declared)
                raise EvaluationError(f"{function} takes {name} of ({axes}), was given {shape}")
            tensor = torch.from_numpy(np.ascontiguousarray(inputs[name]))
            values[var] = _settle(tensor.float() if tensor.is_floating_point() else tensor, var, half)
        uses = Counter(source for op in program.operations for source in _sources(op))
        with torch.no_grad():
            for op in program.operations:
                if op.op_type != "const":
                    _execute(op, values, half)
                for source in _sources(op):  # a value goes when its last reader has run
                    uses[source] -= 1
                    if not uses[source] and source not in program.outputs:
                        values.pop(source, None)
        return {var.name: values[var].numpy() for var in program.outputs}


def _declared_shapes(description: Any, function: str) -> dict[str, list[tuple[int, int]]]:
    """The least and the most of each axis of a function's inputs: Core ML refuses what is outside."""
    (inputs,) = [each.input for each in description.functions if each.name == function] or [description.input]
    shapes = {}
    for each in inputs:
        array = each.type.multiArrayType
        if array.WhichOneof("ShapeFlexibility") == "shapeRange":
            ranges = array.shapeRange.sizeRanges
            shapes[each.name] = [(axis.lowerBound, axis.upperBound) for axis in ranges]
        else:
            shapes[each.name] = [(size, size) for size in array.shape]
    return shapes


def _within(shape: tuple[int, ...], declared: list[tuple[int, int]]) -> bool:
    return len(shape) == len(declared) and all(
        low <= size <= high for size, (low, high) in zip(shape, declared, strict=True)
    )


def _sources(op: Any) -> list[Any]:
    """The variables an operation reads, in lists or alone."""
    found: list[Any] = []
    for argument in op.inputs.values():
        found.extend(argument if isinstance(argument, (list, tuple)) else [argument])
    return [var for var in found if var is not None]


def _execute(op: Any, values: dict[Any, Value], half: bool) -> None:
    defaults = {name: value for name, value in op.default_inputs().items() if value is not None}
    arguments = {name: _constant(value) for name, value in defaults.items()}
    for name, argument in op.inputs.items():
        if isinstance(argument, (list, tuple)):
            arguments[name] = [_value(var, values) for var in argument]
        elif argument is not None:
            arguments[name] = _value(argument, values)
    try:
        results = OPERATIONS[op.op_type](**arguments)
    except EvaluationError:
        raise
    except Exception as error:
        raise EvaluationError(f"{op.op_type} ({op.name}) could not be evaluated: {error}") from error
    results = results if isinstance(results, tuple) else (results,)
    for var, result in zip(op.outputs, results, strict=True):
        values[var] = _settle(result, var, half)


def _value(var: Any, values: dict[Any, Value]) -> Value:
    return values[var] if var in values else _constant(var.val)


def _constant(value: Any) -> Value:
    """A constant as PyTorch takes it: fp32 for all floats, int32 for all integers, plain scalars."""
    if isinstance(value, np.ndarray) and value.ndim:
        if value.dtype == np.bool_:
            return torch.from_numpy(value)
        kind = torch.float32 if np.issubdtype(value.dtype, np.floating) else torch.int32
        return torch.from_numpy(np.ascontiguousarray(value)).to(kind)
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def _settle(result: Tensor, var: Any, half: bool) -> Tensor:
    """Check a result against its declared shape, and round it if it is declared fp16."""
    result = torch.as_tensor(result)
    declared = var.shape
    fits = len(declared) == result.ndim and all(
        not isinstance(size, (int, np.integer)) or size == actual
        for size, actual in zip(declared, result.shape, strict=True)
    )
    if not fits:
        raise EvaluationError(f"{var.name} is declared as {tuple(declared)}, evaluated as {tuple(result.shape)}")
    if half and var.dtype == types.fp16 and result.is_floating_point():
        return result.half().float()
    return result
