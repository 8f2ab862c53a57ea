"""Inputs of any length in functions of fixed lengths: which function, how inputs are filled up, what is cut off.

Filled exactly: frames and keys that only fill a length are masked out of every softmax, and cut from the result.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import EngineError
from sa3_edge.manifest import Artifact, Graph, Tensor

AnyArray = NDArray[np.generic]
Sizes = Mapping[str, int]

DYNAMIC = "main"  # the function of a package that takes any length
MASKED_LOGIT = -3e4  # out of a softmax in fp16 and fp32 alike, and finite
_MASKS = frozenset({"key_bias", "frame_bias"})
_LAST_REPEATS = "local_embed"  # text-to-audio has one local embedding, the last row, for all frames
_FRAMES, _ROWS = "frames", "rows"


def measure_axes(tensors: list[Tensor], inputs: Mapping[str, AnyArray], graph: str) -> dict[str, int]:
    """Sizes of all named axes. Raises EngineError for an input that is missing or of another shape."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.name not in inputs:
            raise EngineError(f"{graph} needs the input {tensor.name}, which was not given")
        shape = inputs[tensor.name].shape
        for axis, size in zip(tensor.shape, shape, strict=False):
            if isinstance(axis, str):
                sizes.setdefault(axis, size)
        if shape != shape_of(tensor, sizes):
            raise EngineError(f"{graph}: {tensor.name} has the shape {shape}, expected {tuple(tensor.shape)}")
    return sizes


class FunctionChooser:
    """Chooses a package's function for the lengths of a call, and the sizes its inputs are filled up to."""

    def __init__(self, graph: Graph, artifact: Artifact, *, prefer_fixed: bool):
        self._functions = artifact.functions
        self._prefer_fixed = prefer_fixed
        self._leading = next(axis for axis in graph.inputs[0].shape if isinstance(axis, str))
        own_inputs = {tensor.name for tensor in artifact.inputs}
        self._maskable = bool(own_inputs - {tensor.name for tensor in graph.inputs})

    def choose(self, sizes: Sizes) -> tuple[str, dict[str, int]]:
        """The function's name and the sizes of all named axes in it."""
        if not self._maskable:
            for name, fixed in self._functions.items():
                if all(fixed[axis] == size for axis, size in sizes.items()):
                    return name, dict(fixed)
            return DYNAMIC, dict(sizes)
        if self._prefer_fixed:
            by_length = sorted(self._functions.items(), key=lambda item: item[1][self._leading])
            for name, fixed in by_length:
                if all(fixed[axis] >= size for axis, size in sizes.items()):
                    return name, dict(fixed)
        return DYNAMIC, {**sizes, **self._all_rows(sizes)}

    def _all_rows(self, sizes: Sizes) -> dict[str, int]:
        """A package's denoiser wants a row for each memory token and frame, the host may have fewer."""
        for fixed in self._functions.values():
            if _ROWS in fixed:
                return {_ROWS: sizes[_FRAMES] + fixed[_ROWS] - fixed[_FRAMES]}
        return {}


def shape_of(tensor: Tensor, sizes: Sizes) -> tuple[int, ...]:
    """A tensor's shape for concrete sizes of the named axes."""
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape)


def fill(tensor: Tensor, array: AnyArray, sizes: Sizes) -> AnyArray:
    """An input in the package's dtype and the function's shape; no copy where it has both."""
    array = array.astype(tensor.dtype, copy=False)
    missing = [wanted - size for wanted, size in zip(shape_of(tensor, sizes), array.shape, strict=True)]
    if not any(missing):
        return np.ascontiguousarray(array)
    widths = [(0, count) for count in missing]
    if tensor.name == _LAST_REPEATS:
        return np.pad(array, widths, mode="edge")
    return np.pad(array, widths, constant_values=MASKED_LOGIT if tensor.name in _MASKS else 0)


def cut(tensor: Tensor, array: AnyArray, sizes: Sizes) -> AnyArray:
    """An output in the graph's dtype, without what belongs to filled-up frames."""
    where = tuple(
        slice(sizes[axis]) if isinstance(axis, str) and axis in sizes else slice(None) for axis in tensor.shape
    )
    return array[where].astype(tensor.dtype, copy=False)
