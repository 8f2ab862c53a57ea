"""From a graph's PyTorch module to a saved .mlpackage: one dynamic function, and fixed ones that share its weights."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.converter import mil_convert
from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipelineManager

from sa3_edge.engines.coreml.fixed_lengths import DYNAMIC
from sa3_edge.manifest import Dtype
from sa3_export.coreml.compress import compress
from sa3_export.coreml.kernels import CoreMLKernels
from sa3_export.coreml.packaging import PackagePlan, example_at
from sa3_export.coreml.stamp import stamp
from sa3_export.graphs.graph import Graph, TensorSpec
from sa3_export.networks.kernels import use_kernels
from sa3_export.quiet import quiet

TARGET = ct.target.iOS18  # and macOS 15: the first with fused attention and several functions in a package
# Fixed lengths make what computed lengths constant.
_AFTER_FIXING = (
    "common::const_elimination",
    "common::noop_elimination",
    "common::merge_consecutive_reshapes",
    "common::dead_code_elimination",
    "common::const_deduplication",
)


@dataclass(frozen=True)
class Converted:
    """A package on disk. `functions` maps its fixed functions to their lengths; "main" takes any length."""

    path: Path
    functions: Mapping[str, int]
    input_types: Mapping[str, Dtype]
    output_types: Mapping[str, Dtype]


def function_name(graph: Graph, length: int) -> str:
    """The fixed function for one length, as `frames_128`."""
    return f"{graph.leading_axis}_{length}"


def convert(graph: Graph, plan: PackagePlan, precision: str, path: Path, metadata: Mapping[str, str]) -> Converted:
    """Write `path` (an .mlpackage). `graph` is a `package_graph`; `precision` one of `precision.COREML_PRECISIONS`.

    `metadata` is stamped into the package; its keys "licence" and "made_with" also fill Core ML's own fields.
    """
    half = precision != "fp32" and plan.half is not None
    with _quiet(), TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        model = _convert_dynamic(graph, plan, half)
        model = compress(model, precision)
        if plan.fixed:
            model = _add_fixed(model, graph, plan.fixed, Path(temporary))
        stamp(model, graph, metadata).save(str(path))
    return Converted(
        path,
        {function_name(graph, length): length for length in plan.fixed},
        {spec.name: _type_name(spec, plan, half) for spec in graph.inputs},
        {spec.name: _type_name(spec, plan, half) for spec in graph.outputs},
    )


def _type_name(spec: TensorSpec, plan: PackagePlan, half: bool) -> Dtype:
    if spec.dtype == torch.int64:
        return "int32"  # Core ML has no wider integers
    return "float16" if half and spec.name not in plan.full_inputs else "float32"


def _convert_dynamic(graph: Graph, plan: PackagePlan, half: bool) -> Any:
    length = graph.lengths[1]
    # One object an axis: Core ML then knows that lengths of the same name are equal.
    longest, usual = graph.sizes(graph.longest), graph.sizes(length)
    axes = {axis: ct.RangeDim(1, longest[axis], default=usual[axis]) for axis in usual}
    inputs = [
        ct.TensorType(
            name=spec.name,
            shape=tuple(axes[axis] if isinstance(axis, str) else axis for axis in spec.shape),
            dtype=np.dtype(_type_name(spec, plan, half)).type,
        )
        for spec in graph.inputs
    ]
    outputs = [
        ct.TensorType(name=spec.name, dtype=np.dtype(_type_name(spec, plan, half)).type) for spec in graph.outputs
    ]
    with use_kernels(CoreMLKernels()), torch.no_grad():
        trace: Callable[..., Any] = torch.jit.trace
        traced = trace(graph.traced.eval(), tuple(example_at(graph, length).values()), check_trace=False)
    return ct.convert(
        traced,
        inputs=inputs,
        outputs=outputs,
        convert_to="mlprogram",
        minimum_deployment_target=TARGET,
        compute_precision=ct.transform.FP16ComputePrecision(plan.half) if half else ct.precision.FLOAT32,
        pass_pipeline=_pipeline(),
        skip_model_load=True,
    )


def _add_fixed(model: Any, graph: Graph, lengths: tuple[int, ...], folder: Path) -> Any:
    """The model with a function a length beside its dynamic one; equal weights are stored once.

    What `ct.utils.materialize_dynamic_shape_mlmodel` does, without the passes that the program has seen already, of
    which one would turn all to fp16. The dynamic function is taken from before: making the others rewrites its
    negative slices (coremltools 9.0).
    """
    shapes = {}
    for length in lengths:
        sizes = graph.sizes(length)
        shapes[function_name(graph, length)] = {
            spec.name: tuple(sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape)
            for spec in graph.inputs
        }
    dynamic, fixed, joined = (str(folder / f"{name}.mlpackage") for name in ("dynamic", "fixed", "joined"))
    model.save(dynamic)
    program = model._mil_program
    pipeline = ct.PassPipeline(["common::materialize_symbolic_shape_program", *_AFTER_FIXING])
    pipeline.set_options(
        "common::materialize_symbolic_shape_program",
        {"function_name_to_materialization_map": shapes, "source_function_name": DYNAMIC},
    )
    PassPipelineManager.apply_pipeline(program, pipeline)
    program.export_as_multifunction = True
    program.skip_all_passes = True
    mil_convert(
        program,
        convert_from="milinternal",
        convert_to="mlprogram",
        specification_version=int(TARGET),
        compute_units=ct.ComputeUnit.CPU_ONLY,
        skip_model_load=True,
    ).save(fixed)

    functions = ct.utils.MultiFunctionDescriptor()
    functions.add_function(dynamic, src_function_name=DYNAMIC, target_function_name=DYNAMIC)
    for name in shapes:
        functions.add_function(fixed, src_function_name=name, target_function_name=name)
    functions.default_function_name = DYNAMIC
    ct.utils.save_multifunction(functions, joined)
    return ct.models.MLModel(joined, skip_model_load=True)


def _pipeline() -> Any:
    pipeline = ct.PassPipeline()
    # x / c is not x * (1 / c) in the last bit, and the last bit of a duration is an angle of thousands of radians.
    pipeline.remove_passes({"common::divide_to_multiply"})
    return pipeline


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converter's progress bars and notes, and the tracer's warnings, while it works."""
    with quiet("coremltools"), open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        yield
