"""Where Core ML plans to run a bundle's packages, with plans that stand in for Core ML's."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coremltools as ct
import msgspec
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813

from sa3_edge import manifest as m
from sa3_edge.bundle import Bundle, describe_file
from sa3_edge.engines.coreml.compute_plan import Operation, Placement, placements, read_plan, with_default
from sa3_edge.engines.coreml.engine import MacRuntime
from sa3_edge.errors import EngineError, Remedy, RequestError
from sa3_edge.models.catalog import DEMO, resolve_model
from tests.conftest import RunCli

ON_NEURAL_ENGINE = [Operation("linear", "Neural Engine", 0.5), Operation("linear", "Neural Engine", 0.25)]
ON_CPU = [Operation("gather", "CPU", 0.125), Operation("cast", "CPU", None), Operation("gather", "CPU", 0.125)]


@dataclass
class Plans:
    """Plans by function; remembers what was asked."""

    by_function: dict[str, list[Operation]]
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def plan(self, model: Path, function: str, units: m.ComputeUnits) -> list[Operation]:
        self.asked.append((model.name, function, units))
        return self.by_function[function]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The demo's manifest with packages for denoiser and conditioner; what is in them does not matter."""
    manifest = Bundle.load(resolve_model(DEMO)).manifest
    graphs: dict[m.GraphName, m.Graph] = {}
    functions = {"frames_8": {"frames": 8}}
    wanted: tuple[tuple[m.GraphName, m.ComputeUnits, dict[str, dict[str, int]]], ...] = (
        ("denoiser", "cpu_and_ne", functions),
        ("conditioner", "cpu_only", {}),
    )
    for name, units, fixed in wanted:
        file = tmp_path / f"{name}.mlpackage" / "Manifest.json"
        file.parent.mkdir()
        file.write_text("{}")
        artifact = m.Artifact(
            files=[describe_file(tmp_path, file)], precision="fp16", parity=[], functions=fixed, compute_units=units
        )
        graphs[name] = msgspec.structs.replace(manifest.graphs[name], artifacts={"coreml": artifact})
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    text = msgspec.structs.replace(manifest.text, tokenizer=describe_file(tmp_path, tokenizer))
    made = msgspec.structs.replace(manifest, graphs=graphs, text=text)
    (tmp_path / m.FILE_NAME).write_bytes(m.encode_manifest(made))
    return tmp_path


def test_each_function_is_planned_as_it_is_meant_to_run(bundle: Path) -> None:
    plans = Plans({"main": ON_CPU, "frames_8": [*ON_NEURAL_ENGINE, *ON_CPU]})
    found = {(each.graph, each.function): each for each in placements(Bundle.load(bundle), plans)}
    assert plans.asked == [
        ("denoiser.mlpackage", "main", "cpu_and_gpu"),
        ("denoiser.mlpackage", "frames_8", "cpu_and_ne"),
        ("conditioner.mlpackage", "main", "cpu_only"),
    ]
    assert [each.meant_for for each in found.values()] == ["GPU", "Neural Engine", "CPU"]
    assert found["denoiser", "frames_8"] == Placement(
        graph="denoiser",
        function="frames_8",
        compute_units="cpu_and_ne",
        meant_for="Neural Engine",
        operations={"Neural Engine": {"linear": 2}, "CPU": {"gather": 2, "cast": 1}},
        cost={"Neural Engine": 0.75, "CPU": 0.25},
    )


def test_doctor_prints_operations_on_other_devices_than_intended(
    bundle: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = Plans({"main": [Operation("add", "unknown", None)], "frames_8": [*ON_CPU, *ON_NEURAL_ENGINE]})
    monkeypatch.setattr("sa3_edge.cli.compute_plan.MacPlanner", lambda: plans)
    code, out, err = run_cli("doctor", "--bundle", bundle)
    assert (code, err) == (0, "")
    caveat, main, fixed, elsewhere, conditioner = out.splitlines()
    assert "not always" in caveat
    assert main.endswith("the plan does not cover this function")
    assert fixed.split(maxsplit=3)[3] == (
        "Neural Engine 2 (75% of the estimated cost), CPU 3 (25% of the estimated cost)"
    )
    assert elsewhere.strip() == "CPU, not Neural Engine: 2 gather, 1 cast"
    assert conditioner.startswith("conditioner")

    functions = json.loads(run_cli("doctor", "--bundle", bundle, "--json")[1])["functions"]
    assert [each["function"] for each in functions] == ["main", "frames_8", "main"]
    assert functions[1]["operations"] == {"CPU": {"gather": 2, "cast": 1}, "Neural Engine": {"linear": 2}}
    assert functions[1]["cost"] == {"CPU": 0.25, "Neural Engine": 0.75}


def test_a_plan_that_fails_names_the_function(bundle: Path) -> None:
    class Failing(Plans):
        def plan(self, model: Path, function: str, units: m.ComputeUnits) -> list[Operation]:
            raise RuntimeError("cannot be parsed")

    with pytest.raises(EngineError, match=r"denoiser \(main\): cannot be parsed"):
        list(placements(Bundle.load(bundle), Failing({})))


def test_a_bundle_without_packages_is_refused() -> None:
    with pytest.raises(RequestError, match="no Core ML packages") as caught:
        list(placements(Bundle.load(resolve_model(DEMO)), Plans({})))
    assert caught.value.remedy == Remedy("export format", ("coreml",))


@pytest.mark.skipif(sys.platform == "darwin", reason="there, Core ML is available")
def test_elsewhere_doctor_says_so(bundle: Path, run_cli: RunCli) -> None:
    code, out, err = run_cli("doctor", "--bundle", bundle)
    assert (code, out) == (1, "")
    assert "macOS only" in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="there, coremltools has its native part")
