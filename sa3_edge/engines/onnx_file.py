"""Looks at an ONNX file before a runtime does: is it a graph as our exporter writes them, and no more than that.

A bundle may come from a stranger. What is not listed here is refused: other fields, operators and domains, graphs
inside graphs (loops, branches), functions, weights in files that the manifest does not name, and sizes beyond reason.
The format is protobuf; the runtime installs without the package onnx, and all that is needed of it is below.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sa3_edge.bundle import Bundle
from sa3_edge.errors import EngineError
from sa3_edge.files import read_small
from sa3_edge.manifest import Artifact, Dtype, GraphName, Tensor

LONGEST_FILE = 64 << 20  # bytes of a graph without its weights; the published denoiser's are 0.3 MB
MOST_NODES = 50_000
MOST_ELEMENTS = 1 << 31  # of a tensor whose shape the file states
MOST_AXES = 8
OPSETS = {"": range(21, 25), "com.microsoft": range(1, 2)}

# What our exporter writes, and its near kin: pure functions of their inputs.
_OPERATORS = frozenset(
    """
    Abs Add And Attention AveragePool Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos CumSum
    DequantizeLinear Div DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND
    Gelu Gemm Greater GreaterOrEqual Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual
    Log LogSoftmax MatMul MatMulInteger Max Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean
    ReduceMin ReduceSum Relu Reshape RMSNormalization RotaryEmbedding Round ScatterND Shape Sigmoid Sign Sin Slice
    Softmax Softplus Split Sqrt Squeeze Sub Sum Swish Tanh Tile Transpose Unsqueeze Where
    """.split()  # noqa: SIM905
)
_CONTRIBUTED = frozenset({"MultiHeadAttention", "RotaryEmbedding", "SkipSimplifiedLayerNormalization"})
OPERATORS = {"": _OPERATORS, "com.microsoft": _CONTRIBUTED}

# By TensorProto.DataType.
ELEMENT_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
_INT64 = 7
# The input that says how large the result is.
_SHAPE_INPUT = {"Expand": 1, "ConstantOfShape": 0, "Tile": 1, "Reshape": 1}
_DTYPES: dict[int, Dtype] = {1: "float32", 10: "float16", 6: "int32", 7: "int64"}

# Fields by message: number -> name. A name in capitals may be repeated; what is not listed is refused.
_MODEL = {
    1: "ir_version", 2: "producer_name", 3: "producer_version", 4: "domain", 5: "model_version", 6: "doc_string",
    7: "graph", 8: "OPSETS", 14: "METADATA",
}  # fmt: skip
_GRAPH = {1: "NODES", 2: "name", 5: "INITIALIZERS", 10: "doc_string", 11: "INPUTS", 12: "OUTPUTS", 13: "VALUES"}
_NODE = {1: "INPUTS", 2: "OUTPUTS", 3: "name", 4: "operator", 5: "ATTRIBUTES", 6: "doc_string", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 4: "s", 5: "tensor", 7: "FLOATS", 8: "INTS", 13: "doc_string", 20: "type"}
_TENSOR = {
    1: "DIMS", 2: "dtype", 4: "FLOATS", 5: "INT32S", 7: "INT64S", 8: "name", 9: "raw", 12: "doc_string",
    13: "EXTERNAL", 14: "location",
}  # fmt: skip
_VALUE = {1: "name", 2: "type", 3: "doc_string"}
_TYPE = {1: "tensor", 6: "denotation"}
_TENSOR_TYPE = {1: "element", 2: "shape"}
_SHAPE = {1: "DIMS"}
_DIMENSION = {1: "size", 2: "axis", 3: "denotation"}
_ENTRY = {1: "key", 2: "value"}
_OPSET = {1: "domain", 2: "version"}
# All of them, for hosts in other languages to be compared with.
FIELDS = {
    "model": _MODEL, "graph": _GRAPH, "node": _NODE, "attribute": _ATTRIBUTE, "tensor": _TENSOR, "value": _VALUE,
    "type": _TYPE, "tensor_type": _TENSOR_TYPE, "shape": _SHAPE, "dimension": _DIMENSION, "entry": _ENTRY,
    "opset": _OPSET,
}  # fmt: skip


class _RefusedError(Exception):
    """Why a file is no graph of ours."""


@dataclass(frozen=True)
class Stored:
    """A tensor with a value. path: the file that its bytes lie in, None for this one; integers: those of a few;
    dtype: as TensorProto.DataType."""

    name: str
    path: str | None
    offset: int
    length: int
    integers: tuple[int, ...] | None
    dtype: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Value:
    name: str
    element: int
    shape: tuple[int | str, ...]


def check_onnx(bundle: Bundle, name: GraphName, artifact: Artifact) -> Path:
    """The .onnx file of an artifact, if it is what the manifest says of it. Raises EngineError."""
    path = bundle.resolve(artifact.files[0])
    graph = bundle.manifest.graphs[name]
    named = {file.path: file.bytes for file in artifact.files}
    folder = Path(artifact.files[0].path).parent.as_posix()
    try:
        inputs, outputs, stored = read_graph(read_small(path, LONGEST_FILE))
        for kind, values, tensors in (("input", inputs, graph.inputs), ("output", outputs, graph.outputs)):
            _compare(kind, values, tensors)
        for tensor in stored:
            if tensor.path is None:
                continue
            location = tensor.path if folder == "." else f"{folder}/{tensor.path}"
            if "/" in tensor.path or "\\" in tensor.path or location not in named:
                raise _RefusedError(
                    f"the weights {tensor.name!r} lie in {tensor.path!r}, which the manifest does not name"
                )
            if tensor.offset + tensor.length > named[location]:
                raise _RefusedError(f"the weights {tensor.name!r} lie beyond the end of {tensor.path}")
    except _RefusedError as error:
        raise EngineError(f"{path} is no {name} graph of sa3-edge: {error}") from None
    except (RecursionError, ValueError) as error:
        raise EngineError(f"{path} is no {name} graph of sa3-edge: it is damaged ({error})") from None
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}") from None
    return path


def width_of(bundle: Bundle, name: GraphName) -> int:
    """How many numbers a network has for each position: the rows of its commonest matrix. Raises EngineError."""
    stored = stored_weights(check_onnx(bundle, name, bundle.artifact(name, "onnx")))
    sizes = Counter(min(tensor.shape) for tensor in stored.values() if len(tensor.shape) == 2 and min(tensor.shape) > 1)
    return sizes.most_common(1)[0][0] if sizes else 1


def stored_weights(path: Path) -> dict[str, Stored]:
    """The tensors with values of a file that `check_onnx` has looked at, by name. Raises EngineError."""
    try:
        _, _, stored = read_graph(read_small(path, LONGEST_FILE))
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}") from None
    return {tensor.name: tensor for tensor in stored}


def read_graph(data: bytes) -> tuple[list[_Value], list[_Value], list[Stored]]:
    """Inputs, outputs, and tensors with values. Raises _RefusedError or ValueError."""
    model = _Message(memoryview(data), _MODEL, "model")
    domains = set()
    for opset in model.messages("OPSETS", _OPSET, "opset"):
        domain, version = _domain(opset), opset.number("version")
        if version not in OPSETS.get(domain, ()):
            raise _RefusedError(f"it uses version {version} of the operators {domain or 'ai.onnx'!r}")
        domains.add(domain)
    graph = model.message("graph", _GRAPH, "graph")
    nodes = graph.messages("NODES", _NODE, "node")
    if not 1 <= len(nodes) <= MOST_NODES:
        raise _RefusedError(f"it has {len(nodes)} operators, 1 to {MOST_NODES} are allowed")
    stored = [_tensor(tensor) for tensor in graph.messages("INITIALIZERS", _TENSOR, "tensor")]
    constants = {tensor.name: tensor.integers for tensor in stored if tensor.integers is not None}
    for node in nodes:
        stored += _check_node(node, domains, constants)
    inputs, outputs, _ = (
        [_value(value) for value in graph.messages(key, _VALUE, "value")] for key in ("INPUTS", "OUTPUTS", "VALUES")
    )
    return inputs, outputs, stored


def _domain(message: "_Message") -> str:
    domain = message.text("domain")
    return "" if domain == "ai.onnx" else domain


def _check_node(node: "_Message", domains: set[str], constants: dict[str, tuple[int, ...]]) -> Iterator[Stored]:
    operator, domain = node.text("operator"), _domain(node)
    if domain not in domains or operator not in OPERATORS.get(domain, ()):
        raise _RefusedError(f"it has the operator {f'{domain}.' if domain else ''}{operator}, which no export writes")
    inputs = [bytes(name).decode() for name in node.all_data("INPUTS")]
    place = _SHAPE_INPUT.get(operator)
    if place is not None and place < len(inputs):
        _count(inputs[place], tuple(max(1, size) for size in constants.get(inputs[place], ())))
    for attribute in node.messages("ATTRIBUTES", _ATTRIBUTE, f"attribute of {operator}"):
        if "tensor" in attribute.fields:
            tensor = _tensor(attribute.message("tensor", _TENSOR, "tensor"))
            if tensor.path is not None:
                raise _RefusedError(f"a constant of {operator} lies in another file")
            yield tensor


def _tensor(tensor: "_Message") -> Stored:
    name, shape = tensor.text("name"), tensor.numbers("DIMS")
    elements = _count(name, shape)
    dtype = tensor.number("dtype")
    if dtype not in ELEMENT_BYTES:
        raise _RefusedError(f"{name!r} is of the type {dtype}, which no export writes")
    size = elements * ELEMENT_BYTES[dtype]
    if tensor.number("location") == 1:
        if tensor.fields.keys() & {"raw", "FLOATS", "INT32S", "INT64S"}:
            raise _RefusedError(f"{name!r} has its value twice")
        entries = tensor.messages("EXTERNAL", _ENTRY, "place of weights")
        where = {entry.text("key"): entry.text("value") for entry in entries}
        if len(where) != len(entries) or not where.keys() <= {"location", "offset", "length", "checksum"}:
            raise _RefusedError(f"{name!r} lies elsewhere in an unknown way")
        offset, length = (int(where.get(key, usual)[:20]) for key, usual in (("offset", "0"), ("length", str(size))))
        if offset < 0:
            raise _RefusedError(f"{name!r} lies before the start of its file")
        if length != size:
            raise _RefusedError(f"{name!r} is of {size} bytes, and {length} are stored")
        return Stored(name, where.get("location", ""), offset, length, None, dtype, shape)
    if "EXTERNAL" in tensor.fields:
        raise _RefusedError(f"{name!r} lies here and elsewhere")
    if "raw" in tensor.fields:
        raw = tensor.data("raw")
        if len(raw) != size:
            raise _RefusedError(f"{name!r} is of {size} bytes, and {len(raw)} are stored")
        integers = struct.unpack(f"<{elements}q", raw) if dtype == _INT64 and elements <= MOST_AXES else None
        return Stored(name, None, 0, size, integers, dtype, shape)
    held = sum(len(value) for value in tensor.all_data("FLOATS")) // 4
    held += len(tensor.numbers("INT32S")) + len(tensor.numbers("INT64S"))
    if elements != held:
        raise _RefusedError(f"{name!r} has {elements} elements, and {held} are stored")
    return Stored(name, None, 0, size, None, dtype, shape)


def _value(value: "_Message") -> _Value:
    name = value.text("name")
    tensor = value.message("type", _TYPE, "type").message("tensor", _TENSOR_TYPE, "type of a tensor")
    shape = tuple(
        dimension.text("axis") if "axis" in dimension.fields else dimension.number("size")
        for dimension in tensor.message("shape", _SHAPE, "shape").messages("DIMS", _DIMENSION, "dimension")
    )
    _count(name, tuple(size for size in shape if isinstance(size, int)))
    return _Value(name, tensor.number("element"), shape)


def _compare(kind: str, values: list[_Value], tensors: list[Tensor]) -> None:
    """Raise _RefusedError unless a graph's inputs or outputs are those of the manifest, in any order."""
    there = {value.name: value for value in values}
    if there.keys() != {tensor.name for tensor in tensors} or len(values) != len(tensors):
        raise _RefusedError(
            f"its {kind}s are {', '.join(there) or 'none'}, not {', '.join(each.name for each in tensors)}"
        )
    for tensor in tensors:
        value = there[tensor.name]
        if _DTYPES.get(value.element) != tensor.dtype or value.shape != tuple(tensor.shape):
            raise _RefusedError(
                f"its {kind} {tensor.name} is not {tensor.dtype} {tuple(tensor.shape)} as the manifest says"
            )


