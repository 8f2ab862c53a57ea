"""What a clip's own samples take at the most: Python's allocations while it is decoded and written, by tracemalloc.

    python benchmarks/clip_memory.py [SECONDS] [FORMAT]

With the demo model, one step. What the engine allocates is not counted.
"""

import sys
import tempfile
import tracemalloc
from pathlib import Path

from sa3_edge import ClipOptions, FileOptions, Pipeline
from sa3_edge.clips.render import prepare


def main() -> None:
    """See the top."""
    seconds, format_name = float((sys.argv[1:] or ["120"])[0]), (sys.argv[2:] or ["wav"])[0]
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline.load("demo")
        job = prepare(ClipOptions("x", seconds=seconds, seed=1, steps=1), FileOptions(Path(folder, f"a.{format_name}")))

        def start(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("decode", 0):
                tracemalloc.start()

        (clip,) = job.run(pipeline, start)
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    print(f"{seconds:g} s, {format_name}: {megabytes:.1f} MB at the most; samples {clip.samples * 8 / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
