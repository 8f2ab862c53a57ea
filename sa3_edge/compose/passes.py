"""What the passes of a piece share: seeds, and progress over all of them."""

import numpy as np

from sa3_edge.generation.pipeline import Progress


def pass_seed(seed: int, index: int) -> int:
    """The seed of a piece's pass; the first pass's is the piece's own."""
    if index == 0:
        return seed
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def progress_of(progress: Progress, index: int, passes: int, decoded: tuple[int, int, int] | None = None) -> Progress:
    """Progress of one pass, as progress of all `passes`.

    decoded: frames of the piece before this pass's own, before which it is never, and in all; None if each pass decodes
        as many
    """

    def say(stage: str, done: int, total: int) -> None:
        if stage == "decode" and decoded is not None:
            before, least, whole = decoded
            ended = done == total and index == passes - 1  # frames of passes need not lie on those of the piece
            progress(stage, whole if ended else min(max(before + done, least), whole), whole)
        else:
            progress(stage, index * total + done, passes * total)

    return say
