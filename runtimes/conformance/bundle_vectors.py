"""Bundles that a host must open or refuse, the exact integer product, and Core ML's functions of fixed lengths."""

import base64
import copy
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from limit_vectors import limit_vectors, strange_graphs
from sa3_edge import manifest as m
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, create_engine
from sa3_edge.engines.coreml.fixed_lengths import FunctionChooser
from sa3_edge.errors import BundleError, EngineError, Sa3Error
from vector_format import Made, digest, json_file, signal

_IR_VERSION, _OPSET = 10, 21
_WIDTH, _VOCABULARY = 4, 8
_Json = dict[str, Any]


def bundle_vectors() -> Made:
    """Whole small bundles, as files in base64: a host writes them into a folder and opens it."""
    files = {
        "tokenizer.json": _TOKENIZER,
        "text_encoder.onnx": _lookup_graph("Gather", ""),
        "text_encoder.onnx.data": np.arange(_VOCABULARY * _WIDTH, dtype="<f4").tobytes(),
    }
    manifest = _manifest(files)
    cases = [_proved(case) for case in _cases(manifest, files)]
    integer_model, integer_case = _integer_product()
    return {
        **limit_vectors(manifest, json.loads(_TOKENIZER)),
        "bundles.json": json_file({"files": _encoded(files), "cases": cases}),
        "integer.onnx": integer_model,
        "integer.json": json_file(integer_case),
        "functions.json": json_file(_functions()),
    }


_TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "unk_token": "u", "vocab": {"u": 0, "a": 1, "b": 2, "ab": 3}, "merges": ["a b"]},
    }
).encode()


def _lookup_graph(operator: str, domain: str) -> bytes:
    """`hidden` = a row of the table in text_encoder.onnx.data for each id."""
    table = TensorProto(
        name="table",
        data_type=TensorProto.FLOAT,
        dims=[_VOCABULARY, _WIDTH],
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in {"location": "text_encoder.onnx.data", "length": str(_VOCABULARY * _WIDTH * 4)}.items():
        entry = table.external_data.add()
        entry.key, entry.value = key, value
    graph = helper.make_graph(
        [helper.make_node(operator, ["table", "input_ids"], ["hidden"], domain=domain)],
        "text_encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])],
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "tokens", _WIDTH])],
        [table],
    )
    return _serialized(graph, domain)


def _serialized(graph: onnx.GraphProto, domain: str = "") -> bytes:
    opsets = [helper.make_opsetid("", _OPSET)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="sa3-edge")
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _manifest(files: Mapping[str, bytes]) -> _Json:
    """Five graphs that are all the same file: only the first is ever loaded."""
    artifact = {
        "files": [_described(files, name) for name in ("text_encoder.onnx", "text_encoder.onnx.data")],
        "precision": "fp32",
        "parity": [{"length": 1, "snr_db": 120.0}],
    }
    graph = {
        "description": "a row of a table for each token",
        "inputs": [{"name": "input_ids", "dtype": "int64", "shape": [1, "tokens"]}],
        "outputs": [{"name": "hidden", "dtype": "float32", "shape": [1, "tokens", _WIDTH]}],
        "artifacts": {"onnx": artifact},
    }
    return {
        "schema_version": m.SCHEMA_VERSION,
        "model": {"name": "vectors", "revision": "1", "licence": "MIT", "synthetic": True, "adapters": []},
        "audio": {
            "sample_rate": 44100,
            "channels": 2,
            "samples_per_frame": 4096,
            "latent_channels": 4,
            "max_frames": 1292,
        },
        "text": {
            "tokenizer": _described(files, "tokenizer.json"),
            "max_tokens": 256,
            "hidden_size": _WIDTH,
        },
        "sampler": {
            "objective": "rf_denoiser",
            "logsnr_start": -6.2,
            "logsnr_end": 2.0,
            "steps": 8,
            "guidance": 1.0,
            "headroom_seconds": 6.0,
        },
        "memory_tokens": 8,
        "tiles": {name: {"frames": 64, "overlap": 2, "multiple": 2} for name in ("decoder", "encoder")},
        "graphs": {
            name: copy.deepcopy(graph) for name in ("text_encoder", "conditioner", "denoiser", "decoder", "encoder")
        },
        "made_with": {"sa3-edge": "0.1.0"},
        "unknown_config_keys": [],
    }


