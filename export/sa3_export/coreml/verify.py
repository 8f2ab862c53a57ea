"""Verifies the Core ML packages of a finished bundle again, on any machine; where Core ML runs, by its predictions."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from sa3_edge import manifest as m
from sa3_edge.adapters.lora import AdapterFile
from sa3_edge.bundle import Bundle
from sa3_edge.engines.coreml.engine import Runtime, package_folder, packaged_graphs
from sa3_edge.errors import Remedy, RequestError
from sa3_export.checkpoints.published import Checkpoint, identity
from sa3_export.coreml.evaluator import Package
from sa3_export.coreml.gate import Verification, verify_package
from sa3_export.graphs import GRAPHS, SAMPLES
from sa3_export.graphs.graph import Axes, Graph, TensorSpec, normal
from sa3_export.onnx.artifact import open_session

_TORCH_TYPES = {"float32": torch.float32, "int64": torch.int64}


def verify_bundle(
    bundle: Bundle,
    checkpoint: Path | None = None,
    adapters: Sequence[AdapterFile] = (),
    core_ml: Runtime | None = None,
    progress: Callable[[str], None] = lambda graph: None,
) -> dict[m.GraphName, list[m.Parity]]:
    """Run every function of every Core ML package and compare it; the parity by graph.

    They are run by `core_ml`, or evaluated if that is None. The reference is PyTorch with the weights of
    `checkpoint` and the `adapters` that the bundle was made with, or the bundle's own ONNX graphs; one in int8 can show
    no more than its own exactness. Raises ParityError below the bars of export, RequestError if the bundle holds no
    packages, has nothing to compare them with, or was made from other files.
    """
    graphs = packaged_graphs(bundle)
    opened = None
    if checkpoint is not None:
        accepted = [entry for entry in bundle.manifest.unknown_config_keys if "=" in entry]
        opened = Checkpoint(checkpoint, adapters, accepted)
        _check_source(bundle.manifest.model, checkpoint, adapters)
    elif adapters:
        raise RequestError(
            "adapters say what a checkpoint was merged with, and none is named", remedy=Remedy("name the checkpoint")
        )
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
            raise RequestError(
                f"{bundle.path} has no ONNX graphs to compare with", remedy=Remedy("name the checkpoint")
            )
        package = Package(package_folder(bundle, artifact))
        how = Verification(core_ml, structure=opened is not None, reference_db=exactness)
        measured[name] = verify_package(reference, artifact, package, how)
    return measured


def _check_source(model: m.Model, checkpoint: Path, adapters: Sequence[AdapterFile]) -> None:
    """Raise RequestError unless the bundle was made from these files, adapters in the same order and as strong."""
    _, revision = identity(checkpoint)
    # A published revision and a hash of the weights cannot be compared.
    alike = revision.startswith("sha256:") == model.revision.startswith("sha256:")
    if alike and revision != model.revision:
        raise RequestError(f"{model.name} was made from the revision {model.revision}, {checkpoint} is {revision}")
    given = [file.described for file in adapters]
    if [(each.sha256, each.strength) for each in given] != [(each.sha256, each.strength) for each in model.adapters]:
        merged = tuple(f"{each.file}:{each.strength:g}" for each in model.adapters)
        raise RequestError(
            f"{model.name} was made {'with ' + ' '.join(merged) if merged else 'without adapters'}",
            remedy=Remedy("name these adapters", merged),
        )


class _OnnxModule(nn.Module):
    """An ONNX graph as a module: tensors by name in, tensors in order out."""

    def __init__(self, path: Path, precision: str):
        super().__init__()
        self.session = open_session(path, precision)

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        return tuple(torch.from_numpy(output) for output in outputs)


def _onnx_reference(bundle: Bundle, name: m.GraphName) -> Graph:
    described = bundle.manifest.graphs[name]
    onnx = described.artifacts["onnx"]
    lengths = tuple(figure.length for figure in onnx.parity)
    return Graph(
        name=name,
        description=described.description,
        module=_OnnxModule(bundle.resolve(onnx.files[0]), onnx.precision),
        inputs=tuple(_spec(name, tensor) for tensor in described.inputs),
        outputs=tuple(_spec(name, tensor) for tensor in described.outputs),
        leading_axis=next(axis for axis in described.inputs[0].shape if isinstance(axis, str)),
        longest=max(lengths),
        step=1,
        lengths=lengths,
        sizes=partial(_axes(bundle.manifest, name).sizes, name),
        memory_tokens=bundle.manifest.memory_tokens if name == "denoiser" else 0,
        reference=f"the bundle's ONNX graph ({onnx.precision})",
    )


def _spec(name: m.GraphName, tensor: m.Tensor) -> TensorSpec:
    sample = SAMPLES[name].get(tensor.name, normal)
    return TensorSpec(tensor.name, tuple(tensor.shape), _TORCH_TYPES[tensor.dtype], sample)


def _axes(manifest: m.Manifest, name: m.GraphName) -> Axes:
    if name == "denoiser" and not manifest.memory_tokens:
        raise RequestError(
            "the bundle does not say how many memory tokens there are", remedy=Remedy("name the checkpoint")
        )
    audio = manifest.audio
    return Axes(manifest.text.max_tokens, audio.max_frames, audio.samples_per_frame, manifest.memory_tokens)
