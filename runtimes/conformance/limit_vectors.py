"""Limits of what a stranger's bundle may hold: of numbers in a manifest, of graphs, of tokenizers and of prompts."""

import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sa3_edge import manifest as m
from sa3_edge.engines import onnx_file
from sa3_edge.errors import BundleError, RequestError
from sa3_edge.generation import tokenizer as t
from vector_format import REPOSITORY, Made, digest, json_file

_Json = dict[str, Any]
_OPSET = 21


def limit_vectors(manifest: _Json, tokenizer: _Json) -> Made:
    """By a manifest and a tokenizer that are good."""
    content = {
        "manifest_bytes": m.LARGEST_FILE,
        "manifest": json.dumps(manifest),
        "numbers": [_proved_number(manifest, *case) for case in _numbers(manifest)],
        "graph": {
            "bytes": onnx_file.LONGEST_FILE,
            "nodes": onnx_file.MOST_NODES,
            "elements": onnx_file.MOST_ELEMENTS,
            "axes": onnx_file.MOST_AXES,
            "opsets": {domain: list(versions) for domain, versions in onnx_file.OPSETS.items()},
            "operators": {domain: sorted(names) for domain, names in onnx_file.OPERATORS.items()},
            "element_bytes": {str(dtype): size for dtype, size in onnx_file.ELEMENT_BYTES.items()},
            # Of each message the fields that may be there; those in `once` at most once.
            "fields": {what: sorted(known) for what, known in onnx_file.FIELDS.items()},
            "once": {
                what: sorted(number for number, name in known.items() if not name.isupper())
                for what, known in onnx_file.FIELDS.items()
            },
        },
        "tokenizer_bytes": t.LARGEST_FILE,
        "tokenizers": [_proved_tokenizer(tokenizer, *case) for case in _TOKENIZERS],
        "prompts": _prompts(),
    }
    return {"limits.json": json_file(content)}


# Numbers of a manifest

_Number = tuple[list[str | int], list[object], list[object]]


