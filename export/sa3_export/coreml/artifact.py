"""A graph's Core ML package in a bundle: converted, verified, described for the manifest."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from sa3_edge import manifest as m
from sa3_edge.bundle import describe_file
from sa3_export.coreml.convert import Converted, convert
from sa3_export.coreml.evaluator import Package
from sa3_export.coreml.gate import Verification, core_ml_here, verify_package
from sa3_export.coreml.packaging import PackagePlan, package_graph, plan_for
from sa3_export.graphs.graph import Graph, TensorSpec
from sa3_export.precision import CoreMLOptions


def export_coreml(
    graph: Graph,
    folder: Path,
    facts: Mapping[str, str],
    options: CoreMLOptions,
) -> m.Artifact:
    """Write `folder`/NAME.mlpackage and say what it is.

    `facts` are stamped into the package. Raises ExportRequestError for an unknown precision and ParityError if the
    saved package does not compute what the graph's module computes.
    """
    packaged, plan = package_graph(graph), plan_for(graph, options)
    converted = convert(packaged, plan, options.precision, folder / f"{graph.name}.mlpackage", facts)
    artifact = describe_package(packaged, plan, options.precision, converted)
    parity = verify_package(graph, artifact, Package(converted.path), Verification(core_ml_here()))
    return msgspec.structs.replace(artifact, parity=parity)


def describe_package(graph: Graph, plan: PackagePlan, precision: str, converted: Converted) -> m.Artifact:
    """The manifest's entry for a saved package of `graph`, a `package_graph`; its parity is yet to be measured."""
    if precision == "fp16" and plan.half is None:
        precision = "fp32"  # nothing of it is in fp16, neither weights nor arithmetic
    return m.Artifact(
        files=_files(converted.path.parent, converted.path),
        precision=precision,
        parity=[],
        inputs=[_input(spec, converted.input_types) for spec in graph.inputs],
        outputs=[_typed(spec, converted.output_types) for spec in graph.outputs],
        functions=_functions(graph, converted),
        compute_units=plan.compute_units,
    )


def _functions(graph: Graph, converted: Converted) -> dict[str, dict[str, int]]:
    return {name: graph.sizes(length) for name, length in converted.functions.items()}


def _typed(spec: TensorSpec, types: Mapping[str, m.Dtype]) -> m.Tensor:
    return msgspec.structs.replace(spec.described, dtype=types[spec.name])


def _input(spec: TensorSpec, types: Mapping[str, m.Dtype]) -> m.PackageInput:
    tensor = _typed(spec, types)
    return m.PackageInput(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, pad=spec.pad, per=spec.per)


def _files(folder: Path, package: Path) -> list[m.File]:
    """The package's files; its Manifest.json first, as hosts look for it."""
    paths = sorted((path for path in package.rglob("*") if path.is_file()), key=lambda path: len(path.parts))
    return [describe_file(folder, path) for path in paths]
