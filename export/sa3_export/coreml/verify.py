"""Proves the Core ML packages of a finished bundle again, on any machine; where Core ML runs, by its predictions."""

import math
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import torch
from torch import Tensor, nn

from sa3_edge import manifest as m
from sa3_edge.bundle import Bundle
from sa3_edge.engines.coreml import Runtime, package_folder, packaged_graphs
from sa3_edge.errors import RequestError
from sa3_export.checkpoint import Checkpoint
from sa3_export.coreml.evaluator import Package
from sa3_export.coreml.gate import prove
from sa3_export.graphs import GRAPHS, Graph, TensorSpec

_TORCH_TYPES = {"float32": torch.float32, "int64": torch.int64}
_FIXED_VALUES = {"t": 0.63, "seconds": 30.25, "padding_scale": 1.0}


def verify_bundle(
    bundle: Bundle,
    checkpoint: Path | None = None,
    core_ml: Runtime | None = None,
    progress: Callable[[str], None] = lambda graph: None,
) -> dict[m.GraphName, list[m.Parity]]:
    """Run every function of every Core ML package and compare it; the parity by graph.

    They are run by `core_ml`, or evaluated if that is None. The reference is PyTorch with the weights of
    `checkpoint`, or the bundle's own ONNX graphs; one in int8 can show no more than its own exactness. Raises
    ParityError below the bars of export, RequestError if the bundle holds no packages or nothing to compare them with.
    """
    graphs = packaged_graphs(bundle)
    opened = None if checkpoint is None else Checkpoint(checkpoint)
    measured = {}
    for name, described in graphs.items():
        progress(name)
        artifact = described.artifacts["coreml"]
        exactness = math.inf
        if opened is not None:
            reference = GRAPHS[name](opened)
        elif "onnx" in described.artifacts:
            reference = _onnx_reference(bundle, name)
            exactness = min(parity.snr_db for parity in described.artifacts["onnx"].parity)
        else:
            raise RequestError(f"{bundle.path} has no ONNX graphs to compare with; name the checkpoint, --checkpoint")
        package = Package(package_folder(bundle, artifact))
        measured[name] = prove(
            reference,
            described,
            artifact,
            package,
            core_ml,
            structure=opened is not None,
            reference_db=exactness,
        )
    return measured


class _OnnxModule(nn.Module):
    """An ONNX graph as a module: tensors by name in, tensors in order out."""

    def __init__(self, path: Path):
        super().__init__()
        self.session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        return tuple(torch.from_numpy(output) for output in outputs)


def _onnx_reference(bundle: Bundle, name: m.GraphName) -> Graph:
    described = bundle.manifest.graphs[name]
    onnx = described.artifacts["onnx"]
    leading = next(axis for axis in described.inputs[0].shape if isinstance(axis, str))
    lengths = tuple(figure.length for figure in onnx.parity)
    return Graph(
        name=name,
        description=described.description,
        module=_OnnxModule(bundle.resolve(onnx.files[0])),
        inputs=tuple(_spec(tensor) for tensor in described.inputs),
        outputs=tuple(_spec(tensor) for tensor in described.outputs),
        leading_axis=leading,
        longest=max(lengths),
        step=1,
        lengths=lengths,
        sizes=_sizes(bundle.manifest, name, leading),
        fixed_values=_FIXED_VALUES,
    )


def _spec(tensor: m.Tensor) -> TensorSpec:
    return TensorSpec(tensor.name, tuple(tensor.shape), _TORCH_TYPES[tensor.dtype])


def _sizes(manifest: m.Manifest, name: m.GraphName, leading: str) -> Callable[[int], dict[str, int]]:
    """Lengths of all inputs' axes for one leading length."""

    def sizes(length: int) -> dict[str, int]:
        if name == "conditioner":
            return {leading: length, "local_frames": min(length, manifest.audio.max_frames)}
        if name == "denoiser":
            fixed = next(iter(manifest.graphs[name].artifacts["coreml"].functions.values()))
            rows = length + fixed["rows"] - fixed["frames"]
            return {leading: length, "keys": min(length, manifest.text.max_tokens) + 2, "rows": rows}
        return {leading: length}

    return sizes
