"""`python -m sa3_export.checkpoints.demo FOLDER`: train the demo, or go on training, and write its checkpoint."""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from torch.multiprocessing.spawn import spawn

from sa3_export.checkpoints.demo.training import Recipe
from sa3_export.checkpoints.demo.workers import work


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sa3_export.checkpoints.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="state, log and checkpoint; training goes on from what lies there")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--workers", type=int, default=Recipe.workers, help="processes that share each step")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--begin-with", type=Path, metavar="CHECKPOINT", help="whose weights training begins with")
    parser.add_argument("--long-from", type=float, default=Recipe.long_from, help="fraction after which clips are long")
    parser.add_argument("--muon-rate", type=float, default=Recipe.muon_lr)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    recipe = replace(
        Recipe(),
        steps=options.steps,
        seed=options.seed,
        workers=options.workers,
        long_from=options.long_from,
        muon_lr=options.muon_rate,
    )
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (recipe, options.folder, str(Path(meeting, "meeting")), options.threads, options.begin_with)
        if recipe.workers == 1:
            work(0, *arguments)
        else:
            spawn(work, arguments, nprocs=recipe.workers)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
