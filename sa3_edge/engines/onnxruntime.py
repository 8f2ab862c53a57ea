"""ONNX Runtime on the CPU: the default engine everywhere."""

from typing import Any

from numpy.typing import NDArray

from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, Tensors
from sa3_edge.errors import EngineError
from sa3_edge.manifest import GraphName

try:
    import onnxruntime as ort
except ImportError as error:  # a broken install is told apart from a missing one by the message
    raise EngineError(f"onnxruntime cannot be loaded ({error}); pip install onnxruntime") from error

# Kernels want weights in their own layout, which costs a copy of them at load. A graph that runs once in a clip is done
# sooner without, and its weights stay mapped from the file: only pages in use are in memory, shared between processes.
_RUN_ONCE: frozenset[GraphName] = frozenset({"text_encoder", "conditioner"})


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
    artifact = "onnx"

    def __init__(self, options: EngineOptions):
        self._options = options

    def load(self, bundle: Bundle, graph: GraphName) -> OnnxRuntimeSession:
        path = bundle.resolve(bundle.artifact(graph, self.artifact).files[0])
        try:
            session = ort.InferenceSession(path, self._session_options(graph), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"onnxruntime cannot load {path}: {error}") from error
        return OnnxRuntimeSession(session, graph)

    def _session_options(self, graph: GraphName) -> Any:
        options = ort.SessionOptions()
        if self._options.threads is not None:
            options.intra_op_num_threads = self._options.threads
        if graph in _RUN_ONCE:
            options.add_session_config_entry("session.disable_prepacking", "1")
        # Plans for memory hold for one shape; ours change from clip to clip, and the decoder peaks lower without.
        options.enable_mem_pattern = False
        options.log_severity_level = 3  # errors only; they come as exceptions
        return options

    def describe(self) -> str:
        return f"onnxruntime {ort.__version__} on the CPU"
