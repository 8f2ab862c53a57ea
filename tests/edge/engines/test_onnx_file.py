"""An ONNX file is looked at before a runtime is: what no export writes is refused, and no bytes break the reader."""

import contextlib
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, create_engine
from sa3_edge.engines.inspection import check_graphs
from sa3_edge.engines.onnx_file import _RefusedError, read_graph
from sa3_edge.errors import EngineError, Sa3Error
from sa3_edge.models.catalog import DEMO, resolve_model
from tests.fuzz import CASES

DEMO_FOLDER = resolve_model(DEMO)
GRAPHS = ("text_encoder", "conditioner", "denoiser", "decoder", "encoder")
Change = Callable[[onnx.ModelProto], object]


def _node(operator: str, domain: str = "") -> onnx.NodeProto:
    return helper.make_node(operator, ["latents"], ["more"], domain=domain)


def _loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", "", "latents"], ["more"], body=body))


def _graph_in_an_attribute(model: onnx.ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", body))


def _function(model: onnx.ModelProto) -> None:
    identity = helper.make_node("Identity", ["a"], ["b"])
    opsets = [helper.make_opsetid("", 23)]
    model.functions.append(helper.make_function("", "Mine", ["a"], ["b"], [identity], opsets))


def _external(location: str, offset: int | None = None) -> Change:
    def change(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.external_data:
                for entry in tensor.external_data:
                    if entry.key == "location":
                        entry.value = location
                    if entry.key == "offset" and offset is not None:
                        entry.value = str(offset)
                return

    return change


def _huge(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]


def _expand(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "vast")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Expand", ["latents", "vast"], ["more"]))


def _rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "latents"


def _another_shape(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def _sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(dims=[1]))


def _other_opset(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


REFUSED: dict[str, tuple[Change, str]] = {
    "an operator that no export writes": (lambda m: m.graph.node.append(_node("StringNormalizer")), "StringNormalizer"),
    "a custom operator": (lambda m: m.graph.node.append(_node("Mine", "com.example")), r"com\.example\.Mine"),
    "another domain": (_other_opset, r"com\.example"),
    "a loop": (_loop, "Loop"),
    "a graph in an attribute": (_graph_in_an_attribute, r"field \(6\)"),
    "a function": (_function, r"field \(25\)"),
    "a sparse tensor": (_sparse, r"field \(15\)"),
    "weights outside": (_external("../secret"), "does not name"),
    "weights at an absolute path": (_external("/etc/passwd"), "does not name"),
    "weights in a file that is not named": (_external("manifest.json"), "does not name"),
    "weights beyond the end": (_external("decoder.onnx.data", 1 << 40), "beyond the end"),
    "weights before the beginning": (_external("decoder.onnx.data", -8), "before the start"),
    "a tensor larger than any": (_huge, "larger than any"),
    "a result larger than any": (_expand, "larger than any"),
    "an output of another name": (_rename_output, "outputs are"),
    "an output of another shape": (_another_shape, "is not float32"),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_FOLDER, tmp_path / "bundle"))


def _store(folder: Path, name: str, data: bytes) -> None:
    """Write a file of the bundle, and its hash into the manifest, as a stranger would."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    for graph in manifest["graphs"].values():
        for file in graph["artifacts"]["onnx"]["files"]:
            if file["path"] == name:
                file.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_an_export_writes_is_taken() -> None:
    check_graphs(Bundle.load(DEMO_FOLDER))


@pytest.mark.parametrize("kind", list(REFUSED))
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_what_no_export_writes_is_refused(copy: Path, kind: str, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    change, says = REFUSED[kind]
    model = onnx.load(copy / "decoder.onnx", load_external_data=False)
    change(model)
    _store(copy, "decoder.onnx", model.SerializeToString())
    with pytest.raises(EngineError, match=rf"decoder\.onnx is no decoder graph of sa3-edge: .*{says}"):
        create_engine(engine, EngineOptions(threads=1)).load(Bundle.load(copy), "decoder")


def test_inspect_refuses_it_too(copy: Path) -> None:
    model = onnx.load(copy / "encoder.onnx", load_external_data=False)
    _loop(model)
    _store(copy, "encoder.onnx", model.SerializeToString())
    with pytest.raises(EngineError, match=r"encoder\.onnx is no encoder graph"):
        check_graphs(Bundle.load(copy))


def test_weights_that_the_manifest_leaves_out_are_refused(copy: Path) -> None:
    """Else they could be altered, and the bundle's id would not name what runs."""
    manifest = json.loads((copy / "manifest.json").read_text())
    files = manifest["graphs"]["denoiser"]["artifacts"]["onnx"]["files"]
    files[:] = [file for file in files if not file["path"].endswith(".data")]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(EngineError, match="which the manifest does not name"):
        create_engine("onnxruntime", EngineOptions()).load(Bundle.load(copy), "denoiser")


def test_a_field_that_may_be_there_once_is_refused_twice() -> None:
    """Readers differ in which one counts: what is looked at would not be what runs."""
    data = (DEMO_FOLDER / "decoder.onnx").read_bytes()
    with pytest.raises(_RefusedError, match="the graph twice"):
        read_graph(data + onnx.ModelProto(graph=onnx.GraphProto(name="x")).SerializeToString())


@pytest.mark.parametrize("name", GRAPHS)
def test_it_reads_what_onnx_reads(name: str) -> None:
    path = DEMO_FOLDER / f"{name}.onnx"
    inputs, outputs, stored = read_graph(path.read_bytes())
    model = onnx.load(path, load_external_data=False)
    assert [value.name for value in inputs] == [value.name for value in model.graph.input]
    assert [value.name for value in outputs] == [value.name for value in model.graph.output]
    assert {tensor.name for tensor in stored} >= {tensor.name for tensor in model.graph.initializer}
    there = {tensor.name: tensor for tensor in stored}
    for tensor in model.graph.initializer:
        external = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_location == TensorProto.EXTERNAL:
            ours = there[tensor.name]
            assert (ours.path, ours.offset, ours.length) == (
                external["location"],
                int(external["offset"]),
                int(external["length"]),
            )


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(GRAPHS), seed=st.integers(0, 2**32), count=st.integers(1, 8))
def test_mutated_files_are_read_or_refused(name: str, seed: int, count: int) -> None:
    data = bytearray((DEMO_FOLDER / f"{name}.onnx").read_bytes())
    chance = random.Random(seed)  # noqa: S311
    for _ in range(count):
        place = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randrange(1, 200)]
            case 2:
                data[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 20)))
            case _:
                data[place : place + 10] = b"\xff" * 10
    with contextlib.suppress(_RefusedError, ValueError):
        read_graph(bytes(data))


@settings(max_examples=CASES, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(_RefusedError, ValueError):
        read_graph(data)


def test_the_message_is_one_line(copy: Path) -> None:
    _store(copy, "decoder.onnx", b"\x0a\xff\xff")
    with pytest.raises(Sa3Error) as caught:
        create_engine("onnxruntime", EngineOptions()).load(Bundle.load(copy), "decoder")
    assert "\n" not in str(caught.value)
