"""How near `--max-memory`'s estimate is: for each clip the estimate, and the peak of a process that makes it.

    python -m benchmarks.memory_limit [MODEL] [--seconds 5,30,120] [--limit 110MB]

With a limit the same clip is made within it, in smaller tiles: the peak, and how near its samples are. Two steps.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.measure import run_process


def estimated(command: list[str]) -> float:
    """MB, as the command itself finds them before it begins."""
    code = (
        "import sys\nfrom sa3_edge.generation import memory\nown = memory.estimate\n"
        "def first(*given, **named):\n    print(own(*given, **named).bytes)\n    sys.exit()\n"
        "memory.estimate = first\nfrom sa3_edge.cli import main\nmain()"
    )
    given = [sys.executable, "-c", code, *command[3:], "--max-memory", "1MB"]
    return int(subprocess.run(given, capture_output=True, text=True, check=True).stdout) / 1e6


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--seconds", default="5,30,120")
    parser.add_argument("--limit")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seconds in map(float, asked.seconds.split(",")):
            command = [sys.executable, "-m", "sa3_edge", "generate", "x", "-s", f"{seconds:g}", "--seed", "1"]
            command += ["--steps", "2", "--quiet", "--overwrite", "--bits", "float", "-m", asked.model, "-o"]
            whole, limited = Path(folder, "whole.wav"), Path(folder, "limited.wav")
            guess = estimated([*command, str(whole)])
            peak = run_process([*command, str(whole)]).peak_memory_mb
            print(f"{seconds:g} s: estimate {guess:.0f} MB, peak {peak:.0f} MB ({guess / peak - 1:+.0%})", flush=True)
            if asked.limit:
                try:
                    peak = run_process([*command, str(limited), "--max-memory", asked.limit]).peak_memory_mb
                except subprocess.CalledProcessError:
                    print(f"    {asked.limit}: refused", flush=True)
                    continue
                one, other = (soundfile.read(path)[0] for path in (whole, limited))
                error = np.square(one - other).sum()
                near = "the same samples" if not error else f"{10 * np.log10(np.square(one).sum() / error):.0f} dB SNR"
                print(f"    {asked.limit}: peak {peak:.0f} MB, {near}", flush=True)


if __name__ == "__main__":
    main()