def _described(files: Mapping[str, bytes], path: str) -> _Json:
    data = files[path]
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _cases(good: _Json, files: Mapping[str, bytes]) -> list[_Json]:
    """Each case: a manifest (text), files that differ from the common ones (null: not there), and what must happen."""

    def changed(name: str, says: str, change: Callable[[_Json], None], **more: Any) -> _Json:
        manifest = copy.deepcopy(good)
        change(manifest)
        return {
            "name": name,
            "manifest": json.dumps(manifest),
            "files": {},
            "error": "BundleError",
            "says": says,
        } | more

    def put(*keys: str | int, value: object) -> Callable[[_Json], None]:
        def change(manifest: _Json) -> None:
            place: Any = manifest
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = value

        return change

    def drop(*keys: str) -> Callable[[_Json], None]:
        def change(manifest: _Json) -> None:
            place: Any = manifest
            for key in keys[:-1]:
                place = place[key]
            del place[keys[-1]]

        return change

    def same(manifest: _Json) -> None:
        pass

    tokenizer = ("text", "tokenizer", "path")
    weights = ("graphs", "text_encoder", "artifacts", "onnx", "files")
    table = files["text_encoder.onnx.data"]
    cut, foreign = table[: len(table) // 2], _lookup_graph("Remember", "com.example")
    flipped = bytes([table[0] ^ 1]) + table[1:]

    def restated(index: int, path: str, data: bytes) -> Callable[[_Json], None]:
        def change(manifest: _Json) -> None:
            manifest["graphs"] = {"text_encoder": manifest["graphs"]["text_encoder"]}
            for graph in manifest["graphs"].values():
                graph["artifacts"]["onnx"]["files"][index] = _described({path: data}, path)

        return change

    data_file, graph_file = "text_encoder.onnx.data", "text_encoder.onnx"
    return [
        changed("good", "", same, error=None, hidden=digest(np.arange(4, 12, dtype=np.float32)), input_ids=[1, 2]),
        changed("schema 99", "99", put("schema_version", value=99)),
        changed("schema 1", "1", put("schema_version", value=1)),
        changed("no schema", "schema_version", drop("schema_version")),
        changed("schema as text", "", put("schema_version", value=str(m.SCHEMA_VERSION))),
        changed("unknown field", "colour", put("colour", value=1)),
        changed("unknown field inside", "colour", put("audio", "colour", value=1)),
        changed("unknown field of a file", "colour", put(*weights, 0, "colour", value=1)),
        changed("unknown graph", "vocoder", put("graphs", "vocoder", value=good["graphs"]["decoder"])),
        changed("missing field", "steps", drop("sampler", "steps")),
        changed("a number as text", "steps", put("sampler", "steps", value="8")),
        changed("a fraction for a size", "steps", put("sampler", "steps", value=8.5)),
        changed("a size of zero", "max_frames", put("audio", "max_frames", value=0)),
        changed("unknown objective", "objective", put("sampler", "objective", value="v")),
        changed("unknown dtype", "dtype", put("graphs", "decoder", "inputs", 0, "dtype", value="float8")),
        changed("no files", "files", put(*weights, value=[])),
        changed("null", "model", put("model", value=None)),
        changed("path out of the folder", "outside", put(*tokenizer, value="../tokenizer.json")),
        changed("path out of the folder on a detour", "outside", put(*tokenizer, value="a/../../tokenizer.json")),
        changed("absolute path", "outside", put(*tokenizer, value="/etc/hostname")),
        changed("path of weights out of the folder", "outside", put(*weights, 1, "path", value="../weights")),
        changed("wrong hash", "SHA-256", put("text", "tokenizer", "sha256", value="0" * 64)),
        changed("a flipped bit of the weights", "SHA-256", same, files=_encoded({data_file: flipped})),
        changed("short file", str(len(cut)), same, files=_encoded({data_file: cut})),
        changed("missing file", data_file, same, files={data_file: None}),
        changed("no ONNX files", "onnx", put("graphs", "text_encoder", "artifacts", value={}), load="text_encoder"),
        changed(
            "truncated weights that the manifest agrees with",
            "",
            restated(1, data_file, cut),
            files=_encoded({data_file: cut}),
            error="EngineError",
            load="text_encoder",
        ),
        changed(
            "an operator from a foreign domain",
            "",
            restated(0, graph_file, foreign),
            files=_encoded({graph_file: foreign}),
            error="EngineError",
            load="text_encoder",
        ),
        *(
            changed(
                name,
                "",
                restated(0, graph_file, data),
                files=_encoded({graph_file: data}),
                error="EngineError",
                load="text_encoder",
            )
            for name, data in strange_graphs(lambda: onnx.ModelProto.FromString(_lookup_graph("Gather", ""))).items()
        ),
        {"name": "no JSON", "manifest": "{", "files": {}, "error": "BundleError", "says": "manifest.json"},
        {"name": "an array", "manifest": "[]", "files": {}, "error": "BundleError", "says": "manifest.json"},
        {"name": "no manifest", "manifest": None, "files": {}, "error": "BundleError", "says": "manifest.json"},
    ]


def _encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(data).decode("ascii") for name, data in files.items()}


