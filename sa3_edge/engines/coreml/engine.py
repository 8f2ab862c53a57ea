"""Core ML: on a Mac, graphs run on the Neural Engine, the GPU or the CPU, as each is meant to."""

import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sa3_edge.adapters.lora import Adapter
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, Tensors, chosen_units, refuse_adapters
from sa3_edge.engines.cache import cache_entry
from sa3_edge.engines.coreml.fixed_lengths import DYNAMIC, FunctionChooser, crop, pad
from sa3_edge.engines.shapes import Sizes, measure_axes, shape_of
from sa3_edge.errors import BundleError, EngineError, Remedy, RequestError
from sa3_edge.files import unfinished_folder
from sa3_edge.manifest import Artifact, ComputeUnits, Graph, GraphName, PackageInput

_WITH_NEURAL_ENGINE = frozenset({"all", "cpu_and_ne"})
_OLDEST_MACOS = 15


class Predictor(Protocol):
    """A loaded function of a model."""

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]: ...


class Runtime(Protocol):
    """What the engine asks of Core ML itself; all else here runs, and is tested, on any system."""

    version: str

    def compile(self, package: Path, destination: Path) -> None:
        """Compile an .mlpackage to the .mlmodelc `destination`."""

    def load(self, model: Path, function: str | None, units: ComputeUnits) -> Predictor:
        """Load one function of a compiled model, None for a model that has but one."""


class MacRuntime:
    """Core ML through coremltools. Raises EngineError where there is none."""

    version: str

    def __init__(self) -> None:
        if sys.platform != "darwin":
            raise EngineError(f"Core ML runs on macOS only, this is {platform.system()}; onnxruntime runs everywhere")
        system = platform.mac_ver()[0]
        if int(system.split(".")[0]) < _OLDEST_MACOS:
            raise EngineError(f"the Core ML packages need macOS {_OLDEST_MACOS}, this is {system}")
        try:
            import coremltools
        except ImportError as error:
            raise EngineError(
                f"coremltools cannot be loaded ({error})", remedy=Remedy("install extra", ("coreml",))
            ) from error
        if coremltools.models.model._MLModelProxy is None:  # only its wheels for macOS have it
            raise EngineError(
                f"coremltools {coremltools.__version__} was installed without its part for Core ML",
                remedy=Remedy("reinstall wheel", ("coremltools",)),
            )
        self.coremltools: Any = coremltools
        self.version = f"macOS {system}, coremltools {coremltools.__version__}"

    def compile(self, package: Path, destination: Path) -> None:
        self.coremltools.models.utils.compile_model(str(package), str(destination))

    def load(self, model: Path, function: str | None, units: ComputeUnits) -> Predictor:
        compute_unit = self.coremltools.ComputeUnit[units.upper()]
        loaded: Predictor = self.coremltools.models.CompiledMLModel(str(model), compute_unit, function_name=function)
        return loaded


class CoreMLSession:
    """One graph: functions are loaded when a length first needs them, and kept."""

    def __init__(
        self,
        name: GraphName,
        graph: Graph,
        artifact: Artifact,
        memory_tokens: int,
        units: ComputeUnits,
        load: Callable[[str], Predictor],
    ):
        self._name, self._graph, self._load = name, graph, load
        self._inputs = artifact.inputs or [
            PackageInput(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, pad="zeros", per="step")
            for tensor in graph.inputs
        ]
        self._chooser = FunctionChooser(graph, artifact, memory_tokens, prefer_fixed=units in _WITH_NEURAL_ENGINE)
        self._loaded: dict[str, Predictor] = {}
        self._padded: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}  # by input: what was given, and that padded

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        sizes = measure_axes(self._graph.inputs, inputs, self._name)
        function, target = self._chooser.choose(sizes)
        if function not in self._loaded:
            self._loaded[function] = self._load(function)
        padded = {}
        for tensor in self._inputs:
            given = inputs.get(tensor.name)
            if given is None:  # the package's own mask: nothing that was given is masked
                given = np.zeros(shape_of(tensor, sizes), np.float32)
            padded[tensor.name] = self._pad(tensor, given, target)
        try:
            outputs = self._loaded[function].predict(padded)
        except Exception as error:  # Core ML's errors arrive as RuntimeError and as others
            raise EngineError(f"Core ML failed in {self._name} ({function}): {error}") from error
        return {tensor.name: crop(tensor, np.asarray(outputs[tensor.name]), sizes) for tensor in self._graph.outputs}

    def _pad(self, tensor: PackageInput, given: NDArray[Any], target: Sizes) -> NDArray[Any]:
        if tensor.per == "step":
            return pad(tensor, given, target)
        source, padded = self._padded.get(tensor.name, (None, None))
        if source is not given or padded is None or padded.shape != shape_of(tensor, target):
            padded = pad(tensor, given, target)
            self._padded[tensor.name] = given, padded
        return padded


