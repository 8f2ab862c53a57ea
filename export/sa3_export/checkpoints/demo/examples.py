"""Training examples: windows of songs as latents, captions, durations, and what an edit would keep of them."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from sa3_export.checkpoints.demo.captions import caption
from sa3_export.checkpoints.demo.corpus import FRAMES_A_SECOND, choose_style, compose

LONGEST = 1292  # frames of a clip
_THROUGH = 1240  # pieces that are longer than this go on to their last second or two, however long the window
_LEAST_RMS = 0.1  # rare sounds are not made louder than this allows


@cache
def latent_scale() -> NDArray[np.float32]:
    """Latents are activations times this (64,): between whitened and as they are, of variance 1 on average.

    A sound that is rarely heard is large when it is: it is found earlier, and wrong traces of it are fainter.
    """
    songs = [compose(np.random.default_rng([9, index]), 128).activations for index in range(600)]
    rms = np.sqrt(np.mean(np.square(np.concatenate(songs), dtype=np.float64), axis=0))
    scale = 1 / np.sqrt(np.maximum(rms, _LEAST_RMS))
    return np.asarray(scale / np.sqrt(np.mean((scale * rms) ** 2)), np.float32)


@dataclass(frozen=True)
class Batch:
    """latents (B, C, T) from frame `offset` on; local (B, T, 1 + C) or None; scales as in `DemoNetworks.context`."""

    latents: Tensor
    ids: list[list[int]]
    seconds: Tensor
    padding_scale: Tensor
    context_scale: Tensor
    local: Tensor | None
    offset: int


class Examples:
    """Batch after batch, each decided by the seed and its number."""

    def __init__(self, tokenizer: Tokenizer, seed: int, tokens: int = 512):
        self._tokenizer, self._seed, self._tokens = tokenizer, seed, tokens

    def batch(self, number: int, lengths: dict[int, float]) -> Batch:
        """`lengths`: frames of a window -> how often."""
        rng = np.random.default_rng([self._seed, number])
        window = int(rng.choice(list(lengths), p=list(lengths.values())))
        count = max(1, self._tokens // window)
        offset = self._offset(rng, window)
        latents, ids, seconds = [], [], []
        for _ in range(count):
            total = _length(rng, offset, window)
            end = total if total < offset + window else None
            song = compose(rng, window, style=choose_style(rng), start=offset, end=end)
            latents.append(song.activations * latent_scale())
            seconds.append((total - rng.random()) / FRAMES_A_SECOND)
            text = "" if rng.random() < 0.05 else caption(rng, song)
            ids.append(self._tokenizer.encode(text, add_special_tokens=False).ids)
        stacked = torch.from_numpy(np.stack(latents)).transpose(1, 2)
        chance = torch.from_numpy(rng.random((2, count)).astype(np.float32))
        return Batch(
            stacked,
            ids,
            torch.tensor(seconds, dtype=torch.float32),
            (chance[0] > 0.15).float(),
            (chance[1] > 0.04).float(),
            _kept(rng, stacked) if rng.random() < 0.35 else None,
            offset,
        )

    @staticmethod
    def _offset(rng: np.random.Generator, window: int) -> int:
        """Where in a clip the window begins: at its beginning, anywhere, or as late as can be."""
        chance, room = rng.random(), LONGEST - window
        if chance < 0.45:
            return 0
        return room if chance > 0.88 else int(rng.integers(room + 1))


def _length(rng: np.random.Generator, offset: int, window: int) -> int:
    """Frames of a whole piece of which a window is heard: it ends within the window, or goes on after it."""
    until = offset + window
    if until < LONGEST and rng.random() < 0.6:
        return int(rng.integers(until, LONGEST + 1))
    if until > _THROUGH and rng.random() < 0.8:
        return int(rng.integers(max(_THROUGH, LONGEST - 16), LONGEST + 1))
    return int(rng.integers(offset + window // 3, until + 1))


def _kept(rng: np.random.Generator, latents: Tensor) -> Tensor:
    """Masks of edits: a beginning kept (to go on from), an end kept, or a region made anew."""
    count, _, window = latents.shape
    mask = torch.ones(count, 1, window)
    for row in range(count):
        first, last = sorted(int(each) for each in rng.integers(0, window + 1, 2))
        match int(rng.integers(3)):
            case 0:
                mask[row, :, first:] = 0
            case 1:
                mask[row, :, :first] = 0
            case _:
                mask[row, :, first:last] = 0
    return torch.cat((mask, latents * mask), dim=1).transpose(1, 2)