def _proved(case: _Json) -> _Json:
    """The case, after this host did what it says."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "bundle")
        write_bundle(folder, case)
        error: Sa3Error | None = None
        try:
            bundle = Bundle.load(folder, trust_cache=False)
            if case["error"] is None or "load" in case:
                session = create_engine("onnxruntime", EngineOptions()).load(bundle, "text_encoder")
                hidden = session.run({"input_ids": np.array([case.get("input_ids", [0])], np.int64)})["hidden"]
                assert digest(hidden) == case.get("hidden"), case["name"]
        except Sa3Error as caught:
            error = caught
    kinds = {"BundleError": BundleError, "EngineError": EngineError}
    assert (error is None) == (case["error"] is None), f"{case['name']}: {error}"
    assert error is None or (type(error) is kinds[case["error"]] and case["says"] in str(error)), f"{case}: {error}"
    if isinstance(error, EngineError):  # what is wrong with a graph, in the words of all hosts
        said = str(error).partition(" is no text_encoder graph of sa3-edge: ")[2]
        assert said, f"{case['name']}: {error}"
        return case | {"says": said.partition(" (")[0] if said.startswith("it is damaged") else said}
    return case


def write_bundle(folder: Path, case: _Json) -> None:
    """The case's bundle in `folder`; as a host's test does it."""
    common = {"tokenizer.json": _TOKENIZER, "text_encoder.onnx": _lookup_graph("Gather", "")}
    common["text_encoder.onnx.data"] = np.arange(_VOCABULARY * _WIDTH, dtype="<f4").tobytes()
    folder.mkdir()
    for name, data in _encoded(common).items():
        text = case["files"].get(name, data)
        if text is not None:
            (folder / name).write_bytes(base64.b64decode(text))
    if case["manifest"] is not None:
        (folder / "manifest.json").write_text(case["manifest"], encoding="utf-8")


def _integer_product() -> tuple[bytes, _Json]:
    """DynamicQuantizeLinear and MatMulInteger as int8 graphs have them, over the full range of both: all exact.

    ONNX Runtime's default kernels for x86 without VNNI add pairs of products in 16 bits, which saturate here.
    """
    rows, inner, columns = 4, 512, 32
    weights = np.random.RandomState(0).randint(-127, 128, size=(inner, columns)).astype(np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero_point"]),
            helper.make_node("MatMulInteger", ["q", "weights", "zero_point", "weights_zero_point"], ["sums"]),
        ],
        "integer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", inner])],
        [
            helper.make_tensor_value_info("sums", TensorProto.INT32, ["rows", columns]),
            helper.make_tensor_value_info("q", TensorProto.UINT8, ["rows", inner]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.zeros((), np.int8), "weights_zero_point"),
        ],
    )
    # Few values between the ends, so that most products are large: pairs of them do not fit into 16 bits.
    x = np.clip(signal(9, (rows, inner), 100.0), -1.0, 1.0)
    low, high = np.float32(min(x.min(), 0)), np.float32(max(x.max(), 0))
    scale = (high - low) / np.float32(255)
    zero_point = int(np.clip(np.rint(-low / scale), 0, 255))
    quantized = np.clip(np.rint(x / scale) + zero_point, 0, 255).astype(np.int32)
    sums = (quantized - zero_point) @ weights.astype(np.int32)
    return _serialized(graph), {
        "model": "integer.onnx",
        "x": {"seed": 9, "shape": [rows, inner], "gain": 100.0, "clip": 1.0},
        "q": digest(quantized),
        "sums": digest(sums),
    }


def _functions() -> _Json:
    """Which function of a Core ML package runs a call, and the sizes of its axes there."""
    frames = (128, 256, 512, 1024, 1292)
    memory = 8
    tensors = [
        ("x", "float32", [1, 4, "frames"]),
        ("t", "float32", [1]),
        ("cross_k", "float32", [2, 2, 8, "keys"]),
        ("cross_v", "float32", [2, 2, "keys", 8]),
        ("global_embed", "float32", [1, 16]),
        ("local_embed", "float32", [2, "rows", 16]),
        ("key_bias", "float32", ["keys"]),
    ]
    named = [{"name": name, "dtype": dtype, "shape": shape} for name, dtype, shape in tensors]
    own = [{**tensor, "dtype": "float16" if tensor["name"] != "t" else "float32"} for tensor in named]
    own.append({"name": "frame_bias", "dtype": "float16", "shape": [1, "frames"]})
    pads = {"key_bias": "mask", "frame_bias": "mask", "local_embed": "repeat_last"}
    for tensor in own:
        tensor["pad"] = pads.get(str(tensor["name"]), "zeros")
        tensor["per"] = "step" if tensor["name"] in {"x", "t"} else "run"
    denoiser = {
        "memory_tokens": memory,
        "inputs": named,
        "artifact": {
            "inputs": own,
            "functions": {
                f"frames_{length}": {"frames": length, "keys": 257, "rows": length + memory} for length in frames
            },
        },
    }
    decoder_inputs = [{"name": "latents", "dtype": "float32", "shape": [1, 4, "frames"]}]
    decoder = {
        "memory_tokens": memory,
        "inputs": decoder_inputs,
        "artifact": {
            "inputs": [{**decoder_inputs[0], "dtype": "float16", "pad": "zeros", "per": "run"}],
            "functions": {"frames_68": {"frames": 68, "samples": 68 * 4096}},
        },
    }
    cases: list[_Json] = []
    for length in (1, 75, 127, 128, 129, 256, 257, 512, 513, 1024, 1025, 1291, 1292):
        for keys, rows, prefer in ((1, 1, True), (257, length + memory, True), (11, 1, False)):
            sizes = {"frames": length, "keys": keys, "rows": rows}
            cases.append(_chosen("denoiser", denoiser, sizes, prefer))
    cases += [_chosen("decoder", decoder, {"frames": length}, True) for length in (2, 66, 68, 70)]
    return {"graphs": {"denoiser": denoiser, "decoder": decoder}, "cases": cases}


def _chosen(name: str, described: _Json, sizes: dict[str, int], prefer: bool) -> _Json:
    graph = msgspec.convert(
        {"inputs": described["inputs"], "description": "", "outputs": [], "artifacts": {}}, _AnyGraph
    )
    artifact = msgspec.convert(described["artifact"], _AnyArtifact)
    plain = m.Graph(description="", inputs=graph.inputs, outputs=[], artifacts={})
    package = m.Artifact(
        files=[m.File(path="-", sha256="-", bytes=0)],
        precision="fp16",
        parity=[],
        inputs=artifact.inputs,
        functions=artifact.functions,
    )
    function, filled = FunctionChooser(plain, package, described["memory_tokens"], prefer_fixed=prefer).choose(sizes)
    return {"graph": name, "sizes": sizes, "prefer_fixed": prefer, "function": function, "filled_to": filled}


class _AnyGraph(msgspec.Struct):
    inputs: list[m.Tensor]


class _AnyArtifact(msgspec.Struct):
    inputs: list[m.PackageInput]
    functions: dict[str, dict[str, int]]
