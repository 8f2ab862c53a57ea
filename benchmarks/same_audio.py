"""Do today's commands write the samples that they wrote at another commit?

    python benchmarks/same_audio.py 2c63372

Checks that commit out beside, runs each command below there and here, on its demo bundle, and compares the decoded
samples; tags may differ. Exits 1 if any differ. Both run on this machine: another processor rounds otherwise.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

REPOSITORY = Path(__file__).parents[1]
# By the name of the file that each writes; {recording} is a second of noise, {first} the first command's file.
COMMANDS: dict[str, tuple[str, ...]] = {
    "text.wav": ("generate", "lofi piano", "-s", "7.3"),
    "text.flac": ("generate", "lofi piano", "-s", "3", "--bits", "16"),
    "float.wav": ("generate", "rain", "-s", "2", "--bits", "float", "--no-limiter"),
    "sixteen.wav": ("generate", "rain", "-s", "2.1", "--bits", "16", "--headroom", "0"),
    "lossy.ogg": ("generate", "rain", "-s", "2"),
    "lossy.opus": ("generate", "rain", "-s", "5"),
    "lossy.mp3": ("generate", "rain", "-s", "2"),
    "empty.wav": ("generate", "", "-s", "0.1", "--steps", "1"),
    "guided.wav": ("generate", "rain", "-s", "1", "--cfg", "3", "--apg", "0.5", "--negative-prompt", "drums"),
    "variation.wav": ("generate", "rain", "--init-audio", "{recording}", "--noise-level", "0.5"),
    "reference.wav": ("generate", "rain", "--init-audio", "{recording}", "--schedule", "reference"),
    "inpaint.wav": ("generate", "rain", "--init-audio", "{recording}", "--inpaint", "0.2:0.4", "--inpaint", "0.7:"),
    "unspliced.wav": ("generate", "rain", "--init-audio", "{recording}", "--inpaint", "0.2:0.4", "--no-splice"),
    "extend.flac": ("generate", "rain", "--init-audio", "{recording}", "--extend", "4", "--prepend", "0.5"),
    "again.wav": ("regenerate", "{first}"),
}
LOUD = ("loud.wav", ("generate", "rain", "--init-audio", "{loud}", "--noise-level", "0.05", "--bits", "float"))


def run(checkout: Path, name: str, arguments: tuple[str, ...], folder: Path, model: Path) -> Path:
    """One command of a checkout -> the file that it wrote."""
    names = {"recording": folder.parent / "recording.wav", "loud": folder.parent / "loud-recording.wav"}
    names["first"] = folder / next(iter(COMMANDS))
    command = [sys.executable, "-m", "sa3_edge", *(each.format(**names) for each in arguments)]
    seed = () if arguments[0] == "regenerate" else ("--seed", "42")
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [*command, *seed, "-m", str(model), "-o", str(folder / name)],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(command)}\n{done.stderr}")
    return folder / name


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="what to compare with")
    commit = parser.parse_args().commit
    differing = []
    with tempfile.TemporaryDirectory() as temporary:
        before = Path(temporary, "checkout")
        subprocess.run(["git", "worktree", "add", "--detach", before, commit], cwd=REPOSITORY, check=True)
        try:
            noise = np.random.default_rng(0).uniform(-0.5, 0.5, (44100, 2))
            soundfile.write(Path(temporary, "recording.wav"), noise, 44100, subtype="PCM_24")
            soundfile.write(Path(temporary, "loud-recording.wav"), noise * 4, 44100, subtype="FLOAT")
            folders = [(before, Path(temporary, "before")), (REPOSITORY, Path(temporary, "after"))]
            for _, folder in folders:
                folder.mkdir()
            for name, arguments in [*COMMANDS.items(), LOUD]:
                files = [
                    run(checkout, name, arguments, folder, before / "sa3_edge/demo") for checkout, folder in folders
                ]
                (old, rate), (new, new_rate) = (soundfile.read(path, dtype="float64", always_2d=True) for path in files)
                same = rate == new_rate and np.array_equal(old, new)
                print(f"{'same' if same else 'DIFFERENT':10} {name:15} {new.shape[0]} samples", flush=True)
                if not same:
                    differing.append(name)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", before], cwd=REPOSITORY, check=True)
    if differing:
        raise SystemExit(f"different: {', '.join(differing)}")


if __name__ == "__main__":
    main()
