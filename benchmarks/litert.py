"""LiteRT on the same work: our own modules, converted for one length, run by XNNPACK.

`python -m benchmarks.litert CHECKPOINT GRAPH FRAMES FILE` converts, in a process of its own: that takes gigabytes, and
the converter puts decompositions of its own into the PyTorch of its process.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import bundles
from benchmarks.devices import version
from benchmarks.measure import run_process
from benchmarks.torch_reference import IDS
from sa3_edge.manifest import GraphName
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs import GRAPHS, Graph
from sa3_export.networks.kernels import TorchKernels, use_kernels
from sa3_export.precision import Precision

_PACKAGES = ("litert-torch", "ai-edge-litert", "ai-edge-quantizer")  # the first brings the others
# The linear layers of the transformer blocks, as in our own int8 graphs. An operator is named after the modules that it
# comes from; after a semicolon come those that were merged into it.
_BLOCKS = r"^[^;]*_Block_\d+/"


def why_not(precision: str) -> str | None:
    """Why LiteRT cannot be measured in a precision; None if it can."""
    if precision not in get_args(Precision):
        return f"LiteRT is not measured in {precision}"
    absent = [name for name in _PACKAGES if find_spec(name.replace("-", "_")) is None]
    return f"LiteRT is not measured: {', '.join(absent)} not installed (see benchmarks/README.md)" if absent else None


class Session:
    """A converted graph, ready to run."""

    def __init__(self, path: Path, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        # The runner is valid as long as its interpreter.
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._runner = self._interpreter.get_signature_runner()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Inputs by name, in the shapes of the conversion -> the graph's output."""
        (output,) = self._runner(**inputs).values()
        return output  # type: ignore[no-any-return]


def converted(checkpoint: Path, graph: GraphName, frames: int, precision: Precision) -> Path:
    """The file of a graph for clips or tiles of one length, kept in the cache. Conversion takes minutes."""

    def make(path: Path) -> None:
        if precision == "int8":
            quantize(converted(checkpoint, graph, frames, "fp32"), path)
        else:
            command = [sys.executable, "-m", "benchmarks.litert", str(checkpoint), graph, str(frames), str(path)]
            run_process(command)

    made_by = Path(__file__).read_bytes() + "".join(str(version(name)) for name in _PACKAGES).encode()
    return bundles.file(f"{checkpoint.name}-litert-{graph}-{frames}-{precision}", made_by, make)


class Kernels(TorchKernels):
    """Attention without PyTorch's care for rows whose keys are all masked: XNNPACK has no operators for that."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None = None) -> Tensor:
        q, k, v = (each.transpose(1, 2) for each in (q * q.shape[-1] ** -0.5, k, v))  # (B, H, S, D)
        logits = q @ k.transpose(2, 3)
        weights = torch.softmax(logits if key_bias is None else logits + key_bias, dim=-1)
        return torch.matmul(weights, v).transpose(1, 2)


class _Rows:
    """Equal parts of a fused weight or bias, sliced as if they were in one piece."""

    def __init__(self, parts: nn.ParameterList):
        self._parts: list[Tensor] = list(parts)
        self.shape = (sum(len(part) for part in self._parts),)

    def __getitem__(self, rows: slice) -> Tensor:
        index: int = rows.start // (rows.stop - rows.start)
        return self._parts[index]


class Fused(nn.Module):
    """A linear layer whose parts are parameters of their own."""

    def __init__(self, linear: nn.Linear, count: int):
        super().__init__()
        self._weights = self._split(linear.weight, count)
        self._biases = None if linear.bias is None else self._split(linear.bias, count)

    @staticmethod
    def _split(stacked: Tensor, count: int) -> nn.ParameterList:
        return nn.ParameterList(nn.Parameter(part, requires_grad=False) for part in stacked.detach().chunk(count))

    @property
    def weight(self) -> _Rows:
        return _Rows(self._weights)

    @property
    def bias(self) -> _Rows | None:
        return None if self._biases is None else _Rows(self._biases)


def prepare(module: nn.Module) -> nn.Module:
    """The same function as the converter can take it; `module` is changed.

    It folds slices of constants number by number, 20 s a block of the denoiser, so fused weights are split before; and
    it does not know padding by name.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and name in {"to_qkv", "proj"}:
                count = child.out_features // child.in_features if name == "to_qkv" else 2
                setattr(parent, name, Fused(child, count))
            elif isinstance(child, nn.Conv1d) and child.padding == "same":
                child.padding = (child.kernel_size[0] // 2,)
    return module.eval().requires_grad_(requires_grad=False)


def graph_for_prompt(checkpoint: Checkpoint, name: GraphName) -> Graph:
    """A graph whose example has the shapes that a step of text-to-audio has: few keys, one local embedding."""
    graph, memory = GRAPHS[name](checkpoint), checkpoint.config.dit.num_memory_tokens
    if name != "denoiser":
        return graph
    keys = IDS.shape[1] + 2
    return replace(graph, sizes=lambda frames: {"frames": frames, "keys": keys, "rows": memory + 1})


def convert(checkpoint: Path, name: GraphName, frames: int, path: Path) -> None:
    """Write a graph in fp32."""
    import litert_torch

    graph = graph_for_prompt(Checkpoint(checkpoint), name)
    with use_kernels(Kernels()):
        litert_torch.convert(prepare(graph.traced), sample_kwargs=graph.example(frames)).export(str(path))


def quantize(source: Path, path: Path) -> None:
    """Write a graph with int8 weights, one scale an output channel; activations are quantized as they come."""
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(str(source))
    quantizer.add_dynamic_config(_BLOCKS, TFLOperationName.FULLY_CONNECTED, num_bits=8)
    quantizer.quantize().export_model(str(path), overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert a graph for one length to LiteRT, in fp32.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("graph", choices=("denoiser", "decoder"))
    parser.add_argument("frames", type=int)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    convert(arguments.checkpoint, arguments.graph, arguments.frames, arguments.file)


if __name__ == "__main__":
    main()