def _count(name: str, shape: tuple[int, ...]) -> int:
    """Elements of a shape within the limits."""
    count = 1
    for size in shape:
        if size < 0:
            raise _RefusedError(f"{name!r} has a negative size")
        count *= size
        if count > MOST_ELEMENTS:
            raise _RefusedError(f"{name!r} is larger than any tensor of a model")
    if len(shape) > MOST_AXES:
        raise _RefusedError(f"{name!r} has {len(shape)} axes")
    return count


# Protobuf (protobuf.dev/programming-guides/encoding): a message is fields in any order, each a number, a wire type and
# a value, which is a varint, 4 or 8 bytes, or a length and bytes.
_Raw = int | memoryview
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_LONGEST_VARINT = 10


class _Message:
    """A message by the names of its fields; `what` is said of it in errors.

    Raises _RefusedError for a field that is not known, that is there twice and may be once, or that is of another kind.
    """

    def __init__(self, data: memoryview, known: dict[int, str], what: str):
        self.fields: dict[str, list[_Raw]] = {}
        self._what = what
        for number, value in _fields(data):
            if number not in known:
                raise _RefusedError(f"its {what} has a field ({number}) that no export writes")
            values = self.fields.setdefault(known[number], [])
            if values and not known[number].isupper():
                raise _RefusedError(f"its {what} has the {known[number]} twice")
            values.append(value)

    def all(self, name: str) -> list[_Raw]:
        return self.fields.get(name, [])

    def all_data(self, name: str) -> list[memoryview]:
        values = self.all(name)
        if any(isinstance(value, int) for value in values):
            raise _RefusedError(f"its {self._what} has a number for the {name.lower()}")
        return [value for value in values if not isinstance(value, int)]

    def data(self, name: str) -> memoryview:
        return next(iter(self.all_data(name)), memoryview(b""))

    def text(self, name: str) -> str:
        return bytes(self.data(name)).decode()

    def numbers(self, name: str) -> tuple[int, ...]:
        """Integers, one a field or many packed in one."""
        numbers: list[int] = []
        for value in self.all(name):
            if isinstance(value, int):
                numbers.append(value)
                continue
            place = 0
            while place < len(value):
                number, place = _varint(value, place)
                numbers.append(number)
        return tuple(numbers)

    def number(self, name: str) -> int:
        value = next(iter(self.all(name)), 0)
        if not isinstance(value, int):
            raise _RefusedError(f"its {self._what} has no number for the {name}")
        return value

    def message(self, name: str, known: dict[int, str], what: str) -> "_Message":
        return _Message(self.data(name), known, what)

    def messages(self, name: str, known: dict[int, str], what: str) -> list["_Message"]:
        return [_Message(data, known, what) for data in self.all_data(name)]


def _fields(data: memoryview) -> Iterator[tuple[int, _Raw]]:
    place, end = 0, len(data)
    while place < end:
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(data, place)
        elif wire in (_EIGHT, _FOUR):
            length = 8 if wire == _EIGHT else 4
        else:
            raise _RefusedError(f"it is no protobuf (wire type {wire})")
        if length < 0 or place + length > end:
            raise _RefusedError("it ends within a field")
        yield number, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        if place + index >= len(data):
            raise _RefusedError("it ends within a number")
        byte = data[place + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            value &= (1 << 64) - 1
            return value - (1 << 64) if value >> 63 else value, place + index + 1
    raise _RefusedError("a number in it does not end")
