"""The gate of a saved package: does each function, at each length, compute what PyTorch computes?

Where Core ML runs, it predicts; on any other machine the package's own program is evaluated, behind the same session:
the choice of the function, padding, masking and casting are verified with it. The program's structure, in fp32, is
evaluated everywhere.
"""

import copy
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sa3_edge import manifest as m
from sa3_edge.engines.coreml.engine import (
    CoreMLSession,
    MacRuntime,
    Runtime,
    compile_package,
    meant_units,
    open_session,
)
from sa3_edge.engines.coreml.fixed_lengths import DYNAMIC
from sa3_edge.errors import EngineError
from sa3_export.coreml.evaluator import Package
from sa3_export.coreml.packaging import stored_in_half
from sa3_export.errors import EvaluationError, ParityError
from sa3_export.graphs.graph import Graph
from sa3_export.parity import measure_parity
from sa3_export.precision import FP32_BAR, Bar

Arrays = Mapping[str, NDArray[Any]]

# Rounding to fp16 after every operation, which is harder than hardware that fuses some. Measured on random weights:
# text encoder 63 to 73 dB, conditioner 62 dB, denoiser of 2 layers 57 dB, of 20 layers 54 dB at all lengths; with
# another draw of weights 40 dB, where PyTorch with nothing but its weights rounded to fp16 had 49 dB.
_HALF_DB = {"denoiser": 50.0, "text_encoder": 45.0, "conditioner": 50.0}
_HALF_LAYERS = 2  # of the denoiser that must hold 50 dB; errors of more layers add up, at worst in step
# Weights of 8 and 6 bits: measured 37 to 65 dB and 24 to 49 dB. This tells a lossy package from a broken one.
_COMPRESSED_DB = {"int8": 30.0, "palettized6": 18.0}
_TWO_ERRORS_DB = 3.0  # two independent errors of one size, the package's and its reference's, add up to this


def minimum_db(graph: Graph, precision: str) -> float:
    """The bar for a package as it runs, rounding and compressed weights included."""
    if precision in _COMPRESSED_DB:
        return _COMPRESSED_DB[precision]
    if precision == "fp32" or graph.name not in _HALF_DB:
        return FP32_BAR.snr_db
    bar = _HALF_DB[graph.name]
    if graph.name == "denoiser":
        layers = next(int(spec.shape[0]) for spec in graph.inputs if spec.name == "cross_k")
        bar -= 20 * math.log10(max(layers, _HALF_LAYERS) / _HALF_LAYERS)
    return bar


@dataclass(frozen=True)
class Evaluated:
    """One function of a package in place of Core ML's. `half` rounds to fp16 between operations."""

    package: Package
    function: str
    half: bool

    def predict(self, inputs: Arrays) -> Arrays:
        return self.package.run(self.function, inputs, half=self.half)


def evaluated_session(
    package: Package, graph: Graph, artifact: m.Artifact, *, units: m.ComputeUnits, half: bool
) -> CoreMLSession:
    """The Core ML engine's session for a package, run by the evaluator."""
    load = partial(Evaluated, package, half=half)
    return CoreMLSession(graph.name, graph.described, artifact, graph.memory_tokens, units, load)


def core_ml_here() -> Runtime | None:
    """Core ML itself, None where it cannot run."""
    try:
        return MacRuntime()
    except EngineError:
        return None


@dataclass(frozen=True)
class Verification:
    """How a package is compared.

    core_ml: runs each function where it is meant to run; None: the evaluator does
    structure: whether a package that is not compressed is also evaluated in fp32, against the weights as they are
        stored; the graph's module must then be PyTorch with weights
    reference_db: how exact that module is itself: no more can be asked of a comparison with it
    """

    core_ml: Runtime | None = None
    structure: bool = True
    reference_db: float = math.inf

    @property
    def means(self) -> str:
        """What runs a package, for people."""
        return "evaluating the program" if self.core_ml is None else f"Core ML prediction, {self.core_ml.version}"


def verify_package(graph: Graph, artifact: m.Artifact, package: Package, how: Verification) -> list[m.Parity]:
    """Measure a saved package against the graph's module; the parity as it runs, at each length.

    `graph` is the graph itself, not its package's variant. Raises ParityError below a bar: uncompressed packages must
    be exact in fp32 (against the weights as they are stored), and all must hold `minimum_db` as they run.
    """
    if set(package.functions) != {DYNAMIC, *artifact.functions}:
        raise ParityError(
            f"{package.path} holds the functions {', '.join(package.functions)}; the manifest says "
            f"{', '.join([DYNAMIC, *artifact.functions])}"
        )
    try:
        return _measure(graph, artifact, package, how)
    except (EngineError, EvaluationError) as error:
        raise ParityError(f"{package.path}: {error}") from error


