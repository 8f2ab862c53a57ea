"""What a graph of a bundle is: named inputs and outputs, what computes it, and where it is measured.

Inputs and outputs are named and shaped once, in the file of each graph; exporters, parity checks and the manifest
follow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sa3_edge import manifest as m
from sa3_export.config.model import ModelConfig

Shape = tuple[int | str, ...]
Sample = Callable[[Sequence[int], torch.Generator], Tensor]  # a shape -> values as they are met in use

_DTYPES: dict[torch.dtype, m.Dtype] = {torch.float32: "float32", torch.int64: "int64"}


def normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=generator)


def constant(value: float) -> Sample:
    return lambda shape, generator: torch.full(tuple(shape), value)


def token_ids(vocabulary: int) -> Sample:
    return lambda shape, generator: torch.randint(0, vocabulary, tuple(shape), generator=generator)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. A string in the shape is an axis whose length may change from call to call.

    sample: values of an input for parity checks; what int8 loses depends on their size
    pad, per: how a host pads it to a fixed length, and whether it changes in each step (see manifest.py)
    """

    name: str
    shape: Shape
    dtype: torch.dtype = torch.float32
    sample: Sample = normal
    pad: m.Pad = "zeros"
    per: m.Per = "run"

    def example(self, sizes: Mapping[str, int], generator: torch.Generator) -> Tensor:
        """Values for concrete axis lengths."""
        return self.sample([sizes[axis] if isinstance(axis, str) else axis for axis in self.shape], generator)

    @property
    def described(self) -> m.Tensor:
        """The tensor's entry in the manifest."""
        return m.Tensor(name=self.name, dtype=_DTYPES[self.dtype], shape=list(self.shape))


@dataclass(frozen=True)
class Axes:
    """Of what length all named axes of a graph's inputs and outputs are, for one length of the leading axis.

    At its longest all are: those are the bounds of what a graph is asked for.
    """

    max_tokens: int
    max_frames: int
    samples_per_frame: int
    memory_tokens: int

    @classmethod
    def of(cls, config: ModelConfig) -> "Axes":
        return cls(
            config.conditioner.max_tokens, config.max_frames, config.samples_per_frame, config.dit.num_memory_tokens
        )

    def sizes(self, graph: m.GraphName, length: int) -> dict[str, int]:
        match graph:
            case "text_encoder":
                return {"tokens": length}
            case "conditioner":
                # Each token count meets another number of frames: 1 (text to audio), and the most the most.
                frames = self.max_frames if length == self.max_tokens else min(length, self.max_frames)
                rows = self.memory_tokens + frames
                return {"tokens": length, "keys": length + 2, "local_frames": frames, "rows": rows}
            case "denoiser":
                keys = (self.max_tokens if length == self.max_frames else min(length, self.max_tokens)) + 2
                return {"frames": length, "keys": keys, "rows": self.memory_tokens + length}
            case "decoder":
                return {"frames": length, "samples": length * self.samples_per_frame}
            case "encoder":
                return {"samples": length, "frames": length // self.samples_per_frame}


def up_to(longest: int, *lengths: int) -> tuple[int, ...]:
    """Those of the lengths that a graph can take, and the longest."""
    return tuple(sorted({*(length for length in lengths if length < longest), longest}))


@dataclass(frozen=True)
class Graph:
    """A graph to export.

    `sizes` gives the lengths of all dynamic axes for one leading length; `lengths` are those that parity is
    measured at; `longest` bounds the leading axis, `step` is its granularity. `reference` says what `module` is.
    `arranged` computes what `module` defines, faster; None where there is no such arrangement. `tiles`: how a host cuts
    a clip for it, None for a graph that runs on the whole. `memory_tokens`: as in the manifest, of the denoiser.
    `adaptable`: parameters of `module` that adapters may change, and the checkpoint's names of their layers.
    """

    name: m.GraphName
    description: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    leading_axis: str
    longest: int
    step: int
    lengths: tuple[int, ...]
    sizes: Callable[[int], dict[str, int]]
    reference: str = "PyTorch"
    arranged: nn.Module | None = None
    tiles: m.Tiles | None = None
    memory_tokens: int = 0
    adaptable: Mapping[str, str] = field(default_factory=dict)

    @property
    def traced(self) -> nn.Module:
        """The module that is exported; `module` is what the result is measured against."""
        return self.module if self.arranged is None else self.arranged

    @property
    def described(self) -> m.Graph:
        """The graph's interface for the manifest, without artifacts."""
        return m.Graph(
            description=self.description,
            inputs=[spec.described for spec in self.inputs],
            outputs=[spec.described for spec in self.outputs],
            artifacts={},
        )

    def example(self, length: int, seed: int = 0) -> dict[str, Tensor]:
        """Random inputs at one length of the leading axis."""
        generator = torch.Generator().manual_seed(seed)
        sizes = self.sizes(length)
        return {spec.name: spec.example(sizes, generator) for spec in self.inputs}
