"""Where Core ML plans to run the operations of a bundle's packages: devices it prefers, not always those it uses."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from sa3_edge.bundle import Bundle
from sa3_edge.engines.coreml.engine import MacRuntime, compile_package, meant_units, package_folder, packaged_graphs
from sa3_edge.engines.coreml.fixed_lengths import DYNAMIC
from sa3_edge.errors import EngineError
from sa3_edge.manifest import ComputeUnits, GraphName

Device = Literal["Neural Engine", "GPU", "CPU", "unknown"]

# By the classes of coremltools.models.compute_device.
_DEVICES: dict[str, Device] = {
    "MLNeuralEngineComputeDevice": "Neural Engine",
    "MLGPUComputeDevice": "GPU",
    "MLCPUComputeDevice": "CPU",
}
_MEANT_FOR: dict[ComputeUnits, Device] = {
    "all": "Neural Engine",
    "cpu_and_ne": "Neural Engine",
    "cpu_and_gpu": "GPU",
    "cpu_only": "CPU",
}


@dataclass(frozen=True)
class Operation:
    """An operation in a plan. `cost` is its share of the function's estimated work, 0 to 1; None is not estimated."""

    kind: str
    device: Device
    cost: float | None


@dataclass(frozen=True)
class Placement:
    """Where one function is planned to run under `compute_units`.

    operations: how many of each kind, by device; constants are left out
    cost: each device's share of the estimated work, 0 to 1, as far as it is estimated
    """

    graph: GraphName
    function: str
    compute_units: ComputeUnits
    meant_for: Device
    operations: dict[Device, dict[str, int]]
    cost: dict[Device, float]

    @property
    def covered(self) -> bool:
        """Whether the plan says anything of this function."""
        return bool(self.operations.keys() - {"unknown"})


class Planner(Protocol):
    """What is asked of Core ML itself."""

    def plan(self, model: Path, function: str, units: ComputeUnits) -> list[Operation]:
        """The operations of one function of an .mlpackage or .mlmodelc, constants left out."""


class MacPlanner:
    """Core ML's compute plan, through coremltools. Raises EngineError where there is no Core ML."""

    def __init__(self) -> None:
        self._runtime = MacRuntime()

    def plan(self, model: Path, function: str, units: ComputeUnits) -> list[Operation]:
        ct = self._runtime.coremltools
        with tempfile.TemporaryDirectory() as temporary:
            if model.suffix == ".mlpackage":
                compiled = Path(temporary) / "model.mlmodelc"
                compile_package(self._runtime, with_default(model, function, Path(temporary)), compiled)
                model = compiled  # an .mlpackage here would end the process (apple/coremltools#2757)
            loaded = ct.models.compute_plan.MLComputePlan.load_from_path(str(model), ct.ComputeUnit[units.upper()])
            return read_plan(loaded, function)


def with_default(package: Path, function: str, folder: Path) -> Path:
    """The package, or a copy of it in `folder` in which `function` is the default.

    A plan covers a model's default function: coremltools (9.0) has no way to ask for another.
    """
    import coremltools as ct

    spec = ct.utils.load_spec(str(package))
    if not spec.description.functions or spec.description.defaultFunctionName == function:
        return package
    spec.description.defaultFunctionName = function
    copy = folder / package.name
    ct.utils.save_spec(spec, str(copy), weights_dir=str(package / "Data" / "com.apple.CoreML" / "weights"))
    return copy


def read_plan(plan: Any, function: str) -> list[Operation]:
    """The operations of one function in coremltools' MLComputePlan. Raises EngineError if the function is not there."""
    program = plan.model_structure.program
    if program is None or function not in program.functions:
        raise EngineError(f"Core ML's plan has no function {function}")
    operations = []
    for operation in program.functions[function].block.operations:
        kind = operation.operator_name.rsplit(".", 1)[-1]  # ios18.linear
        if kind.startswith("const"):  # also weights that are stored in fewer bits, constexpr_*
            continue
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        device = "unknown" if usage is None else _DEVICES.get(type(usage.preferred_compute_device).__name__, "unknown")
        operations.append(Operation(kind, device, None if cost is None else cost.weight))
    return operations


def placements(bundle: Bundle, planner: Planner) -> Iterator[Placement]:
    """The placement of every function of every package, one after the other as each is planned.

    Raises RequestError for a bundle without packages, EngineError where Core ML has no plan.
    """
    for name, graph in packaged_graphs(bundle).items():
        artifact = graph.artifacts["coreml"]
        for function in (DYNAMIC, *artifact.functions):
            units = meant_units(artifact, function)
            try:
                operations = planner.plan(package_folder(bundle, artifact), function, units)
            except EngineError:
                raise
            except Exception as error:  # Core ML's errors arrive as RuntimeError and as others
                raise EngineError(f"Core ML has no plan for {name} ({function}): {error}") from error
            yield _summarize(name, function, units, operations)


def _summarize(graph: GraphName, function: str, units: ComputeUnits, operations: list[Operation]) -> Placement:
    kinds: dict[Device, Counter[str]] = {}
    cost: dict[Device, float] = {}
    for operation in operations:
        kinds.setdefault(operation.device, Counter())[operation.kind] += 1
        if operation.cost is not None:
            cost[operation.device] = cost.get(operation.device, 0.0) + operation.cost
    counts = {device: dict(counter.most_common()) for device, counter in kinds.items()}
    return Placement(graph, function, units, _MEANT_FOR[units], counts, cost)
