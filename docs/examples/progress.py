"""Progress, and stopping a run: an event that any thread may set ends it at the next step.

python docs/examples/progress.py MODEL SECONDS
"""

import sys
from threading import Event

from sa3_edge import CancelledError, GenerationRequest, Pipeline


def generate(model: str, seconds: float, cancel: Event) -> int | None:
    """Samples that were made, None if `cancel` was set meanwhile, by this or another thread."""

    def on_progress(stage: str, done: int, total: int) -> None:
        print(f"{stage} {done}/{total}")

    with Pipeline.load(model) as pipeline:
        try:
            made = pipeline.generate(
                GenerationRequest("lofi piano", seconds=seconds, seed=1), on_progress, cancel=cancel
            )
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
