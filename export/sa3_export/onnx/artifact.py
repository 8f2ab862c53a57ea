"""A graph's ONNX file in a bundle: traced, verified, quantized and verified again, described for the manifest."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from sa3_edge import manifest as m
from sa3_edge.bundle import describe_file
from sa3_edge.engines import int8
from sa3_edge.engines.libraries import load_onnxruntime
from sa3_edge.errors import Remedy, RequestError
from sa3_export.errors import ParityError
from sa3_export.graphs.graph import Graph
from sa3_export.onnx.quantize import block_linears, quantize
from sa3_export.onnx.smoothing import hidden_tensors, smooth
from sa3_export.onnx.tables import widen_tables
from sa3_export.onnx.trace import save_onnx, trace_onnx
from sa3_export.parity import Arrays, measure_parity
from sa3_export.precision import Precision, Precisions, bar_of, settle

ort = load_onnxruntime()


def export_onnx(
    graph: Graph,
    folder: Path,
    facts: Mapping[str, str],
    precisions: Precisions,
    float_tables: bool = False,
) -> m.Artifact:
    """Write `folder`/NAME.onnx and say what it is.

    Its inputs and outputs are the graph's own; `facts` are stamped into the file; with `float_tables` it has no bf16.
    Raises ParityError if the saved graph does not compute what its module computes, RequestError for a block that it
    does not have.
    """
    path, choice = folder / f"{graph.name}.onnx", precisions.graphs[graph.name]
    precision = settle(choice, (size for hidden in hidden_tensors(graph) for size in hidden.reader.weight.shape))
    if precision == "int8":
        graph = smooth(graph)
    model, cuts = trace_onnx(graph)
    if float_tables:
        widen_tables(model)
    linears = _quantized(graph, model, precisions.exact_blocks.get(graph.name, frozenset()))
    # Of int8 the originals are gone: there is nothing to merge with.
    layers = cuts.layers(model, graph.traced, graph.adaptable) if precision == "fp32" else {}
    save_onnx(model, path, facts)
    del model  # gigabytes; what follows reads the file
    parity = _check(graph, path, "fp32")
    if precision == "int8":
        # Only a graph that is right in fp32 is quantized: the error of int8 would hide a fault.
        try:
            parity = _quantize_in_place(graph, path, linears, facts)
        except ParityError as error:
            if choice == "int8":
                raise ParityError(str(error), remedy=Remedy("except graph", (graph.name,))) from error
            precision = "fp32"
    files = [describe_file(folder, file) for file in (path, path.with_name(f"{path.name}.data"))]
    return m.Artifact(files=files, precision=precision, parity=parity, layers=layers)


def _quantized(graph: Graph, model: ir.Model, exact_blocks: frozenset[int]) -> frozenset[str]:
    """Names of the products that int8 is for."""
    blocks = block_linears(model)
    if missing := exact_blocks - blocks.keys():
        raise RequestError(f"{graph.name} has no block {min(missing)}; it has {min(blocks)} to {max(blocks)}")
    return frozenset(str(node.name) for number in blocks.keys() - exact_blocks for node in blocks[number])


def _quantize_in_place(graph: Graph, path: Path, linears: frozenset[str], facts: Mapping[str, str]) -> list[m.Parity]:
    """Replace the graph's file by its int8 form, `linears` naming the nodes. Raises ParityError, and leaves it, if that
    misses its bar."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        made = Path(temporary) / path.name
        model = ir.load(path)  # weights stay in the file until they are read, one by one
        quantize(model, [node for node in model.graph if node.name in linears])
        save_onnx(model, made, facts)
        del model
        parity = _check(graph, made, "int8")
        for name in (f"{path.name}.data", path.name):
            (made.parent / name).replace(path.parent / name)
    return parity


def open_session(path: Path, precision: str) -> Any:
    """An ONNX Runtime session on the CPU that computes what the graph says, on any processor."""
    options = ort.SessionOptions()
    for key, value in int8.settings(precision).items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _check(graph: Graph, path: Path, precision: Precision) -> list[m.Parity]:
    session = open_session(path, precision)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return measure_parity(graph, run, bar_of(graph.name, precision))
