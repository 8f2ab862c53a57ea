"""The graphs of a bundle as an engine runs them: loaded when first needed, freed after use, checked and timed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from numpy.typing import NDArray

from sa3_edge.adapters.lora import Adapter
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, Session, Tensors, create_engine
from sa3_edge.engines.shapes import check_outputs, measure_axes
from sa3_edge.manifest import GraphName

Timings = dict[str, float]
Adapters = tuple[Adapter, ...]
_FRAMES, _SAMPLES = "frames", "samples"  # of decoder and encoder: the one axis says how long the other is
_timings: ContextVar[Timings | None] = ContextVar("timings", default=None)


class GraphRunner:
    """Runs graphs by name. Threads and runs may share one: each has its own timings."""

    def __init__(self, bundle: Bundle, engine: str, options: EngineOptions, keep_loaded: bool):
        self.bundle = bundle
        self.engine, self.options = create_engine(engine, options), options
        self.keep_loaded = keep_loaded
        self._sessions: dict[GraphName, tuple[Session, Adapters]] = {}

    @property
    def loaded(self) -> tuple[GraphName, ...]:
        """The graphs that hold memory now."""
        return tuple(self._sessions)

    @contextmanager
    def timing(self, into: Timings) -> Iterator[None]:
        """Within, add the seconds of each graph to `into`: "denoiser.load" and "denoiser.run".

        For this thread. A generator leaves the block before it yields, else its caller's runs would be counted.
        """
        token = _timings.set(into)
        try:
            yield
        finally:
            _timings.reset(token)

    def run(self, graph: GraphName, inputs: Tensors, adapters: Adapters = ()) -> dict[str, NDArray[Any]]:
        """Run a graph, with these adapters; where others are loaded, this graph is loaded anew.

        Raises EngineError if the graph fails, or computes anything but numbers in the shapes of the manifest.
        """
        described = self.bundle.manifest.graphs.get(graph)
        session, merged = self._sessions.get(graph, (None, ()))
        if session is None or merged != adapters:
            session = None  # not both in memory
            self._sessions.pop(graph, None)
            start = time.perf_counter()
            session = self.engine.load(self.bundle, graph, adapters)
            self._sessions[graph] = session, adapters
            _add_time(f"{graph}.load", start)
        assert described is not None  # or it could not have been loaded
        sizes = measure_axes(described.inputs, inputs, graph)
        samples = self.bundle.manifest.audio.samples_per_frame
        if _FRAMES in sizes:
            sizes.setdefault(_SAMPLES, sizes[_FRAMES] * samples)
        elif _SAMPLES in sizes:
            sizes[_FRAMES] = sizes[_SAMPLES] // samples
        start = time.perf_counter()
        outputs = session.run(inputs)
        _add_time(f"{graph}.run", start)
        check_outputs(described.outputs, outputs, sizes, graph, self.engine.name)
        return outputs

    def done_with(self, *graphs: GraphName) -> None:
        """Free graphs that are needed no more, unless all are to be kept."""
        if not self.keep_loaded:
            for graph in graphs:
                self._sessions.pop(graph, None)

    def free(self) -> None:
        """Free all graphs."""
        self._sessions.clear()


def _add_time(key: str, start: float) -> None:
    timings = _timings.get()
    if timings is not None:
        timings[key] = timings.get(key, 0.0) + time.perf_counter() - start