def compile_package(runtime: Runtime, package: Path, destination: Path) -> None:
    """Compile an .mlpackage to the .mlmodelc `destination`. Raises EngineError."""
    try:
        runtime.compile(package, destination)
    except Exception as error:  # Core ML's errors arrive as RuntimeError and as others
        raise EngineError(f"Core ML cannot compile {package}: {error}") from error


def open_session(
    runtime: Runtime,
    name: GraphName,
    graph: Graph,
    artifact: Artifact,
    memory_tokens: int,
    model: Path,
    units: ComputeUnits,
) -> CoreMLSession:
    """A session of the compiled `model` of a graph; it raises EngineError for a function that cannot be loaded."""

    def load(function: str) -> Predictor:
        try:
            return runtime.load(model, function if artifact.functions else None, units)
        except Exception as error:
            raise EngineError(f"Core ML cannot load {name} ({function}): {error}") from error

    return CoreMLSession(name, graph, artifact, memory_tokens, units, load)


class CoreMLEngine:
    """Runs a bundle's .mlpackage or .mlmodelc files."""

    name = "coreml"
    format = "coreml"

    def __init__(self, options: EngineOptions, runtime: Runtime | None = None):
        """`runtime` stands in for Core ML where there is none."""
        self._units = chosen_units(options)
        self._runtime: Runtime = runtime or MacRuntime()

    def load(self, bundle: Bundle, graph: GraphName, adapters: Sequence[Adapter] = ()) -> CoreMLSession:
        refuse_adapters(self.name, adapters)
        artifact = bundle.artifact(graph, self.format)
        units = self._units or artifact.compute_units or "all"
        model = self._compiled(bundle, artifact)
        manifest = bundle.manifest
        return open_session(
            self._runtime, graph, manifest.graphs[graph], artifact, manifest.memory_tokens, model, units
        )

    def check(self, bundle: Bundle, graph: GraphName) -> None:
        bundle.check_folder(package_folder(bundle, bundle.artifact(graph, self.format)))

    def wants_full_tiles(self, bundle: Bundle, graph: GraphName) -> bool:
        # Functions of fixed lengths are for whole tiles; another length would load the dynamic one beside them.
        return bool(bundle.artifact(graph, self.format).functions)

    def describe(self) -> str:
        return f"Core ML, {self._runtime.version}, compute units {self._units or 'as the bundle says'}"

    def _compiled(self, bundle: Bundle, artifact: Artifact) -> Path:
        """The compiled model of an artifact: the bundle's own, or one compiled once and kept. Each system compiles
        its own way."""
        package = package_folder(bundle, artifact)
        bundle.check_folder(package)
        if package.suffix == ".mlmodelc":
            return package
        entry = cache_entry(self.name, artifact, self._runtime.version)
        destination = entry / f"{package.stem}.mlmodelc"
        if destination.exists():
            return destination
        with unfinished_folder(entry) as temporary:
            made = temporary / destination.name
            compile_package(self._runtime, package, made)
            try:
                made.rename(destination)
            except OSError:
                if not destination.exists():  # another process was first
                    shutil.copytree(made, destination)
        return destination


def packaged_graphs(bundle: Bundle) -> dict[GraphName, Graph]:
    """The graphs of which a bundle has Core ML packages. Raises RequestError if there are none."""
    graphs = {name: graph for name, graph in bundle.manifest.graphs.items() if "coreml" in graph.artifacts}
    if not graphs:
        raise RequestError(f"{bundle.path} holds no Core ML packages", remedy=Remedy("export format", ("coreml",)))
    return graphs


def meant_units(artifact: Artifact, function: str) -> ComputeUnits:
    """Where a function is meant to run: the one of any length beside fixed ones is there for CPU and GPU."""
    units = artifact.compute_units or "all"
    return "cpu_and_gpu" if function == DYNAMIC and artifact.functions and units in _WITH_NEURAL_ENGINE else units


def package_folder(bundle: Bundle, artifact: Artifact) -> Path:
    """The .mlpackage or .mlmodelc folder that an artifact's first file lies in."""
    path = bundle.resolve(artifact.files[0])
    for folder in path.parents:
        if folder.suffix in {".mlpackage", ".mlmodelc"}:
            return folder
    raise BundleError(f"{path} lies in no .mlpackage and no .mlmodelc")
