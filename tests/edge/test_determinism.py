"""The same request is the same bytes: in processes at once, with one thread and two, in a process that was forked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sa3_edge import GenerationRequest, Pipeline, machine
from sa3_edge.models.catalog import DEMO

_REQUEST = GenerationRequest("x", seconds=1, seed=1, steps=2)


def test_two_processes_at_once_with_one_thread_and_two_write_the_same_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sa3_edge", "generate", "x", "-s", "1", "--steps", "2", "--seed", "1", "-m", DEMO]
    counts = {"one": 1, "two": min(2, machine.logical_cores())}
    running = [
        subprocess.Popen([*command, "-q", "--threads", str(count), "-o", str(tmp_path / f"{name}.wav")])
        for name, count in counts.items()
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    one, two = ((tmp_path / f"{name}.wav").read_bytes() for name in counts)
    assert one == two
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.wav", "two.wav"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_loaded_pipeline_computes_the_same_in_a_forked_process() -> None:
    """Threads are not forked: an engine's pool is empty there, and must not be waited for."""
    code = "import sys; from tests.edge.test_determinism import forked; sys.exit(forked())"
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr


def forked() -> int:
    """0 if a child makes what its parent made with the same loaded graphs."""
    pipeline = Pipeline.load(DEMO, keep_loaded=True, threads=min(2, machine.logical_cores()))
    made = pipeline.generate(_REQUEST).audio
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # hung
        os._exit(int(not np.array_equal(pipeline.generate(_REQUEST).audio, made)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
