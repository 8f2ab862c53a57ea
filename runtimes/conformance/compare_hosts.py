"""The same requests in every host, beside Python's: `python runtimes/conformance/compare_hosts.py BUNDLE...`, a table.

Latents must agree to 1e-5 where all graphs are fp32. An int8 bundle makes one step, which must agree to the bar of the
export: more of them are not portable, and are not judged where `--steps` asks for them. Hosts that are not built here
are named, and what engine each has. `--measure` adds time and the peak memory of each process, all of it: the program's
start, the bundle's hashes (Python remembers them between runs), loading, computing and writing.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from vector_format import REPOSITORY, signal

BAR = 1e-5
INT8_BAR = 10 ** (-25 / 20)  # 25 dB
_RATE = 44100
_REQUESTS: Mapping[str, list[str]] = {
    "text": [],
    "variation": ["--init-audio", "{recording}", "--noise-level", "0.6"],
    "inpaint": ["--init-audio", "{recording}", "--inpaint", "0.1:0.3", "--inpaint", "0.5:"],
    "extend": ["--init-audio", "{recording}", "--extend", "0.5"],
    "cfg": ["--cfg", "3", "--negative-prompt", "drums"],
}


@dataclass(frozen=True)
class Run:
    """What a host made."""

    latents: NDArray[np.float32]
    audio: NDArray[np.float32]
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    precision: str
    engine: str


def hosts() -> dict[str, list[str] | None]:
    """Each host's command, None where it is not built."""
    cli = REPOSITORY / "runtimes/web/dist/cli.js"
    web = ["node", str(cli), "generate"] if cli.exists() and shutil.which("node") else None
    jars = sorted((REPOSITORY / "runtimes/kotlin").glob("**/target/*cli.jar"))
    return {
        "python": [sys.executable, "-m", "sa3_edge", "generate"],
        "web, onnxruntime-node": web and [*web, "--device", "cpu"],
        "web, WebAssembly": web and [*web, "--device", "wasm"],
        "kotlin": ["java", "-jar", str(jars[-1]), "generate"] if jars and shutil.which("java") else None,
    }


def run(command: list[str], arguments: list[str], folder: Path) -> Run:
    """Raises CalledProcessError, after what the host said was shown."""
    files = ["-o", str(folder / "clip.wav"), "--save-latents", str(folder / "clip.npy"), "--json"]
    for name in ("clip.wav", "clip.npy"):  # the host before this one made them
        (folder / name).unlink(missing_ok=True)
    start = time.perf_counter()
    with (folder / "out.json").open("wb") as out:
        process = subprocess.Popen([*command, *arguments, *files], stdout=out, cwd=REPOSITORY)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    audio, _ = soundfile.read(folder / "clip.wav", dtype="float32", always_2d=True)
    result = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = usage.ru_maxrss * unit
    cpu = usage.ru_utime + usage.ru_stime
    return Run(np.load(folder / "clip.npy"), audio, seconds, cpu, peak, result["precision"], result["engine"])


def steps_for(bundle: str, asked: str | None) -> str:
    """One for int8: values that round the other way make another clip of what comes after it."""
    if asked is not None:
        return asked
    graphs = json.loads(Path(bundle, "manifest.json").read_text(encoding="utf-8"))["graphs"].values()
    return "1" if any(graph["artifacts"]["onnx"]["precision"] == "int8" for graph in graphs) else "4"


def relative(made: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """||made - expected|| / ||expected||."""
    if made.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(made.astype(np.float64) - expected) / np.linalg.norm(expected))


def main() -> int:
    """Exit code 1 if a host is further away than the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", help="folders, or demo")
    parser.add_argument("--seconds", default="1")
    parser.add_argument("--steps", help="4, or 1 in int8, by default")
    parser.add_argument("--requests", default=",".join(_REQUESTS))
    parser.add_argument("--measure", action="store_true", help="also time, CPU time and peak memory of each process")
    arguments = parser.parse_args()
    known = hosts()
    more = " time | CPU time | peak |" if arguments.measure else ""
    print(f"{platform.platform()}, {time.strftime('%Y-%m-%d')}; beside Python's\n")
    print(f"| bundle | request | host | latents, relative | audio, relative |{more}")
    print("|---|---|---|---|---|" + "---|---|---|" * arguments.measure)
    far = 0
    engines: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        recording = Path(name, "recording.wav")
        soundfile.write(recording, signal(77, (2, 30000), 0.1).T, _RATE, subtype="FLOAT")
        for bundle in arguments.bundles:
            path = str(REPOSITORY / "sa3_edge/demo") if bundle == "demo" else str(Path(bundle).resolve())
            for request in arguments.requests.split(","):
                options = [option.format(recording=recording) for option in _REQUESTS[request]]
                length = [] if "--init-audio" in options else ["--seconds", arguments.seconds]
                fixed = ["lofi piano", "--model", path, "--seed", "42", "--no-limiter"]
                steps = steps_for(path, arguments.steps)
                fixed += ["--steps", steps]
                expected: Run | None = None
                for host, command in known.items():
                    if command is None:
                        continue
                    made = run(command, [*fixed, *length, *options], Path(name))
                    expected = expected or made
                    errors = [relative(made.latents, expected.latents), relative(made.audio, expected.audio)]
                    engines[host] = made.engine
                    if made.precision == "fp32" or steps == "1":
                        far += not errors[0] < (BAR if made.precision == "fp32" else INT8_BAR)
                    cells = [bundle, f"{request} ({made.precision})", host, *(f"{error:.1e}" for error in errors)]
                    if arguments.measure:
                        times = [f"{made.seconds:.1f} s", f"{made.cpu_seconds:.1f} s"]
                        cells += [*times, f"{made.peak_bytes / 1e6:.0f} MB"]
                    print(f"| {' | '.join(cells)} |", flush=True)
    print()
    for host, command in known.items():
        print(f"{host}: {engines.get(host, 'no run')}" if command else f"not built here: {host}")
    if far:
        print(f"{far} runs are further from Python's than the bar ({BAR} in fp32, {INT8_BAR:.3f} for an int8 step)")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
