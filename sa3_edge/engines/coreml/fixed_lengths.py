"""Runs a variable-length call on a fixed-shape function: picks it, pads the inputs, crops the outputs.

Exact: frames and keys that only pad a length are masked out of every softmax, and cropped from the result.
"""

import numpy as np

from sa3_edge.engines.shapes import AnyArray, Sizes, shape_of
from sa3_edge.manifest import MASKED_LOGIT, Artifact, Graph, PackageInput, Tensor

DYNAMIC = "main"  # the function of a package that takes any length


class FunctionChooser:
    """Chooses a package's function for the lengths of a call, and the sizes that its inputs are padded to."""

    def __init__(self, graph: Graph, artifact: Artifact, memory_tokens: int, *, prefer_fixed: bool):
        self._functions = artifact.functions
        self._prefer_fixed = prefer_fixed
        self._leading = next(axis for axis in graph.inputs[0].shape if isinstance(axis, str))
        own_inputs = {tensor.name for tensor in artifact.inputs}
        self._maskable = bool(own_inputs - {tensor.name for tensor in graph.inputs})
        # What a package wants all rows of, one a memory token and a frame; the host may have fewer.
        rows = {axis for tensor in artifact.inputs if tensor.pad == "repeat_last" for axis in tensor.shape}
        self._rows = {axis: memory_tokens for axis in rows if isinstance(axis, str)} if memory_tokens else {}

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
        return DYNAMIC, {**sizes, **{axis: sizes[self._leading] + memory for axis, memory in self._rows.items()}}


def pad(tensor: PackageInput, array: AnyArray, sizes: Sizes) -> AnyArray:
    """An input in the package's dtype and the function's shape; no copy where it has both."""
    array = array.astype(tensor.dtype, copy=False)
    missing = [wanted - size for wanted, size in zip(shape_of(tensor, sizes), array.shape, strict=True)]
    if not any(missing):
        return np.ascontiguousarray(array)
    widths = [(0, count) for count in missing]
    if tensor.pad == "repeat_last":
        return np.pad(array, widths, mode="edge")
    return np.pad(array, widths, constant_values=MASKED_LOGIT if tensor.pad == "mask" else 0)


def crop(tensor: Tensor, array: AnyArray, sizes: Sizes) -> AnyArray:
    """An output in the graph's dtype, without what belongs to frames that only pad."""
    where = tuple(
        slice(sizes[axis]) if isinstance(axis, str) and axis in sizes else slice(None) for axis in tensor.shape
    )
    return array[where].astype(tensor.dtype, copy=False)
