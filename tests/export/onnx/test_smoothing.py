"""Outliers of activations cost int8 little once they are in the weights, and fp32 nothing."""

from itertools import chain
from pathlib import Path

import pytest
import torch

from sa3_edge.manifest import GraphName
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.errors import ParityError
from sa3_export.graphs import GRAPHS, Graph
from sa3_export.networks.layers import HiddenScale
from sa3_export.onnx.artifact import export_onnx, open_session
from sa3_export.onnx.quantize import block_linears, quantize
from sa3_export.onnx.smoothing import hidden_tensors, smooth
from sa3_export.onnx.trace import save_onnx, trace_onnx
from sa3_export.parity import measure_parity
from sa3_export.precision import Bar, Precisions


def _graph(checkpoint: Path, name: GraphName) -> Graph:
    return GRAPHS[name](Checkpoint(checkpoint))


def _plant_outliers(graph: Graph) -> None:
    """Make two channels of each hidden tensor 50 times as large, without changing what the graph computes."""
    generator = torch.Generator().manual_seed(0)
    for hidden in hidden_tensors(graph):
        scale = torch.ones(hidden.reader.in_features)
        scale[torch.randperm(len(scale), generator=generator)[:2]] = 1 / 50
        hidden.divide(scale)


def _int8_snr_db(graph: Graph, path: Path) -> float:
    model, _ = trace_onnx(graph)
    quantize(model, chain.from_iterable(block_linears(model).values()))
    save_onnx(model, path, {})
    session = open_session(path, "int8")
    (output,) = (spec.name for spec in graph.outputs)
    measured = measure_parity(
        graph, lambda inputs: {output: session.run(None, dict(inputs))[0]}, Bar(0.0), (graph.lengths[-1],)
    )
    return measured[0].snr_db


@pytest.mark.parametrize("name", ["text_encoder", "denoiser", "decoder", "encoder"])
def test_no_bit_of_the_result_changes(tiny_checkpoint: Path, name: GraphName) -> None:
    graph = _graph(tiny_checkpoint, name)
    _plant_outliers(graph)
    inputs = graph.example(graph.lengths[1])
    weights = [hidden.reader.weight.clone() for hidden in hidden_tensors(graph)]
    smoothed = smooth(graph)
    with torch.no_grad():
        assert torch.equal(smoothed.traced(**inputs), graph.traced(**inputs))
    assert not all(map(torch.equal, weights, (hidden.reader.weight for hidden in hidden_tensors(smoothed))))
    assert all(map(torch.equal, weights, (hidden.reader.weight for hidden in hidden_tensors(graph))))


@pytest.mark.parametrize("name", ["text_encoder", "denoiser", "decoder"])
def test_a_fault_of_smoothing_is_found_before_int8_hides_it(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: GraphName
) -> None:
    def forget_the_writer(self: HiddenScale, scale: torch.Tensor) -> None:
        uneven = torch.linspace(1, 2, self.reader.in_features)
        self.reader.weight = torch.nn.Parameter(self.reader.weight * uneven, requires_grad=False)

    monkeypatch.setattr(HiddenScale, "divide", forget_the_writer)
    graph = _graph(tiny_checkpoint, name)
    with pytest.raises(ParityError, match="at least 80 dB"):
        export_onnx(graph, tmp_path, {}, Precisions({name: "int8"}))


@pytest.mark.parametrize("name", ["denoiser", "decoder", "encoder"])
def test_outliers_are_smoothed_away(tiny_checkpoint: Path, tmp_path: Path, name: GraphName) -> None:
    plain, planted = _graph(tiny_checkpoint, name), _graph(tiny_checkpoint, name)
    _plant_outliers(planted)
    without, rough = _int8_snr_db(plain, tmp_path / "a.onnx"), _int8_snr_db(planted, tmp_path / "b.onnx")
    smoothed = _int8_snr_db(smooth(planted), tmp_path / "c.onnx")
    assert rough < without - 6
    assert smoothed > without - 2
    assert _int8_snr_db(smooth(plain), tmp_path / "d.onnx") > without - 1  # where nothing sticks out, nothing is lost
