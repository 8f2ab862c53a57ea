"""int8 is only where it was asked for, measured, and near enough to PyTorch to be kept."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sa3_edge import GenerationRequest, Pipeline
from sa3_edge.errors import Remedy, RequestError
from sa3_edge.manifest import GraphName, Manifest, decode_manifest
from sa3_export import ExportPlan, ParityError, export_bundle, precision
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs import GRAPHS
from sa3_export.onnx.artifact import export_onnx
from sa3_export.onnx.quantize import quantize_weight
from sa3_export.parity import psnr_db
from sa3_export.precision import INT8_BARS, Bar, parse_precision, settle
from tests.conftest import RunCli, relative_error


@pytest.fixture(scope="module")
def int8_manifest(int8_bundle: Path) -> Manifest:
    return decode_manifest((int8_bundle / "manifest.json").read_bytes())


@pytest.mark.parametrize(
    ("text", "int8"),
    [
        ("fp32", set()),
        ("int8", {"text_encoder", "denoiser", "decoder", "encoder"}),
        ("int8,decoder=fp32", {"text_encoder", "denoiser", "encoder"}),
        ("fp32, decoder=int8, encoder=int8", {"decoder", "encoder"}),
    ],
)
def test_a_preset_and_exceptions_to_it(text: str, int8: set[str]) -> None:
    chosen = parse_precision(text).graphs
    assert {name for name, chosen_precision in chosen.items() if chosen_precision == "int8"} == int8
    assert len(chosen) == 5


def test_balanced_quantizes_a_codec_that_is_wide_enough_to_gain() -> None:
    chosen = parse_precision("balanced").graphs
    assert {name: settle(choice, (768, 2304)) for name, choice in chosen.items()} == {
        "text_encoder": "fp32", "conditioner": "fp32", "denoiser": "fp32", "decoder": "int8", "encoder": "int8",
    }  # fmt: skip
    assert {settle(choice, (768, 64)) for choice in chosen.values()} == {"fp32"}


def test_balanced_is_the_default_and_exact_where_layers_are_narrow(tiny_bundle: Path) -> None:
    manifest = decode_manifest((tiny_bundle / "manifest.json").read_bytes())
    assert {graph.artifacts["onnx"].precision for graph in manifest.graphs.values()} == {"fp32"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int4", "unknown precision 'int4'; choose for onnx: fp32, int8, balanced"),
        ("int8,vocoder=fp32", "unknown graph 'vocoder'"),
        ("int8,decoder=fp8", "unknown precision 'fp8' of decoder; choose fp32 or int8"),
        ("fp32,conditioner=int8", "conditioner is exported in fp32 only"),
        ("int8,denoiser.0=int8", "a block is named by its number and stays in fp32, as in int8,denoiser.0=fp32"),
        ("int8,denoiser.first=fp32", "a block is named by its number"),
        ("int8,denoiser.0=fp32,denoiser=fp32", "all of denoiser is in fp32"),
    ],
)
def test_an_unknown_precision_is_refused_before_any_work(
    run_cli: RunCli, tmp_path: Path, tiny_checkpoint: Path, text: str, said: str
) -> None:
    code, _, err = run_cli("export", tiny_checkpoint, "--out", tmp_path / "bundle", "--precision", text)
    assert code == 2
    assert said in " ".join(err.split())
    with pytest.raises(RequestError):
        export_bundle(tiny_checkpoint, tmp_path / "bundle", ExportPlan(precision=text))
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_states_each_graphs_precision_and_measured_error(int8_manifest: Manifest) -> None:
    for name, graph in int8_manifest.graphs.items():
        artifact = graph.artifacts["onnx"]
        assert artifact.precision == ("int8" if name in INT8_BARS else "fp32")
        for figure in artifact.parity:
            assert (figure.psnr_db is not None) == (name == "decoder")
            if name in INT8_BARS:
                bar = INT8_BARS[name]
                assert bar.snr_db <= figure.snr_db < 80
                assert figure.psnr_db is None or bar.psnr_db is None or figure.psnr_db >= bar.psnr_db
            else:
                assert figure.snr_db >= 80


# By `sa3-edge export tests/data/tiny --precision int8` on an AMD EPYC with AVX2 and without VNNI, 2026-11-25.
_WITHOUT_VNNI = {
    "text_encoder": (37.0, 31.9, 30.1),
    "denoiser": (36.3, 35.9, 37.2, 37.1),
    "decoder": (47.0, 46.7, 41.7),
    "encoder": (30.0, 28.5, 25.8),
}


@pytest.mark.parametrize("name", _WITHOUT_VNNI)
def test_the_error_is_the_graphs_and_not_the_processors(int8_manifest: Manifest, name: GraphName) -> None:
    measured = [each.snr_db for each in int8_manifest.graphs[name].artifacts["onnx"].parity]
    assert measured == pytest.approx(_WITHOUT_VNNI[name], abs=1.0)


def _products(path: Path) -> int:
    """How many of a graph's products are in int8."""
    return sum(node.op_type == "MatMulInteger" for node in onnx.load(path, load_external_data=False).graph.node)


