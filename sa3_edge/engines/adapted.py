"""A graph's weights with adapters merged into them, for an engine that takes initializers by value.

The bundle's files stay as they are: of the layers that change, one after the other is put together of the graph's
initializers, merged as an export merges, and cut up again as the manifest says.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sa3_edge.adapters.lora import Adapter, Array, adapted_weight, adapts
from sa3_edge.engines.onnx_file import Stored, stored_weights
from sa3_edge.errors import EngineError
from sa3_edge.manifest import Artifact, Layer, Part

_FLOAT32 = 1  # TensorProto.DataType


def adapted_initializers(path: Path, artifact: Artifact, adapters: Sequence[Adapter]) -> dict[str, Array]:
    """The initializers of the graph at `path` that are others with these adapters, by name.

    Raises EngineError if the file has not what the manifest says, AdapterError for a merge that overflows.
    """
    stored = stored_weights(path)
    merged: dict[str, Array] = {}
    for name, layer in artifact.layers.items():
        if not adapts(adapters, name):
            continue
        weight = np.zeros(layer.shape, np.float32)
        for part in layer.parts:
            _rows(weight, part)[...] = _read(path, layer, part, stored)
        weight = adapted_weight(name, weight, adapters)
        merged |= {part.initializer: np.ascontiguousarray(_rows(weight, part)) for part in layer.parts}
    return merged


def _rows(weight: Array, part: Part) -> Array:
    """A part of a weight, as the graph has it."""
    rows = weight[part.first : part.first + part.rows]
    return rows.T if part.transposed else rows


def _read(path: Path, layer: Layer, part: Part, stored: Mapping[str, Stored]) -> Array:
    shape = (part.rows, *layer.shape[1:])
    shape = shape[::-1] if part.transposed else shape
    tensor = stored.get(part.initializer)
    if (
        tensor is None
        or tensor.path is None
        or (tensor.dtype, tensor.shape) != (_FLOAT32, shape)
        or part.first + part.rows > layer.shape[0]
    ):
        raise EngineError(f"{path}: {part.initializer} is not the weight that the manifest says it is")
    try:
        mapped = np.memmap(path.with_name(tensor.path), np.dtype("<f4"), "r", tensor.offset, shape)
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}: the weights cannot be read: {error}") from None
    return np.asarray(mapped)
