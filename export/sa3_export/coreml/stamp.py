"""What a package says of itself: descriptions, licence, versions, and the lengths that its axes may take."""

from collections.abc import Mapping
from typing import Any

import coremltools as ct

from sa3_export.graphs.graph import Graph, TensorSpec


def stamp(model: Any, graph: Graph, metadata: Mapping[str, str]) -> Any:
    """The model with its description filled in; fields that Core ML does not know become user-defined metadata."""
    spec = model.get_spec()
    description = spec.description
    description.metadata.shortDescription = graph.description
    description.metadata.license = metadata.get("licence", "")
    description.metadata.versionString = metadata.get("made_with", "")
    description.metadata.userDefined.update(metadata)
    # A package of several functions describes each; one of a single function describes itself.
    for function in description.functions or [description]:
        for features, specs in ((function.input, graph.inputs), (function.output, graph.outputs)):
            by_name = {tensor.name: tensor for tensor in specs}
            for feature in features:
                feature.shortDescription = _describe(by_name[feature.name])
                _bound_axes(feature, by_name[feature.name], graph)
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _describe(spec: TensorSpec) -> str:
    return f"({', '.join(str(axis) for axis in spec.shape)})"


def _bound_axes(feature: Any, spec: TensorSpec, graph: Graph) -> None:
    """Ranges of dynamic axes: adding functions loses their bounds and default lengths."""
    array = feature.type.multiArrayType
    if array.WhichOneof("ShapeFlexibility") != "shapeRange":
        return
    longest, usual = graph.sizes(graph.longest), graph.sizes(graph.lengths[1])
    for index, axis in enumerate(spec.shape):
        if isinstance(axis, str):
            bounds = array.shapeRange.sizeRanges[index]
            bounds.lowerBound, bounds.upperBound = 1, longest[axis]
            array.shape[index] = usual[axis]
