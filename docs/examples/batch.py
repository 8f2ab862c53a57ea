"""Several clips from one loaded model, each with the tags that `sa3-edge regenerate` reads.

python docs/examples/batch.py MODEL FOLDER
"""

import sys
from pathlib import Path

from sa3_edge import ClipOptions, FileOptions, Pipeline, render

PROMPTS = ("rain on a tin roof", "lofi piano", "a door that creaks")


def main(model: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with Pipeline.load(model, keep_loaded=True) as pipeline:
        for seed, prompt in enumerate(PROMPTS, start=1):
            options = ClipOptions(prompt, seconds=1.5, seed=seed)
            render(options, pipeline, FileOptions(output=folder / f"{seed}.flac"))
            print(folder / f"{seed}.flac")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