def test_a_block_of_an_int8_graph_stays_in_fp32_when_it_is_excepted(
    int8_bundle: Path, int8_manifest: Manifest, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    graph = GRAPHS["denoiser"](Checkpoint(tiny_checkpoint))
    excepted = export_onnx(graph, tmp_path, {}, parse_precision("int8,denoiser.1=fp32"))
    assert 0 < _products(tmp_path / "denoiser.onnx") < _products(int8_bundle / "denoiser.onnx")
    whole = int8_manifest.graphs["denoiser"].artifacts["onnx"]
    assert min(each.snr_db for each in excepted.parity) > min(each.snr_db for each in whole.parity)


def test_excepted_blocks_are_named_as_the_manifest_has_them() -> None:
    assert parse_precision("int8,denoiser.10=fp32,denoiser.2=fp32,encoder=fp32").exact == "denoiser.2, denoiser.10"
    assert parse_precision("int8,encoder=fp32").exact == ""


def test_a_block_that_a_graph_lacks_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    graph = GRAPHS["denoiser"](Checkpoint(tiny_checkpoint))
    with pytest.raises(RequestError, match=r"^denoiser has no block 9; it has 0 to \d+$"):
        export_onnx(graph, tmp_path, {}, parse_precision("int8,denoiser.9=fp32"))


def test_below_its_bar_an_int8_graph_is_refused_and_nothing_is_kept(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(precision.INT8_BARS, "decoder", Bar(snr_db=10.0, psnr_db=150.0))
    with pytest.raises(ParityError, match=r"decoder: audio .* dB PSNR, at least 150 dB") as refused:
        export_bundle(tiny_checkpoint, tmp_path / "bundle", ExportPlan(precision="fp32,decoder=int8"))
    assert refused.value.remedy == Remedy("except graph", ("decoder",))
    assert list(tmp_path.iterdir()) == []


def test_balanced_leaves_a_codec_exact_that_int8_would_be_heard_in(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_LEAST_WIDTH", 1)
    monkeypatch.setitem(precision.INT8_BARS, "decoder", Bar(snr_db=10.0, psnr_db=150.0))
    graphs = export_bundle(tiny_checkpoint, tmp_path / "bundle").graphs
    assert [graphs[name].artifacts["onnx"].precision for name in ("decoder", "encoder")] == ["fp32", "int8"]
    assert min(figure.snr_db for figure in graphs["decoder"].artifacts["onnx"].parity) >= 80
    with Pipeline.load(tmp_path / "bundle") as pipeline:
        pipeline.generate(GenerationRequest("lofi piano", 0.5, seed=1))
    operators = {node.op_type for node in onnx.load(tmp_path / "bundle" / "decoder.onnx").graph.node}
    assert "MatMulInteger" not in operators


@pytest.mark.parametrize("name", sorted(INT8_BARS))
def test_the_linear_layers_of_the_blocks_are_int8_and_nothing_else(
    int8_bundle: Path, tiny_bundle: Path, name: str
) -> None:
    exact, quantized = (onnx.load(folder / f"{name}.onnx") for folder in (tiny_bundle, int8_bundle))
    before, after = (Counter(node.op_type for node in model.graph.node) for model in (exact, quantized))
    weights = {tensor.name: tensor for tensor in quantized.graph.initializer}
    products = [node for node in quantized.graph.node if node.op_type == "MatMulInteger"]
    assert products
    assert before["MatMul"] == after["MatMul"] + len(products)
    for fp32_only in ("MultiHeadAttention", "Attention", "RMSNormalization", "Softmax", "Conv", "Gemm", "Tanh"):
        assert before[fp32_only] == after[fp32_only]
    assert all(weights[node.input[1]].data_type == onnx.TensorProto.INT8 for node in products)
    # ONNX Runtime 1.26 ends the process where one is implied, 1.32 fails where layers share one.
    zeros = [node.input[3] for node in products]
    assert len(set(zeros)) == len(zeros)
    assert all(weights[zero].data_type == onnx.TensorProto.INT8 and weights[zero].dims == [] for zero in zeros)
    assert not any(numpy_helper.to_array(weights[zero], str(int8_bundle)).any() for zero in zeros)
    # The first and the last projection stay as they are: they are products of fp32 weights still.
    unchanged = [n for n in quantized.graph.node if n.op_type == "MatMul" and n.input[1] in weights]
    assert len(unchanged) == {"text_encoder": 0, "denoiser": 2, "decoder": 1, "encoder": 1}[name]
    # Layers that read the same activation quantize it once.
    assert after["DynamicQuantizeLinear"] < len(products)
    size_before, size_after = ((folder / f"{name}.onnx.data").stat().st_size for folder in (tiny_bundle, int8_bundle))
    assert size_after < 0.65 * size_before


def test_the_text_encoders_table_stays_bf16(int8_bundle: Path) -> None:
    model = onnx.load(int8_bundle / "text_encoder.onnx")
    (table,) = [tensor for tensor in model.graph.initializer if "embed_tokens" in tensor.name]
    assert table.data_type == onnx.TensorProto.BFLOAT16


def test_weights_are_rounded_to_the_nearest_level() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    weight[:, 3] = 0  # a channel without weights has no scale of its own
    levels, scales = quantize_weight(weight)
    assert levels.dtype == np.int8
    assert np.abs(levels).max() == 127
    assert np.abs(levels * scales - weight).max() <= scales.max() / 2 + 1e-7
    assert scales[3] == 1


def test_psnr_is_measured_from_the_loudest_sample() -> None:
    signal = np.array([0.0, 0.0, 0.0, 2.0])
    assert psnr_db(signal + 0.02, signal) == pytest.approx(40.0)


def test_int8_makes_the_same_audio_from_the_same_latents(int8_bundle: Path, tiny_bundle: Path) -> None:
    """The codec in int8 is inaudible; the denoiser's first step stays near."""
    request = GenerationRequest("lofi piano", 2.0, seed=3, steps=1)
    exact, quantized = (Pipeline.load(path) for path in (tiny_bundle, int8_bundle))
    made = exact.generate(request)
    assert relative_error(quantized.generate(request).latents, made.latents) < 10 ** (-20 / 20)
    tile = {"latents": made.latents[:, :, :20]}
    heard, reference = (pipeline.graphs.run("decoder", tile)["audio"] for pipeline in (quantized, exact))
    assert 40 <= psnr_db(heard, reference) < 80


@pytest.mark.parametrize(
    ("text", "formats", "onnx", "coreml"),
    [
        (None, ("onnx", "coreml"), "balanced", "fp16"),
        ("int8", ("onnx", "coreml"), "int8", "int8"),
        ("balanced", ("onnx", "coreml"), "balanced", "fp16"),
        ("palettized6", ("onnx", "coreml"), "balanced", "palettized6"),
        ("int8,decoder=fp32", ("onnx",), "int8,decoder=fp32", "fp16"),
    ],
)
def test_one_word_for_two_formats(text: str | None, formats: tuple[str, ...], onnx: str, coreml: str) -> None:
    plan = ExportPlan.of(formats, text)
    assert (plan.precision, plan.coreml.precision) == (onnx, coreml)


def test_a_precision_that_no_exported_format_has_is_refused() -> None:
    with pytest.raises(RequestError, match="unknown precision 'fp16'; choose for onnx"):
        ExportPlan.of(["onnx"], "fp16")
