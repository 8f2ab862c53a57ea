"""Integer products are exact on whatever processor runs this, and made so where its own saturate."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sa3_edge import manifest as m
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, create_engine, int8
from sa3_edge.engines import onnxruntime as engine_module
from sa3_edge.models.catalog import DEMO, resolve_model
from sa3_export import ExportPlan, export_bundle

ROWS = (1, 2, 7, 64)  # products of a row, of a few and of many have kernels of their own
INNER, COLUMNS = 1024, 48


def _bundle(folder: Path, weights: NDArray[np.int8]) -> Bundle:
    """A bundle whose decoder is one layer as an int8 export writes it: x (rows, K) -> 2 x W = y (rows, N)."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "two"], ["activation"]),  # in no export does an input itself go there
            helper.make_node("DynamicQuantizeLinear", ["activation"], ["levels", "scale", "zero"]),
            helper.make_node("MatMulInteger", ["levels", "weights", "zero", "weights zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["scale", "scales"], ["both"]),
            helper.make_node("Mul", ["real", "both"], ["y"]),
        ],
        "layer",
        [value("x", TensorProto.FLOAT, ["rows", weights.shape[0]])],
        [value("y", TensorProto.FLOAT, ["rows", weights.shape[1]])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array(0, np.int8), "weights zero"),
            numpy_helper.from_array(np.array(2, np.float32), "two"),
            numpy_helper.from_array(np.ones(weights.shape[1], np.float32), "scales"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    data = model.SerializeToString()
    (folder / "layer.onnx").write_bytes(data)
    described = m.Graph(
        description="",
        inputs=[m.Tensor(name="x", dtype="float32", shape=["rows", weights.shape[0]])],
        outputs=[m.Tensor(name="y", dtype="float32", shape=["rows", weights.shape[1]])],
        artifacts={
            "onnx": m.Artifact(
                files=[m.File(path="layer.onnx", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))],
                precision="int8",
                parity=[],
            )
        },
    )
    demo = Bundle.load(resolve_model(DEMO)).manifest
    return Bundle(folder, msgspec.structs.replace(demo, graphs={"decoder": described}), "layer")


def _extremes(kind: str) -> NDArray[np.int8]:
    if kind == "largest":
        return np.full((INNER, COLUMNS), 127, np.int8)
    if kind == "smallest":
        return np.full((INNER, COLUMNS), -127, np.int8)
    return np.random.default_rng(0).choice(np.array([-127, -126, 126, 127], np.int8), (INNER, COLUMNS))


@pytest.mark.parametrize("kind", ["largest", "smallest", "mixed"])
@pytest.mark.parametrize(("engine", "levels"), [("onnxruntime", (0, 255)), ("openvino", (-127, 127))])
def test_products_of_extremes_equal_those_of_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, levels: tuple[int, int], kind: str
) -> None:
    """Activations that quantizing leaves as they are: ONNX Runtime's are unsigned, OpenVINO's signed."""
    if engine == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    weights = _extremes(kind)
    session = create_engine(engine, EngineOptions(threads=1)).load(_bundle(tmp_path, weights), "decoder")
    for rows in ROWS:
        x = np.random.default_rng(rows).choice(np.array([levels[0], levels[1], levels[1]]), (rows, INNER))
        x[:, 0] = levels[0]  # both ends are in each row, so the scale is 1
        exact = x.astype(np.int64) @ weights.astype(np.int64)
        y = session.run({"x": x.astype(np.float32) / 2})["y"]
        assert np.abs(y - exact).max() <= 1e-6 * np.abs(exact).max()


def test_the_probe_is_the_product_that_it_says() -> None:
    weights = numpy_helper.from_array(np.full((4, 16), 127, np.int8), "w")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "w"], ["y"])],
        "p",
        [value("a", TensorProto.UINT8, [2, 4])],
        [value("y", TensorProto.INT32, [2, 16])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=8, producer_name="")
    assert onnx.ModelProto.FromString(int8._PROBE) == model


@pytest.mark.parametrize("saturates", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_exact_products_are_asked_for_only_where_needed(
    monkeypatch: pytest.MonkeyPatch, precision: str, saturates: bool
) -> None:
    """They cost time, and seconds at load."""
    monkeypatch.setattr(int8, "products_saturate", lambda: saturates)
    artifact = msgspec.structs.replace(
        Bundle.load(resolve_model(DEMO)).artifact("denoiser", "onnx"), precision=precision
    )
    engine = engine_module.OnnxRuntimeEngine(EngineOptions())
    options = engine._session_options("denoiser", artifact)
    asked = precision == "int8" and saturates
    if asked:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")


def test_an_export_states_the_figures_of_exact_products(
    tiny_checkpoint: Path, int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own processor's must not be in them; and it says what they were measured with."""
    here = Bundle.load(int8_bundle).manifest
    assert here.made_with["int8 products"] == int8.describe_products()
    monkeypatch.setattr(int8, "products_saturate", lambda: True)
    asked = export_bundle(tiny_checkpoint, tmp_path / "asked", ExportPlan(precision="int8"))
    assert "unsigned weights" in asked.made_with["int8 products"]
    for name in here.graphs:
        figures = zip(
            here.graphs[name].artifacts["onnx"].parity, asked.graphs[name].artifacts["onnx"].parity, strict=True
        )
        assert all(abs(one.snr_db - other.snr_db) < 1 for one, other in figures), name


def test_a_bundle_without_int8_does_not_name_the_processor(tiny_bundle: Path, manifest: m.Manifest) -> None:
    assert "int8 products" not in manifest.made_with
