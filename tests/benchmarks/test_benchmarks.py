"""What is concluded from benchmark figures; the figures themselves are taken by `pytest benchmarks/`."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import bundles, devices, litert, report
from benchmarks.measure import Results, run_process
from sa3_edge.manifest import GraphName
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.networks.kernels import use_kernels
from sa3_export.parity import snr_db

ROOT = Path(__file__).parents[2]
MACHINE = {"processor": "Imagined", "packages": {"onnxruntime": "1", "openvino": None}}


def _run(ours: float, theirs: float = 10.0) -> Results:
    results = Results({"device": "cpu", "machine": MACHINE, "threads": 2})
    results.add("step", "pytorch-reference", "fp32", 5, (theirs, 0.1, 3))
    results.add("step", "onnxruntime", "int8", 5, (ours, 0.1, 3))
    return results


def test_regressions_are_judged_by_the_ratio_to_pytorch_not_by_time(tmp_path: Path) -> None:
    _run(2.0).save(tmp_path / "baseline.json")
    baseline = Results.load(tmp_path / "baseline.json")
    assert _run(2.0).regressions(baseline, 0.15) == []
    assert _run(4.0, theirs=20.0).regressions(baseline, 0.15) == []  # a slower machine, the same ratio
    assert _run(2.5).regressions(baseline, 0.15) == ["step onnxruntime int8 5: 4.00x PyTorch, was 5.00x"]


def test_the_table_is_made_from_the_figures() -> None:
    made = report.report(_run(2.0), "run.json")
    assert "| denoiser step | onnxruntime | int8 | 2.00 s, 5.0x |" in made
    assert "| denoiser step | pytorch-reference | fp32 | 10.00 s |" in made
    assert "Imagined, 2 threads" in made
    assert "Of that peak" not in made  # nothing was measured to say it from


def test_a_report_says_how_near_the_peak_the_longest_step_comes() -> None:
    results = _run(2.0)
    for seconds, share in ((5, 70.0), (120, 90.0)):
        results.add("step", "onnxruntime", "fp32", seconds, (9.0, 0.1, 3), percent_of_fp32_peak=share)
    assert "a denoiser step at 120 s reaches: onnxruntime fp32 90 %." in report.report(results, "run.json")


@pytest.mark.skipif(devices.why_not("m4") is None, reason="this is an Apple M4")
def test_targets_of_another_machine_are_never_passed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", "--device", "m4", "-p", "no:cacheprovider"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "NOT MEASURED: --device m4 needs an Apple M4" in done.stdout
    assert " passed" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX resource usage")
def test_a_process_is_charged_for_its_own_memory_only() -> None:
    held = bytearray(300_000_000)  # of this process
    small = run_process([sys.executable, "-c", "print('done')"])
    large = run_process([sys.executable, "-c", "x = bytearray(200_000_000)"])
    assert small.stdout == "done\n"
    assert small.peak_memory_mb < 100 < large.peak_memory_mb < 300 < len(held) / 1e6 + 1


def test_a_converted_file_is_kept_until_its_converter_changes() -> None:
    def kept(converter: bytes) -> str:
        return bundles.file("model-8-fp32", converter, lambda path: path.write_bytes(converter)).read_text()

    other = bundles.file("model-88-fp32", b"0", lambda path: path.write_text("another length"))
    path = bundles.file("model-8-fp32", b"1", lambda path: path.write_text("first"))
    assert kept(b"1") == "first"
    assert kept(b"2") == "2"
    assert other.exists()
    assert not path.exists()


def test_a_conversion_that_fails_leaves_no_file() -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        bundles.file("failing", b"", fail)
    assert bundles.file("failing", b"", lambda path: path.write_text("whole")).read_text() == "whole"


@pytest.mark.parametrize("name", ["denoiser", "decoder"])
def test_litert_is_given_the_same_function(tiny_checkpoint: Path, name: GraphName) -> None:
    graph = litert.graph_for_prompt(Checkpoint(tiny_checkpoint), name)
    inputs = graph.example(graph.step * 6)
    with torch.no_grad():
        expected = graph.module(**inputs).numpy()
        with use_kernels(litert.Kernels()):
            actual = litert.prepare(graph.traced)(**inputs).numpy()
    assert snr_db(actual, expected) > 100
    fused = [module for module in graph.traced.modules() if isinstance(module, litert.Fused)]
    assert fused, "the slow slices of fused weights are back"


def test_litert_is_not_measured_in_precisions_that_it_is_not_made_in() -> None:
    assert litert.why_not("balanced") == "LiteRT is not measured in balanced"
