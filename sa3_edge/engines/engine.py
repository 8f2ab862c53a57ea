"""What an engine is, and a loaded graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from sa3_edge.adapters.lora import Adapter
from sa3_edge.bundle import Bundle
from sa3_edge.manifest import GraphName

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class EngineOptions:
    """How to run.

    threads: how many CPU threads a graph may use; None leaves it to the engine (one a physical core)
    compute_units: where Core ML may run every graph, for engines of TAKE_COMPUTE_UNITS; None leaves it to the engine
    """

    threads: int | None = None
    compute_units: str | None = None


class Session(Protocol):
    """One loaded graph."""

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Named arrays in, named arrays out, as the manifest describes them. Raises EngineError."""


class Engine(Protocol):
    """`format` is what it reads from a bundle ("onnx", "coreml")."""

    name: str
    format: str

    def load(self, bundle: Bundle, graph: GraphName, adapters: Sequence[Adapter] = ()) -> Session:
        """The graph, with adapters merged into its weights.

        Raises EngineError if the graph cannot be loaded, BundleError if the bundle lacks it, RequestError if the engine
        or the bundle takes no adapters.
        """

    def check(self, bundle: Bundle, graph: GraphName) -> None:
        """Look at a graph's files, which may be a stranger's, before anything runs them; `load` does it too.

        Raises EngineError or BundleError for what no export writes.
        """

    def wants_full_tiles(self, bundle: Bundle, graph: GraphName) -> bool:
        """Whether a graph that works on parts of a clip is better run on whole tiles only, of one length."""

    def describe(self) -> str:
        """The engine, its version and where it computes, in one line."""
