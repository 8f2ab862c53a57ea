"""Progress, and stopping a run: what the callback raises ends it, and nothing is written.

python docs/examples/progress.py MODEL SECONDS
"""

import sys
from threading import Event

from sa3_edge import GenerationRequest, Pipeline


class CancelledError(Exception):
    """Raised by the callback below."""


def generate(model: str, seconds: float, cancel: Event) -> int | None:
    """Samples that were made, None if `cancel` was set meanwhile, by this or another thread."""

    def on_progress(stage: str, done: int, total: int) -> None:
        print(f"{stage} {done}/{total}")
        if cancel.is_set():
            raise CancelledError

    with Pipeline.load(model) as pipeline:
        try:
            made = pipeline.generate(GenerationRequest("lofi piano", seconds=seconds, seed=1), on_progress)
        except CancelledError:
            return None
    return int(made.audio.shape[-1])


def main(model: str, seconds: float) -> None:
    cancel = Event()
    print(generate(model, seconds, cancel), "samples")
    cancel.set()
    print("cancelled" if generate(model, seconds, cancel) is None else "not cancelled")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
