"""What int8 costs in each block of a graph: `python -m benchmarks.int8_blocks CHECKPOINT denoiser`.

SNR in dB against PyTorch in fp32, at worst over the lengths and random inputs that the exporter judges by: of all
blocks in int8, of their weights or their activations alone, of each block alone, and of all but that one. All is done
by the exporter's own functions; only which products are quantized differs.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import onnx_ir as ir

from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs import GRAPHS, Graph
from sa3_export.onnx.artifact import open_session
from sa3_export.onnx.quantize import block_linears, quantize, quantize_weight
from sa3_export.onnx.smoothing import smooth
from sa3_export.onnx.trace import save_onnx, trace_onnx
from sa3_export.parity import Arrays, measure_parity
from sa3_export.precision import INT8_BARS, Bar

_Change = Callable[[ir.Model, Sequence[ir.Node]], None]


def round_weights(model: ir.Model, linears: Sequence[ir.Node]) -> None:
    for weight in {linear.inputs[1] for linear in linears}:
        assert weight is not None
        assert weight.const_value is not None
        levels, scales = quantize_weight(weight.const_value.numpy())
        weight.const_value = ir.tensor((levels * scales).astype(np.float32), name=weight.name)


def round_activations(model: ir.Model, linears: Sequence[ir.Node]) -> None:
    for linear in linears:
        levels = ir.node("DynamicQuantizeLinear", [linear.inputs[0]], num_outputs=3)
        real = ir.node("DequantizeLinear", levels.outputs)
        model.graph.insert_before(linear, [levels, real])
        linear.replace_input_with(0, real.outputs[0])


class Blocks:
    """The blocks of a graph that the exporter would quantize, and what it costs to do so to some of them."""

    def __init__(self, graph: Graph, folder: Path):
        self._graph, self._path, self._changed = graph, folder / "fp32.onnx", folder / "changed.onnx"
        model, _ = trace_onnx(smooth(graph))
        self._names = {block: {str(node.name) for node in nodes} for block, nodes in block_linears(model).items()}
        save_onnx(model, self._path, {})

    @property
    def numbers(self) -> frozenset[int]:
        return frozenset(self._names)

    def snr_db(self, blocks: Collection[int], change: _Change = quantize) -> float:
        """At worst, with these blocks changed."""
        chosen = set(chain.from_iterable(self._names[block] for block in blocks))
        model = ir.load(self._path)
        change(model, [node for node in model.graph if node.name in chosen])
        save_onnx(model, self._changed, {})
        session = open_session(self._changed, "int8")
        outputs = [output.name for output in session.get_outputs()]

        def run(inputs: Arrays) -> Arrays:
            return dict(zip(outputs, session.run(outputs, dict(inputs)), strict=True))

        return min(figure.snr_db for figure in measure_parity(self._graph, run, Bar(-math.inf)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8_blocks", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("graph", choices=list(INT8_BARS))
    options = parser.parse_args()
    graph = GRAPHS[options.graph](Checkpoint(options.checkpoint))
    with tempfile.TemporaryDirectory() as folder:
        blocks = Blocks(graph, Path(folder))
        every = blocks.numbers
        print(f"| {graph.name} | SNR in dB; {INT8_BARS[graph.name].snr_db:g} are required |\n|---|---|")
        print(f"| all blocks in int8 | {blocks.snr_db(every)} |", flush=True)
        print(f"| their weights alone | {blocks.snr_db(every, round_weights)} |", flush=True)
        print(f"| their activations alone | {blocks.snr_db(every, round_activations)} |", flush=True)
        for block in sorted(every):
            print(f"| block {block} alone | {blocks.snr_db({block})} |", flush=True)
            if len(every) > 1:
                print(f"| all but block {block} | {blocks.snr_db(every - {block})} |", flush=True)


if __name__ == "__main__":
    main()