@contextmanager
def _as_it_runs(
    graph: Graph, artifact: m.Artifact, package: Package, core_ml: Runtime | None
) -> Iterator[Callable[[m.ComputeUnits], CoreMLSession]]:
    """Yields what makes the session of a package for compute units; what is compiled lives as long as the block."""
    if core_ml is None:
        yield lambda units: evaluated_session(package, graph, artifact, units=units, half=True)
        return
    with tempfile.TemporaryDirectory() as temporary:
        compiled = Path(temporary) / f"{graph.name}.mlmodelc"
        compile_package(core_ml, package.path, compiled)
        yield lambda units: open_session(
            core_ml, graph.name, graph.described, artifact, graph.memory_tokens, compiled, units
        )


def _measure(graph: Graph, artifact: m.Artifact, package: Package, how: Verification) -> list[m.Parity]:
    parity = []
    bar = Bar(min(minimum_db(graph, artifact.precision), how.reference_db - _TWO_ERRORS_DB))
    with _as_it_runs(graph, artifact, package, how.core_ml) as open_as_it_runs:
        for units, lengths in _lengths(graph, artifact):
            if how.structure and artifact.precision in {"fp32", "fp16"}:
                exact = evaluated_session(package, graph, artifact, units=units, half=False)
                measure_parity(as_stored(graph, artifact), exact.run, FP32_BAR, lengths)
            session = open_as_it_runs(units)
            try:
                parity += measure_parity(graph, session.run, bar, lengths)
                _check_finite(graph, session, lengths)
            except ParityError as error:
                raise ParityError(f"{error} ({how.means}, {units})") from error
    return sorted(parity, key=lambda measured: (measured.length, measured.snr_db))


def _lengths(graph: Graph, artifact: m.Artifact) -> Iterator[tuple[m.ComputeUnits, tuple[int, ...]]]:
    """Compute units and lengths that together run every function: each fixed one in full and, with a mask, padded."""
    dynamic = meant_units(artifact, DYNAMIC)
    yield dynamic, graph.lengths
    fixed = sorted(sizes[graph.leading_axis] for sizes in artifact.functions.values())
    masked = any(tensor.name not in {spec.name for spec in graph.inputs} for tensor in artifact.inputs)
    if masked:
        shortest_in = [shorter + 1 for shorter in [0, *fixed[:-1]]]
        yield "cpu_and_ne", tuple(sorted({*fixed, *shortest_in}))
    elif fixed:
        yield dynamic, tuple(fixed)


class _AsStored(nn.Module):
    """A graph's module with the weights and inputs that a package of fp16 sees; what remains is its program's error."""

    def __init__(self, graph: Graph, half_inputs: frozenset[str]):
        super().__init__()
        self.module = copy.deepcopy(graph.module)
        self.half_inputs = half_inputs
        for part in self.module.modules():
            for weight_name, weight in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
                if stored_in_half(graph, part, weight_name):
                    weight.data = weight.data.half().to(weight.dtype)

    def forward(self, **inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        rounded = {
            name: tensor.half().float() if name in self.half_inputs else tensor for name, tensor in inputs.items()
        }
        outputs: Tensor | tuple[Tensor, ...] = self.module(**rounded)
        return outputs


def as_stored(graph: Graph, artifact: m.Artifact) -> Graph:
    """The graph as an uncompressed package sees it: weights and inputs rounded to fp16 where the package's are."""
    half_inputs = frozenset(tensor.name for tensor in artifact.inputs if tensor.dtype == "float16")
    return replace(graph, module=_AsStored(graph, half_inputs)) if artifact.precision != "fp32" else graph


def _check_finite(graph: Graph, session: CoreMLSession, lengths: tuple[int, ...]) -> None:
    """Zeros in every input: silence, an empty prompt's hidden states, an untouched canvas."""
    for length in lengths:
        zeros = {name: np.zeros_like(tensor.numpy()) for name, tensor in graph.example(length).items()}
        for name, array in session.run(zeros).items():
            if not np.isfinite(array).all():
                raise ParityError(f"{graph.name}: {name} is not finite on zeros at {graph.leading_axis} = {length}")
