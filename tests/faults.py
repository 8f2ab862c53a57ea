"""Kills commands at random moments and looks at what is left: `make faults`, 50 kills a command.

    python -m tests.faults [KILLS]

SIGKILL lets nothing be tidied up. What must hold all the same: nothing partial has a final name, a model that was there
is there, whole, and the next run works. What is left hidden is counted; it is swept a day later. Prints a table.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile

from sa3_edge.bundle import Bundle
from sa3_edge.errors import BundleError

_MODULE = [sys.executable, "-m", "sa3_edge"]
_DEMO = Path(__file__).parents[1] / "sa3_edge" / "demo"


def _generate(folder: Path) -> list[str]:
    (folder / "x.wav").unlink(missing_ok=True)
    return [*_MODULE, "generate", "x", "--seconds", "1", "-m", "demo", "-o", str(folder / "x.wav")]


def _export(folder: Path) -> list[str]:
    return [*_MODULE, "export", "--synthetic", "tiny", "--out", str(folder / "model"), "--overwrite"]


def _whole_clip(folder: Path) -> bool:
    path = folder / "x.wav"
    return not path.exists() or soundfile.info(path).frames == 44_100


def _whole_bundle(folder: Path) -> bool:
    """The old model or the new one."""
    try:
        Bundle.load(folder / "model", trust_cache=False)
    except BundleError:
        return False
    return True


_COMMANDS: dict[str, tuple[Callable[[Path], list[str]], Callable[[Path], bool]]] = {
    "generate": (_generate, _whole_clip),
    "export --overwrite": (_export, _whole_bundle),
}


def _run(command: list[str], home: Path, kill_after: float | None) -> int:
    """The exit code, of a process that is killed after some seconds if it still runs."""
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"}
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            return process.wait(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return process.wait()


def main(kills: int) -> int:
    """0 if all held."""
    chance = random.Random(0)  # noqa: S311
    faults = 0
    print("| command | killed | partial under a final name | hidden leftovers | next run |")
    print("|---|---|---|---|---|")
    for name, (command, whole) in _COMMANDS.items():
        with tempfile.TemporaryDirectory() as text:
            folder, home = Path(text, "here"), Path(text, "home")
            folder.mkdir()
            shutil.copytree(_DEMO, folder / "model")
            start = time.monotonic()
            if _run(command(folder), home, None) != 0:
                raise SystemExit(f"{name} does not work, so there is nothing to interrupt")
            seconds = time.monotonic() - start
            killed = partial = 0
            for _ in range(kills):
                killed += _run(command(folder), home, chance.uniform(0, seconds)) == -signal.SIGKILL
                partial += not whole(folder)
            left = sum(path.name.startswith(".") for path in folder.iterdir())
            works = _run(command(folder), home, None) == 0 and whole(folder)
            faults += partial + (not works)
            print(
                f"| {name} | {killed} of {kills} | {partial} | {left} | {'works' if works else 'fails'} |", flush=True
            )
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
