"""Shapes of a graph's tensors as the manifest states them: named axes measured, arrays compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import EngineError
from sa3_edge.manifest import Tensor

AnyArray = NDArray[np.generic]
Sizes = Mapping[str, int]


def measure_axes(tensors: list[Tensor], arrays: Mapping[str, NDArray[Any]], graph: str) -> dict[str, int]:
    """Sizes of all named axes. Raises EngineError for an input that is missing or of another shape."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.name not in arrays:
            raise EngineError(f"{graph} needs the input {tensor.name}, which was not given")
        shape = arrays[tensor.name].shape
        for axis, size in zip(tensor.shape, shape, strict=False):
            if isinstance(axis, str):
                sizes.setdefault(axis, size)
        if len(shape) != len(tensor.shape) or shape != shape_of(tensor, sizes):
            raise EngineError(f"{graph}: {tensor.name} has the shape {shape}, expected {tuple(tensor.shape)}")
    return sizes


def check_outputs(
    tensors: list[Tensor], arrays: Mapping[str, NDArray[Any]], sizes: dict[str, int], graph: str, engine: str
) -> None:
    """Raise EngineError unless all outputs are there, in the promised types and shapes, and hold numbers.

    sizes: of axes that are known; those that only outputs have are measured, and may not differ among them. What has
    fewer values than its reader reserves room for would leave memory of the process in a clip.
    """
    for tensor in tensors:
        array = arrays.get(tensor.name)
        if not isinstance(array, np.ndarray):
            raise EngineError(f"{engine} gave no output {tensor.name} of the {graph}")
        for axis, size in zip(tensor.shape, array.shape, strict=False):
            if isinstance(axis, str) and size > 0:
                sizes.setdefault(axis, size)
        wanted = tuple(sizes.get(axis, 1) if isinstance(axis, str) else axis for axis in tensor.shape)
        if array.dtype != np.dtype(tensor.dtype) or array.shape != wanted:
            raise EngineError(
                f"{engine} computed {array.dtype} {array.shape} as the {graph}'s {tensor.name}, "
                f"the manifest promises {tensor.dtype} {wanted}"
            )
        if not np.isfinite(array).all():
            raise EngineError(f"{engine} computed NaN or infinity in the {graph}'s {tensor.name}")


def shape_of(tensor: Tensor, sizes: Sizes) -> tuple[int, ...]:
    """A tensor's shape for concrete sizes of the named axes."""
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape)