def test_a_mac_that_cannot_run_the_packages_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("14.6", ("", "", ""), "arm64"))
    with pytest.raises(EngineError, match=r"need macOS 15, this is 14\.6"):
        MacRuntime()
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.0", ("", "", ""), "arm64"))
    with pytest.raises(EngineError, match="without its part for Core ML"):
        MacRuntime()


class MLNeuralEngineComputeDevice:
    """Named as coremltools' own, which only Core ML can make."""


class MLCPUComputeDevice:
    """Likewise."""


class Plan:
    """As coremltools' MLComputePlan answers: kinds with the version of their set, nothing for what it cannot tell."""

    def __init__(self, operations: list[tuple[str, Any, float | None]]):
        listed = [SimpleNamespace(operator_name=kind, device=device, cost=cost) for kind, device, cost in operations]
        function = SimpleNamespace(block=SimpleNamespace(operations=listed))
        self.model_structure = SimpleNamespace(program=SimpleNamespace(functions={"main": function}))

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        assert not operation.operator_name.endswith("const")
        return None if operation.device is None else SimpleNamespace(preferred_compute_device=operation.device)

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        return None if operation.cost is None else SimpleNamespace(weight=operation.cost)


def test_constants_are_left_out_of_a_plan() -> None:
    plan = Plan(
        [
            ("const", None, None),
            ("ios18.constexpr_lut_to_dense", None, None),
            ("ios18.linear", MLNeuralEngineComputeDevice(), 0.5),
            ("ios17.gather", MLCPUComputeDevice(), None),
            ("add", None, None),
        ]
    )
    assert read_plan(plan, "main") == [
        Operation("linear", "Neural Engine", 0.5),
        Operation("gather", "CPU", None),
        Operation("add", "unknown", None),
    ]
    with pytest.raises(EngineError, match="no function frames_8"):
        read_plan(plan, "frames_8")


@pytest.fixture(scope="module")
def two_functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of functions "main" (the default) and "frames_8", with weights in a file."""
    folder = tmp_path_factory.mktemp("packages")
    functions = ct.utils.MultiFunctionDescriptor()
    for name, length in (("main", 4), ("frames_8", 8)):

        @mb.program(input_specs=[mb.TensorSpec(shape=(length, 64))], opset_version=ct.target.iOS18)  # type: ignore[untyped-decorator]
        def program(x: Any) -> Any:
            return mb.linear(x=x, weight=np.eye(64, dtype=np.float32))

        path = str(folder / f"{name}.mlpackage")
        model = ct.convert(program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
        model.save(path)
        functions.add_function(path, src_function_name="main", target_function_name=name)
    functions.default_function_name = "main"
    both = folder / "both.mlpackage"
    ct.utils.save_multifunction(functions, str(both))
    return both


def test_a_plan_is_made_of_the_default_function(two_functions: Path, tmp_path: Path) -> None:
    assert with_default(two_functions, "main", tmp_path) == two_functions
    copy = with_default(two_functions, "frames_8", tmp_path)
    spec, before = (ct.utils.load_spec(str(path)) for path in (copy, two_functions))
    assert (spec.description.defaultFunctionName, before.description.defaultFunctionName) == ("frames_8", "main")
    assert spec.mlProgram == before.mlProgram
    weights = "Data/com.apple.CoreML/weights/weight.bin"
    assert (copy / weights).read_bytes() == (two_functions / weights).read_bytes()


def test_a_package_of_one_function_is_planned_as_it_is(two_functions: Path, tmp_path: Path) -> None:
    alone = two_functions.parent / "main.mlpackage"
    assert with_default(alone, "main", tmp_path) == alone
