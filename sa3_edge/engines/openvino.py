"""OpenVINO on the CPU, for Intel and AMD: reads the same ONNX graphs, and uses bf16 and int8 matrix units.

`openvino` computes in fp32 and is as exact as the default engine. `openvino-bf16` multiplies in bf16, for processors
that have it: another, still plausible piece for the same seed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.adapters.lora import Adapter
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, Tensors, refuse_adapters
from sa3_edge.engines.libraries import load_openvino
from sa3_edge.engines.onnx_file import check_onnx
from sa3_edge.errors import EngineError, Remedy
from sa3_edge.machine import threads_to_use
from sa3_edge.manifest import GraphName

try:
    ov, ops = load_openvino(), load_openvino(".opset13")
    ConversionExtension = load_openvino(".frontend.onnx").ConversionExtension
except ModuleNotFoundError as error:
    raise EngineError(f"{error.name} is not installed", remedy=Remedy("install extra", ("openvino",))) from error
except ImportError as error:
    raise EngineError(
        f"openvino cannot be loaded ({error})", remedy=Remedy("replace package", ("openvino", "openvino"))
    ) from error

# Activations of int8 layers are quantized in groups of this many values of a row. 256 divides every width of the
# published model; a group that does not divide a layer's width would leave the layer in fp32.
_ACTIVATION_GROUP = 256
_LEVELS = 127.0


def _keep_activation(node: Any) -> list[Any]:
    """DynamicQuantizeLinear -> the activation itself, a scale and a zero point; see `_compressed_product`."""
    return [node.get_input(0), ops.constant(np.float32(_LEVELS)).output(0), ops.constant(np.uint8(0)).output(0)]


def _compressed_product(node: Any) -> list[Any]:
    """MatMulInteger -> a product with compressed weights, OpenVINO's own form of a dynamically quantized layer.

    OpenVINO would spell the integer product out in fp32. It recognises weights that are an int8 constant times a
    scale, and then quantizes each row of the activation itself. The layer's own scales are multiplied to the result,
    so the scale here is arbitrary; 1 would be optimized away, so it is 1/127 and the activation's "scale" 127.
    """
    weight = ops.multiply(ops.convert(node.get_input(1), np.float32), ops.constant(np.float32(1 / _LEVELS)))
    return [ops.matmul(node.get_input(0), weight, False, False).output(0)]


def _true_quotient(node: Any) -> list[Any]:
    """Div -> a division that stays one. OpenVINO would multiply by the reciprocal, which is another number in the last
    bit, and the last bit of a duration is an angle of thousands of radians."""
    quotient = ops.divide(node.get_input(0), node.get_input(1))
    quotient.get_rt_info()["nonconvertable_divide_0"] = ""  # as ov::disable_divide_conversion does
    return [quotient.output(0)]


_CONVERSIONS = {
    "DynamicQuantizeLinear": _keep_activation,
    "MatMulInteger": _compressed_product,
    "Div": _true_quotient,
}
_FEATURES = "fourier_features"


def _split_features(model: Any) -> tuple[Any | None, Any]:
    """Cut the Fourier features of time or duration out of a model -> (model of the features or None, the rest).

    Their angles reach 60000 radians: in bf16 nothing is left of them, and OpenVINO has no precision by node.
    """
    waves = [node for node in model.get_ordered_ops() if node.get_type_name() in {"Cos", "Sin"}]
    if not waves:
        return None, model
    (joined,) = {reader.get_node() for wave in waves for reader in wave.output(0).get_target_inputs()}
    source = waves[0]
    while source.get_type_name() != "Parameter":
        operands = (port.get_source_output().get_node() for port in source.inputs())
        source = next(operand for operand in operands if operand.get_type_name() != "Constant")
    features = ops.parameter(joined.output(0).get_partial_shape(), np.float32)
    features.output(0).get_tensor().set_names({_FEATURES})
    for reader in list(joined.output(0).get_target_inputs()):
        reader.replace_source_output(features.output(0))
    others = [parameter for parameter in model.get_parameters() if parameter != source]
    joined.output(0).get_tensor().set_names({_FEATURES})
    return ov.Model([joined.output(0)], [source]), ov.Model(model.get_results(), [*others, features])


class OpenVinoSession:
    """One compiled graph; `features` are computed before it, from some of its inputs.

    `names` are those of its tensors in the manifest: a compiled graph may have more for the same tensors.
    """

    def __init__(self, graph: GraphName, names: Iterable[str], compiled: Any, features: Any | None = None):
        self._graph = graph
        self._names = {*names, _FEATURES}
        self._requests = [each.create_infer_request() for each in (features, compiled) if each is not None]

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        known: dict[str, NDArray[Any]] = dict(inputs)
        outputs: dict[str, NDArray[Any]] = {}
        try:
            for request in self._requests:
                results = request.infer({port: known[self._name(port)] for port in request.model_inputs})
                outputs = {self._name(port): results[port] for port in request.model_outputs}
                known |= outputs
        except Exception as error:  # openvino raises RuntimeError, and what pybind makes of others
            raise EngineError(f"openvino failed in {self._graph}: {error}") from error
        return outputs

    def _name(self, port: Any) -> str:
        names: set[str] = port.names
        (name,) = self._names & names
        return name


class OpenVinoEngine:
    """Compiles a bundle's ONNX graphs for the CPU whenever they are loaded.

    OpenVINO's cache of compiled graphs is not used: what OpenVINO 2026.4 reads back from it computes with memory that
    nobody has written, so that a clip is NaN or not by what lay there before. Compiling the demo's denoiser takes
    0.4 s instead of 0.15 s.
    """

    name = "openvino"
    format = "onnx"
    precision = "f32"  # OpenVINO's own default is bf16 wherever the processor has it

    def __init__(self, options: EngineOptions):
        self._options = options
        self._core = ov.Core()
        for operator, convert in _CONVERSIONS.items():
            self._core.add_extension(ConversionExtension(operator, convert))

    def load(self, bundle: Bundle, graph: GraphName, adapters: Sequence[Adapter] = ()) -> OpenVinoSession:
        refuse_adapters(self.name, adapters)
        artifact = bundle.artifact(graph, self.format)
        path = check_onnx(bundle, graph, artifact)
        described = bundle.manifest.graphs[graph]
        names = {tensor.name for tensor in (*described.inputs, *described.outputs)}
        try:
            return OpenVinoSession(graph, names, *self._compile(str(path), self._properties()))
        except Exception as error:
            raise EngineError(f"openvino cannot load {path}: {error}") from error

    def check(self, bundle: Bundle, graph: GraphName) -> None:
        check_onnx(bundle, graph, bundle.artifact(graph, self.format))

    def wants_full_tiles(self, bundle: Bundle, graph: GraphName) -> bool:
        return False

    def _compile(self, path: str, properties: dict[str, Any]) -> tuple[Any, ...]:
        """The compiled graph, and what is to be computed before it, if anything is."""
        return (self._core.compile_model(path, "CPU", properties),)

    def _properties(self) -> dict[str, Any]:
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",  # one request at a time, all cores
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _ACTIVATION_GROUP,
        }
        threads = self._options.threads or threads_to_use()
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
        return properties

    def describe(self) -> str:
        return f"openvino {ov.__version__.split('-')[0]} on the CPU, {self.precision}"


class OpenVinoBf16Engine(OpenVinoEngine):
    """Products in bf16, Fourier features in fp32."""

    name = "openvino-bf16"
    precision = "bf16"

    def _compile(self, path: str, properties: dict[str, Any]) -> tuple[Any, ...]:
        features, rest = _split_features(self._core.read_model(path))
        compiled = self._core.compile_model(rest, "CPU", properties)
        if features is None:
            return (compiled,)
        exact = {**properties, "INFERENCE_PRECISION_HINT": "f32"}
        return compiled, self._core.compile_model(features, "CPU", exact)
