"""What a pipeline's graphs are run on, noted while they run."""

from typing import Any

import pytest

from sa3_edge.engines import Tensors
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.manifest import GraphName


class NotedRuns(list[tuple[GraphName, Tensors]]):
    """Each run in order: its graph and inputs."""

    def __init__(self, patch: pytest.MonkeyPatch, pipeline: Pipeline):
        super().__init__()
        run = pipeline.graphs.run

        def noted(graph: GraphName, inputs: Tensors, *rest: Any) -> Any:
            self.append((graph, inputs))
            return run(graph, inputs, *rest)

        patch.setattr(pipeline.graphs, "run", noted)

    def of(self, graph: GraphName) -> int:
        """How often a graph was run."""
        return sum(each == graph for each, _ in self)

    def told_seconds(self) -> list[float]:
        """The lengths that the conditioner was told of."""
        return [float(inputs["seconds"][0]) for graph, inputs in self if graph == "conditioner"]
