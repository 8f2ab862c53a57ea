"""Core ML conversion of the published sizes: minutes, gigabytes, and one denoiser step of 325 frames (30 s).

pytest benchmarks/test_coreml_conversion.py -s
SA3_CHECKPOINT=folder pytest benchmarks/test_coreml_conversion.py -s     a checkpoint in place of random weights
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sa3_export.checkpoints.published import Checkpoint
from sa3_export.checkpoints.synthetic import write_synthetic_checkpoint
from sa3_export.coreml.artifact import describe_package
from sa3_export.coreml.convert import Converted, convert
from sa3_export.coreml.evaluator import Package
from sa3_export.coreml.gate import as_stored, evaluated_session, minimum_db
from sa3_export.coreml.packaging import package_graph, plan_for
from sa3_export.graphs import GRAPHS
from sa3_export.parity import measure_parity
from sa3_export.precision import FP32_BAR, Bar, CoreMLOptions

FRAMES = 325
LONGEST_MINUTES, MOST_GIGABYTES = 20, 16


def _peak_gigabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak / 1e6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    if given := os.environ.get("SA3_CHECKPOINT"):
        return Checkpoint(Path(given))
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    write_synthetic_checkpoint(folder, "small")
    return Checkpoint(folder)


def test_the_published_sizes_convert(checkpoint: Checkpoint, tmp_path: Path) -> None:
    result: dict[str, object] = {"numpy": np.__version__, "torch": torch.__version__}
    options = CoreMLOptions()
    made: dict[str, Converted] = {}
    start = time.perf_counter()
    for name, build in GRAPHS.items():
        graph, began = build(checkpoint), time.perf_counter()
        packaged, plan = package_graph(graph), plan_for(graph, options)
        made[name] = converted = convert(packaged, plan, options.precision, tmp_path / f"{name}.mlpackage", {})
        size = sum(path.stat().st_size for path in converted.path.rglob("*") if path.is_file())
        result[name] = {"seconds": round(time.perf_counter() - began, 1), "megabytes": round(size / 1e6, 1)}
        print(name, result[name], flush=True)
    minutes = (time.perf_counter() - start) / 60
    result |= {"minutes": round(minutes, 1), "peak_gigabytes": round(_peak_gigabytes(), 1)}
    print(json.dumps(result), flush=True)
    assert minutes < LONGEST_MINUTES
    assert _peak_gigabytes() < MOST_GIGABYTES

    graph = GRAPHS["denoiser"](checkpoint)
    packaged, plan = package_graph(graph), plan_for(graph, options)
    artifact = describe_package(packaged, plan, options.precision, made["denoiser"])
    package = Package(made["denoiser"].path)
    # The Neural Engine's way: 325 frames in the function of 512, the rest masked.
    for half, reference, bar in (
        (False, as_stored(graph, artifact), FP32_BAR.snr_db),
        (True, graph, minimum_db(graph, "fp16")),
    ):
        session = evaluated_session(package, graph, artifact, units="cpu_and_ne", half=half)
        (parity,) = measure_parity(reference, session.run, Bar(bar), (FRAMES,))
        print("as it runs" if half else "its program alone", parity, flush=True)