def _numbers(manifest: _Json) -> list[_Number]:
    """Where, what is read there, and what is refused."""
    size, frames, samples = 1 << 20, m.MOST_SAMPLES // (2 * 4096), m.MOST_SAMPLES // (2 * 1292)
    no_hashes: list[object] = ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", 0]
    no_shapes: list[object] = [[-1], [(1 << 31) + 1], [0.5], [None], [1] * 9, ["x" * 1025]]
    tensor: list[str | int] = ["graphs", "decoder", "inputs", 0]
    onnx_files: list[str | int] = ["graphs", "denoiser", "artifacts", "onnx"]
    layers: _Json = {
        "a": {"shape": [1, size], "parts": [{"initializer": "w", "first": 0, "rows": size, "transposed": False}]}
    }

    def layer(**values: object) -> _Json:
        return {"a": layers["a"] | values}

    def part(**values: object) -> _Json:
        return layer(parts=[layers["a"]["parts"][0] | values])

    no_sizes: list[object] = [0, -1, size + 1, 1 << 40, 1.5, "1", True, None, []]
    return [
        (["audio", "sample_rate"], [1, size], no_sizes),
        (["audio", "channels"], [1, 101], [*no_sizes, 102]),
        (["audio", "samples_per_frame"], [1, samples], [*no_sizes, samples + 1]),
        (["audio", "latent_channels"], [1, size], no_sizes),
        (["audio", "max_frames"], [1, frames], [*no_sizes, frames + 1]),
        (["text", "max_tokens"], [1, size], no_sizes),
        (["text", "hidden_size"], [1, size], no_sizes),
        (["text", "tokenizer", "bytes"], [0, 1 << 40], [-1, (1 << 40) + 1, 0.5, "1", None]),
        (["text", "tokenizer", "sha256"], ["0123456789abcdef" * 4], no_hashes),
        (["text", "tokenizer", "path"], ["a" * 1024, "é" * 1024, "🎹" * 1024], ["", "a" * 1025, 1, None]),
        (["sampler", "logsnr_start"], [-1e6, 1e6, 0], [-1e6 - 1, 1.1e6, 1e300, "0", None, True]),
        (["sampler", "logsnr_end"], [-1e6, 1e6], [-1.1e6, 1.1e6]),
        (["sampler", "steps"], [1, 10_000], [0, 10_001, 2.5, True]),
        (["sampler", "guidance"], [-1e6, 1e6], [-1.1e6, 1.1e6]),
        (["sampler", "headroom_seconds"], [0, 3600.0], [-0.1, 3600.5]),
        (["memory_tokens"], [0, size], [-1, size + 1, 0.5]),
        (["tiles", "decoder", "frames"], [1, frames - 4], [*no_sizes, frames - 3]),
        (["tiles", "decoder", "overlap"], [0, (frames - 64) // 2], [-1, frames // 2, size + 1]),
        (["tiles", "encoder", "frames"], [1, frames - 4], [*no_sizes, frames - 3]),
        (["tiles", "decoder", "multiple"], [1, size], no_sizes),
        ([*tensor, "name"], ["", "x" * 1024], ["x" * 1025, 1]),
        ([*tensor, "shape"], [[], [0, (1 << 31) - 1], ["frames"] * 8], no_shapes),
        ([*onnx_files, "layers"], [{}, layers, layer(shape=[1, 1, 1, 1])], [
            layer(shape=[1]), layer(shape=[1] * 5), layer(shape=[1, 0]), layer(shape=[1, size + 1]), layer(parts=[]),
            part(first=-1), part(first=size + 1), part(rows=0), part(rows=size + 1), part(initializer="x" * 1025),
            part(transposed=0), part(colour=1), {"x" * 1025: layers["a"]},
        ]),
    ]  # fmt: skip


def put(manifest: _Json, at: list[str | int], value: object) -> _Json:
    """A copy of the manifest with `value` where `at` leads."""
    changed = copy.deepcopy(manifest)
    place: Any = changed
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    return changed


def _proved_number(manifest: _Json, at: list[str | int], read: list[object], refused: list[object]) -> _Json:
    says = str(at[-1])
    for value in read:
        m.decode_manifest(json.dumps(put(manifest, at, value)).encode())
    for value in refused:
        try:
            m.decode_manifest(json.dumps(put(manifest, at, value)).encode())
        except BundleError as error:
            # Sizes that are too large together are named by what they add up to.
            if says not in str(error) and "frames" not in str(error):
                raise AssertionError(f"{at} {value!r}: {error}") from None
            continue
        raise AssertionError(f"{at} {value!r} should be refused")
    return {"at": at, "read": read, "refused": refused}


# Graphs


def strange_graphs(good: Callable[[], onnx.ModelProto]) -> dict[str, bytes]:
    """What no export writes, though a runtime may well load it; changed from a graph that is good."""

    def changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
        model = good()
        change(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def placed(**values: str) -> Callable[[onnx.ModelProto], None]:
        def change(model: onnx.ModelProto) -> None:
            table = model.graph.initializer[0]
            where = {entry.key: entry.value for entry in table.external_data} | values
            del table.external_data[:]
            for key, value in where.items():
                table.external_data.add(key=key, value=value)

        return change

    def shaped(*shape: int) -> Callable[[onnx.ModelProto], None]:
        def change(model: onnx.ModelProto) -> None:
            model.graph.initializer[0].dims[:] = shape

        return change

    def with_tensor(tensor: onnx.TensorProto) -> Callable[[onnx.ModelProto], None]:
        return lambda model: model.graph.initializer.append(tensor)

    def with_node(*arguments: Any, **attributes: Any) -> Callable[[onnx.ModelProto], None]:
        return lambda model: model.graph.node.append(helper.make_node(*arguments, **attributes))

    def in_two_places(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].external_data.add(key="location", value="text_encoder.onnx.data")

    def with_value_too(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].raw_data = bytes(128)

    def opset(version: int) -> Callable[[onnx.ModelProto], None]:
        def change(model: onnx.ModelProto) -> None:
            model.opset_import[0].version = version

        return change

    def expanded(model: onnx.ModelProto) -> None:
        with_tensor(numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "huge"))(model)
        with_node("Expand", ["hidden", "huge"], ["more"])(model)

    def input_of(dtype: int, shape: list[int | str], name: str = "input_ids") -> Callable[[onnx.ModelProto], None]:
        def change(model: onnx.ModelProto) -> None:
            model.graph.input[0].CopyFrom(helper.make_tensor_value_info(name, dtype, shape))

        return change

    def output_of(shape: list[int | str]) -> Callable[[onnx.ModelProto], None]:
        def change(model: onnx.ModelProto) -> None:
            model.graph.output[0].CopyFrom(helper.make_tensor_value_info("hidden", TensorProto.FLOAT, shape))

        return change

    identity = helper.make_node("Identity", ["a"], ["b"])
    body = helper.make_graph([identity], "body", [], [])
    function = helper.make_function("", "Mine", ["a"], ["b"], [identity], [helper.make_opsetid("", _OPSET)])
    short = TensorProto(name="short", data_type=TensorProto.FLOAT, dims=[2], raw_data=bytes(4))
    few = TensorProto(name="few", data_type=TensorProto.FLOAT, dims=[2], float_data=[1.0])
    elsewhere = TensorProto(name="elsewhere", data_type=TensorProto.FLOAT, dims=[1], raw_data=bytes(4))
    elsewhere.external_data.add(key="location", value="text_encoder.onnx.data")
    words = TensorProto(name="words", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"])
    constant = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    constant.external_data.add(key="location", value="text_encoder.onnx.data")
    whole = changed(lambda model: None)
    return {
        "an operator that no export writes": changed(with_node("RandomNormalLike", ["hidden"], ["more"])),
        "a graph within the graph": changed(
            with_node("If", ["input_ids"], ["more"], then_branch=body, else_branch=body)
        ),
        "a graph as an attribute": changed(with_node("Identity", ["hidden"], ["more"], body=body)),
        "a function": changed(lambda model: model.functions.append(function)),
        "a node for training": changed(lambda model: model.training_info.add()),
        "sparse weights": changed(lambda model: model.graph.sparse_initializer.add()),
        "no operator": changed(lambda model: model.graph.ClearField("node")),
        "operators of an older version": changed(opset(20)),
        "operators of a newer version": changed(opset(25)),
        "a domain that is not declared": changed(
            with_node("MultiHeadAttention", ["hidden"], ["more"], domain="com.microsoft")
        ),
        "a domain of another's": changed(lambda model: model.opset_import.add(domain="com.example", version=1)),
        "weights in a file that the manifest does not name": changed(placed(location="manifest.json")),
        "weights in another folder": changed(placed(location="../text_encoder.onnx.data")),
        "weights in a folder of Windows": changed(placed(location="..\\text_encoder.onnx.data")),
        "weights beyond the end of their file": changed(placed(offset="4096")),
        "weights before the start of their file": changed(placed(offset="-128")),
        "weights that are longer than their shape": changed(placed(length="256")),
        "weights of a shape that their file does not hold": changed(shaped(16, 4)),
        "weights in two places": changed(in_two_places),
        "weights that lie here too": changed(with_value_too),
        "weights in an unknown way": changed(placed(mirror="com.example")),
        "a place of weights that are here": changed(with_tensor(elsewhere)),
        "a constant in another file": changed(with_node("Constant", [], ["far"], value=constant)),
        "a negative size": changed(shaped(-8, -4)),
        "too many axes": changed(shaped(8, 4, *[1] * 7)),
        "more elements than any tensor has": changed(shaped(1 << 16, 1 << 16)),
        "sizes whose product does not fit 64 bits": changed(shaped(1 << 32, 1 << 32)),
        "a result larger than any tensor": changed(expanded),
        "fewer bytes than elements": changed(with_tensor(short)),
        "fewer values than elements": changed(with_tensor(few)),
        "a type that no export writes": changed(with_tensor(words)),
        "an input of another name": changed(input_of(TensorProto.INT64, [1, "tokens"], "ids")),
        "an input of another type": changed(input_of(TensorProto.INT32, [1, "tokens"])),
        "an input of another shape": changed(input_of(TensorProto.INT64, [1, 7])),
        "an input that is too large": changed(input_of(TensorProto.INT64, [1 << 16, 1 << 16])),
        "an output of another shape": changed(output_of([1, "tokens", 5])),
        "an output too many": changed(lambda model: model.graph.output.append(model.graph.output[0])),
        "a graph that ends early": whole[: len(whole) - 3],
        "a graph twice": whole + whole,
        # Read again and again if it is taken to end before it begins.
        "a field of a negative length": bytes([8 << 3 | 2, 0xF5, *[0xFF] * 8, 1]),
        "no graph": b"",
        "no protobuf": b"not a graph at all",
    }


# Tokenizers


def _split(pattern: object) -> _Json:
    return {"type": "Split", "pattern": pattern, "behavior": "MergedWithPrevious", "invert": False}


def _replace(pattern: object, content: str) -> _Json:
    return {"type": "Replace", "pattern": pattern, "content": content}


# What it is called, what is changed in a good tokenizer (of its model where that is said), and what its refusal says.
_TOKENIZERS: tuple[tuple[str, _Json, str], ...] = (
    ("another kind of model", {"model": {"type": "WordPiece"}}, "its model is 'WordPiece'"),
    ("merges left out at random", {"model": {"dropout": 0.5}}, "it drops merges at random"),
    ("a normalizer of another kind", {"normalizer": {"type": "Precompiled"}}, "its normalizer is 'Precompiled'"),
    ("a normalizer without a kind", {"normalizer": {}}, "its normalizer is 'None'"),
    (
        "a pattern in the normalizer",
        {"normalizer": _replace({"Regex": "(a+)+b"}, "")},
        "its normalizer matches a regular",
    ),
    (
        "text that grows without end",
        {"normalizer": _replace({"String": ""}, "a")},
        "its normalizer makes text many times",
    ),
    (
        "text that grows 65 times",
        {"normalizer": _replace({"String": "a"}, "b" * 65)},
        "its normalizer makes text many times",
    ),
    ("a normalizer that is text", {"normalizer": "NFC"}, "is not a tokenizer"),
    (
        "a splitter of another kind",
        {"pre_tokenizer": {"type": "UnicodeScripts"}},
        "its pre_tokenizer is 'UnicodeScripts'",
    ),
    (
        "a pattern in the splitter",
        {"pre_tokenizer": _split({"Regex": "(a|a)*$"})},
        "its pre_tokenizer matches a regular",
    ),
    ("a merge of what is no token", {"model": {"merges": ["a zz"]}}, "is not a tokenizer"),
    ("a merge into what is no token", {"model": {"merges": ["b a"]}}, "is not a tokenizer"),
    ("a merge of three", {"model": {"merges": ["a b u"]}}, "is not a tokenizer"),
    ("a merge of one", {"model": {"merges": [["a"]]}}, "is not a tokenizer"),
    ("merges that are no list", {"model": {"merges": {"a": "b"}}}, "is not a tokenizer"),
    ("a negative id", {"model": {"vocab": {"u": 0, "a": -1, "b": 2, "ab": 3}}}, "is not a tokenizer"),
    ("a fraction for an id", {"model": {"vocab": {"u": 0, "a": 0.5, "b": 2, "ab": 3}}}, "is not a tokenizer"),
    ("an id as text", {"model": {"vocab": {"u": 0, "a": "1", "b": 2, "ab": 3}}}, "is not a tokenizer"),
    ("an id of more than 32 bits", {"model": {"vocab": {"u": 0, "a": 1 << 32, "b": 2, "ab": 3}}}, "is not a tokenizer"),
    ("a vocabulary that is a list", {"model": {"vocab": ["u", "a"]}}, "is not a tokenizer"),
    ("added tokens that are no list", {"added_tokens": {"a": 1}}, "is not a tokenizer"),
    ("an added token that is text", {"added_tokens": ["a"]}, "is not a tokenizer"),
    ("no model", {"model": None}, "is not a tokenizer"),
)


def _proved_tokenizer(good: _Json, name: str, change: _Json, says: str) -> _Json:
    file = copy.deepcopy(good)
    for key, value in change.items():
        file[key] = {**file["model"], **value} if key == "model" and value is not None else value
    text = json.dumps(file)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_text(text, encoding="ascii")
        try:
            t.Tokenizer(path, 256)
        except BundleError as error:
            if says not in str(error):
                raise AssertionError(f"{name}: {error}") from None
            return {"name": name, "file": text, "says": says}
    raise AssertionError(f"{name} should be refused")


def _prompts() -> _Json:
    """The longest prompt that is read, of characters that are two in some languages, and one that is too long."""
    path = "runtimes/conformance/vectors/tokenizers/strings.json"
    tokenizer = t.Tokenizer(REPOSITORY / path, 1 << 30)
    character = "🎹"
    ids, _ = tokenizer.encode(character * t.LONGEST_TEXT)
    try:
        tokenizer.encode(character * (t.LONGEST_TEXT + 1))
    except RequestError as error:
        message = str(error)
    return {
        "tokenizer": path,
        "character": character,
        "read": t.LONGEST_TEXT,
        "ids": digest(np.array(ids, np.int32)),
        "message": message,
    }
