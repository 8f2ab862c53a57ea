"""What a long piece takes at the most: the largest resident memory of a process that makes it, engine and all.

    python benchmarks/long_memory.py [SECONDS ...]

Each length in a process of its own, with the demo model, one step, all written to a file.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """See the top."""
    if sys.argv[1:2] == ["--one"]:
        print(_peak(float(sys.argv[2])))
        return
    peaks = {}
    for seconds in map(float, sys.argv[1:] or ["120", "360"]):
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(seconds)], capture_output=True, text=True, check=True
        )
        peaks[seconds] = float(done.stdout)
        first = next(iter(peaks.values()))
        print(f"{seconds:g} s: {peaks[seconds]:.1f} MB at the most ({peaks[seconds] / first - 1:+.1%})", flush=True)


def _peak(seconds: float) -> float:
    from sa3_edge import ClipOptions, FileOptions, Pipeline, render

    with tempfile.TemporaryDirectory() as folder:
        options = ClipOptions("x", seconds=seconds, seed=1, steps=1)
        render(options, Pipeline.load("demo"), FileOptions(Path(folder, "a.wav")))
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


if __name__ == "__main__":
    main()
