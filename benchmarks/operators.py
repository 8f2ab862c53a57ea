"""`python -m benchmarks.operators BUNDLE decoder frames=68`: where a graph's time goes in ONNX Runtime, by operator."""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.bundle import Bundle
from sa3_edge.engines import int8
from sa3_edge.engines.libraries import load_onnxruntime
from sa3_edge.manifest import Tensor

ort = load_onnxruntime()

_ANY_LENGTH = 8  # of an axis that is not named
_RUNS = 5


def _random(tensor: Tensor, sizes: dict[str, int], generator: np.random.Generator) -> NDArray[Any]:
    shape = [sizes.get(axis, _ANY_LENGTH) if isinstance(axis, str) else axis for axis in tensor.shape]
    if tensor.dtype == "int64":
        return generator.integers(4, 256, shape)
    return generator.standard_normal(shape, dtype=np.float32)


def profile(bundle: Bundle, graph: str, sizes: dict[str, int]) -> list[tuple[str, float, int]]:
    """Operators of one run, the slowest first: (name, milliseconds, how many), the mean of some runs after a first."""
    described = bundle.manifest.graphs[graph]  # type: ignore[index]
    options = ort.SessionOptions()
    options.enable_mem_pattern = False
    for key, value in int8.settings(described.artifacts["onnx"].precision).items():
        options.add_session_config_entry(key, value)
    options.enable_profiling = True
    generator = np.random.default_rng(0)
    inputs = {tensor.name: _random(tensor, sizes, generator) for tensor in described.inputs}
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        path = bundle.resolve(described.artifacts["onnx"].files[0])
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(1 + _RUNS):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    kernels = kernels[len(kernels) // (1 + _RUNS) :]  # without the first run, which allocates
    times: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for event in kernels:
        times[event["args"]["op_name"]] += event["dur"]
        counts[event["args"]["op_name"]] += 1
    return [(name, micros / 1000 / _RUNS, counts[name] // _RUNS) for name, micros in times.most_common()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("graph")
    parser.add_argument("axes", nargs="*", help="lengths of named axes, e.g. frames=1292")
    arguments = parser.parse_args()
    sizes = {name: int(size) for name, _, size in (axis.partition("=") for axis in arguments.axes)}
    measured = profile(Bundle.load(arguments.bundle), arguments.graph, sizes)
    total = sum(milliseconds for _, milliseconds, _ in measured)
    for name, milliseconds, count in measured:
        print(f"{name:24} {milliseconds / total:6.1%} {milliseconds:9.2f} ms  {count}")
    print(f"{'all':24} {'':6} {total:9.2f} ms")


if __name__ == "__main__":
    main()
