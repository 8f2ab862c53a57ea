"""ONNX Runtime: on the CPU, the default engine everywhere; on a Mac also through its Core ML execution provider."""

import functools
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from numpy.typing import NDArray

from sa3_edge.adapters.lora import Adapter
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, Tensors, chosen_units, int8, refuse_adapters
from sa3_edge.engines.adapted import adapted_initializers
from sa3_edge.engines.cache import cache_entry
from sa3_edge.engines.libraries import load_onnxruntime
from sa3_edge.engines.onnx_file import check_onnx
from sa3_edge.errors import EngineError, Remedy
from sa3_edge.machine import threads_to_use
from sa3_edge.manifest import Artifact, ComputeUnits, GraphName

try:
    ort = load_onnxruntime()
except ImportError as error:  # a broken install is told apart from a missing one by the message
    raise EngineError(
        f"onnxruntime cannot be loaded ({error})", remedy=Remedy("install package", ("onnxruntime>=1.24.4",))
    ) from error

# Kernels want weights in their own layout, which costs a copy of them at load. A graph that runs once in a clip is done
# sooner without, and its weights stay mapped from the file: only pages in use are in memory, shared between processes.
# Keeping optimized graphs and these copies on disk was tried: of the denoiser's load it saves 0.2 of 0.5 s in int8 and
# 0.7 of 1.6 s in fp32, for twice the bundle's size on disk and 7 s at the first start.
_RUN_ONCE: frozenset[GraphName] = frozenset({"text_encoder", "conditioner"})
_CPU = "CPUExecutionProvider"
_CORE_ML = "CoreMLExecutionProvider"
_CORE_ML_UNITS: dict[ComputeUnits, str] = {
    "all": "ALL",
    "cpu_and_ne": "CPUAndNeuralEngine",
    "cpu_and_gpu": "CPUAndGPU",
    "cpu_only": "CPUOnly",
}
# All of them bring the module `onnxruntime`, the last one installed over the others.
_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-silicon",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
)


@functools.cache
def _installed(version: str) -> str:
    """The distribution that the module of this version comes from, and the version: "onnxruntime 1.31.1"."""
    for name in _DISTRIBUTIONS:
        try:
            if metadata.version(name) == version:
                return f"{name} {version}"
        except metadata.PackageNotFoundError:
            continue
    return f"onnxruntime {version}"


def _numbers(version: str) -> tuple[int, ...]:
    """ "1.24.4.dev1" -> (1, 24, 4)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


class OnnxRuntimeSession:
    """One ONNX graph, ready to run."""

    def __init__(self, session: Any, graph: GraphName):
        self._session, self._graph = session, graph
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise EngineError(f"onnxruntime failed in {self._graph}: {error}") from error


class OnnxRuntimeEngine:
    """Loads a bundle's ONNX graphs with the CPU execution provider."""

    name = "onnxruntime"
    format = "onnx"
    # 1.23 has the operators of opset 23, but reads weights from any file of the user that a graph names.
    oldest = (1, 24, 4)
    needed_for = "a bundle's graphs"

    def __init__(self, options: EngineOptions):
        """Raises EngineError for an onnxruntime that is too old."""
        self._options = options
        if _numbers(ort.__version__) < self.oldest:
            wanted = ".".join(map(str, self.oldest))
            other = _installed(ort.__version__).split()[0]
            raise EngineError(
                f"{_installed(ort.__version__)} is too old for {self.needed_for}, {wanted} or newer is needed",
                remedy=Remedy("replace package", (other, f"onnxruntime>={wanted}")),
            )

    def load(self, bundle: Bundle, graph: GraphName, adapters: Sequence[Adapter] = ()) -> OnnxRuntimeSession:
        artifact = bundle.artifact(graph, self.format)
        path = check_onnx(bundle, graph, artifact)
        options, providers = self._session_options(graph, artifact), self._providers(artifact)
        if adapters:
            if self.name != OnnxRuntimeEngine.name:
                refuse_adapters(self.name, adapters)  # what Core ML keeps of a graph is found by its path
            merged = adapted_initializers(path, artifact, adapters)
            values = [ort.OrtValue.ortvalue_from_numpy(array) for array in merged.values()]
            options.add_external_initializers(list(merged), values)
        try:
            # Else a provider that fails is printed on standard output, and what it should run is run on the CPU.
            session = ort.InferenceSession(path, options, providers, enable_fallback=False)
        except Exception as error:
            raise EngineError(f"onnxruntime cannot load {path}: {error}") from error
        return OnnxRuntimeSession(session, graph)

    def check(self, bundle: Bundle, graph: GraphName) -> None:
        check_onnx(bundle, graph, bundle.artifact(graph, self.format))

    def wants_full_tiles(self, bundle: Bundle, graph: GraphName) -> bool:
        return False

    def _session_options(self, graph: GraphName, artifact: Artifact) -> Any:
        options = ort.SessionOptions()
        threads = self._options.threads or threads_to_use()
        if threads is not None:
            options.intra_op_num_threads = threads
        if graph in _RUN_ONCE:
            options.add_session_config_entry("session.disable_prepacking", "1")
        for key, value in int8.settings(artifact.precision).items():
            options.add_session_config_entry(key, value)
        # Plans for memory hold for one shape; ours change from clip to clip, and the decoder peaks lower without.
        options.enable_mem_pattern = False
        options.log_severity_level = 4  # errors come as exceptions, and would be printed beside them
        return options

    def _providers(self, artifact: Artifact) -> list[Any]:
        return [_CPU]

    def describe(self) -> str:
        return f"{_installed(ort.__version__)} on the CPU"


class OnnxRuntimeCoreMLEngine(OnnxRuntimeEngine):
    """Gives Core ML the parts of an ONNX graph that its execution provider can convert, and the CPU the others."""

    name = "onnxruntime-coreml"
    # Older ones fail on weights in a file beside the graph, some by crashing (microsoft/onnxruntime#28005, #29394).
    oldest = (1, 28, 0)
    needed_for = "Core ML with weights in a file beside the graph"

    def __init__(self, options: EngineOptions):
        """Raises EngineError for an onnxruntime that is too old or has no Core ML, as on any system but macOS."""
        if _CORE_ML not in ort.get_available_providers():
            raise EngineError(
                f"{_installed(ort.__version__)} on {platform.system()} has no {_CORE_ML}: "
                "that is in onnxruntime's wheels for macOS",
                remedy=Remedy("choose engine", ("onnxruntime",)),
            )
        super().__init__(options)
        self._units: ComputeUnits = chosen_units(options) or "all"

    def _providers(self, artifact: Artifact) -> list[Any]:
        # The provider names what it keeps by the graph's path and never looks whether the graph is still the same.
        cache = cache_entry(self.name, artifact, ort.__version__, platform.mac_ver()[0])
        core_ml = {
            "ModelFormat": "MLProgram",
            "MLComputeUnits": _CORE_ML_UNITS[self._units],
            "RequireStaticInputShapes": "0",
            "ModelCacheDirectory": str(cache),
        }
        return [(_CORE_ML, core_ml), _CPU]

    def describe(self) -> str:
        return f"{_installed(ort.__version__)} on Core ML where it can and on the CPU, compute units {self._units}"
