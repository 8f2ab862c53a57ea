"""The whole command in a fresh process: what a user waits for, and the memory that it takes."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.devices import DEVICES
from benchmarks.measure import Results, run_process, summarized
from sa3_edge.bundle import Bundle
from sa3_edge.engines import ENGINES, EngineOptions, create_engine
from sa3_edge.errors import EngineError, RequestError
from sa3_edge.generation.lengths import plan_lengths

_PROMPT = "lofi piano"


def _command(bundle: Bundle, engine: str, threads: int, seconds: float, output: Path) -> list[str]:
    return [
        sys.executable, "-m", "sa3_edge", "generate", _PROMPT, "--seconds", str(seconds), "--seed", "1",
        "--model", str(bundle.path), "--engine", engine, "--threads", str(threads), "-o", str(output), "--json",
    ]  # fmt: skip


def _need(engine: str) -> None:
    try:
        create_engine(engine, EngineOptions())
    except (EngineError, RequestError) as error:
        pytest.skip(f"{engine} is not available: {error}")


def test_command(
    results: Results, bundle: Bundle, engine: str, precision: str, threads: int, seconds: float, tmp_path: Path
) -> None:
    _need(engine)
    # A short clip first: hashes are checked, files are in memory, graphs that an engine compiles are compiled.
    run_process(_command(bundle, engine, threads, 1.0, tmp_path / "warm.wav"))
    finished = run_process(_command(bundle, engine, threads, seconds, tmp_path / "clip.wav"))
    report = json.loads(finished.stdout)
    timings = report["timings"]
    results.add(
        "command", engine, precision, seconds, summarized([finished.seconds]),
        peak_memory_mb=finished.peak_memory_mb,
        realtime_factor=seconds / finished.seconds,
        load_s=sum(time for name, time in timings.items() if name.endswith(".load")),
        first_sound_s=report["seconds_to_first_sound"],
    )  # fmt: skip


def test_command_pytorch(
    results: Results, bundle: Bundle, precision: str, checkpoint: Path, seconds: float, threads: int
) -> None:
    sampler = bundle.manifest.sampler
    if any(row.key == f"command pytorch-reference fp32 {seconds:g}" for row in results.rows):
        pytest.skip("measured once for all precisions")
    lengths = plan_lengths(seconds, sampler.headroom_seconds, bundle.manifest)
    finished = run_process(
        [
            sys.executable, "-m", "benchmarks.torch_reference", str(checkpoint), "--seconds", str(seconds),
            "--frames", str(lengths.allocated), "--steps", str(sampler.steps), "--threads", str(threads),
        ]
    )  # fmt: skip
    results.add(
        "command", "pytorch-reference", "fp32", seconds, summarized([finished.seconds]),
        peak_memory_mb=finished.peak_memory_mb,
        realtime_factor=seconds / finished.seconds,
    )  # fmt: skip


def test_help(results: Results, rounds: int) -> None:
    """Starting up costs CPU time on a phone-class machine too: `--help` in a fresh process."""
    times = [run_process([sys.executable, "-m", "sa3_edge", "--help"]).seconds for _ in range(rounds)]
    results.add("help", "none", "none", 0, summarized(times))


def test_published_targets(request: pytest.FixtureRequest, results: Results) -> None:
    """120 s of audio within the times that are published for this device. Runs after the commands above."""
    targets = DEVICES[request.config.getoption("--device")].targets
    if not targets:
        pytest.skip("no times are published for this device; --device m4 has some")
    missed = []
    for engine, limit in targets.items():
        times = [
            row.median_s for row in results.rows if (row.stage, row.engine, row.seconds) == ("command", engine, 120)
        ]
        if engine in ENGINES and times and min(times) > limit:
            missed.append(f"{engine}: {min(times):.2f} s for 120 s of audio, published {limit} s")
        if not times:
            missed.append(f"{engine}: not measured (is 120 among --seconds, is the engine installed?)")
    assert not missed, "; ".join(missed)
