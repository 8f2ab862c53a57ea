"""The graphs of a bundle as an engine runs them: loaded when first needed, freed after use, timed."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, Session, Tensors, create_engine
from sa3_edge.errors import EngineError
from sa3_edge.manifest import GraphName


class GraphRunner:
    """Runs graphs by name; `timings` adds up the seconds of each, "denoiser.load" and "denoiser.run"."""

    def __init__(self, bundle: Bundle, engine: str, options: EngineOptions, keep_loaded: bool):
        self.bundle = bundle
        self.engine = create_engine(engine, options)
        self.timings: dict[str, float] = {}
        self._keep_loaded = keep_loaded
        self._sessions: dict[GraphName, Session] = {}

    @property
    def loaded(self) -> tuple[GraphName, ...]:
        """The graphs that hold memory now."""
        return tuple(self._sessions)

    def run(self, graph: GraphName, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Raises EngineError if the graph fails or computes anything but numbers."""
        if graph not in self._sessions:
            start = time.perf_counter()
            self._sessions[graph] = self.engine.load(self.bundle, graph)
            self._add_time(f"{graph}.load", start)
        start = time.perf_counter()
        outputs = self._sessions[graph].run(inputs)
        self._add_time(f"{graph}.run", start)
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                raise EngineError(f"{self.engine.name} computed NaN or infinity in the {graph}'s {name}")
        return outputs

    def done_with(self, *graphs: GraphName) -> None:
        """Free graphs that are needed no more, unless all are to be kept."""
        if not self._keep_loaded:
            for graph in graphs:
                self._sessions.pop(graph, None)

    def free(self) -> None:
        """Free all graphs."""
        self._sessions.clear()

    def _add_time(self, key: str, start: float) -> None:
        self.timings[key] = self.timings.get(key, 0.0) + time.perf_counter() - start
