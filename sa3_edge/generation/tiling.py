"""Sequences through the autoencoder in tiles: the same result as in one piece, in memory that does not grow.

The autoencoder works on windows of `multiple` frames, on a grid and on one shifted by half a window. What a tile's ends
make wrong stays within `overlap`, so a tile that begins on a multiple and carries the overlap is right in its middle.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa3_edge.manifest import Tiles

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """Frames [start, stop) go in; of what comes out, [keep_start, keep_stop) is kept. All in frames of the whole."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def plan_tiles(wanted: int, available: int, tiles: Tiles, *, full: bool = False, first: int = 0) -> list[Tile]:
    """Tiles whose kept parts are the frames first..wanted-1 of a sequence of `available` frames; both multiples.

    With `full` the first and the last tile reach further, so that all have the length of those between them, as far as
    there are that many frames: for an engine that runs one length best.
    """
    longest = tiles.frames + 2 * tiles.overlap if full else 0
    planned = []
    for keep_start in range(first, wanted, tiles.frames):
        keep_stop = min(keep_start + tiles.frames, wanted)
        start, stop = max(0, keep_start - tiles.overlap), keep_stop + tiles.overlap
        stop = min(max(stop + -stop % tiles.multiple, start + longest), available)
        start = max(0, min(start, stop - longest))
        planned.append(Tile(start, stop, keep_start, keep_stop))
    return planned


def pad_to_multiple(latents: Array, multiple: int) -> Array:
    """(1, C, T) with its last frame repeated until T is a multiple."""
    missing = -latents.shape[-1] % multiple
    return np.pad(latents, ((0, 0), (0, 0), (0, missing)), mode="edge") if missing else latents


def decode_tiles(
    decode: Callable[[Array], Array],
    latents: Array,
    wanted: int,
    tiles: Tiles,
    samples_per_frame: int,
    *,
    full: bool = False,
    first: int = 0,
) -> Iterator[Array]:
    """Decode latents (1, C, T) tile by tile; yields (1, channels, samples) pieces of the first `wanted` frames.

    `full` and `first` as in `plan_tiles`.
    """
    latents = pad_to_multiple(latents, tiles.multiple)
    for tile in plan_tiles(wanted, latents.shape[-1], tiles, full=full, first=first):
        audio = decode(np.ascontiguousarray(latents[:, :, tile.start : tile.stop]))
        start, stop = tile.keep_start - tile.start, tile.keep_stop - tile.start
        # A copy: an engine's array holds on to all that the engine had reserved, even when its graph is freed.
        yield audio[:, :, start * samples_per_frame : stop * samples_per_frame].copy()


def encode_tiles(
    encode: Callable[[Array], Array], audio: Array, wanted: int, tiles: Tiles, samples_per_frame: int
) -> Array:
    """Encode audio (1, channels, N), N whole windows, tile by tile -> its first latent frames (1, C, wanted)."""
    pieces = []
    for tile in plan_tiles(wanted, audio.shape[-1] // samples_per_frame, tiles):
        span = audio[:, :, tile.start * samples_per_frame : tile.stop * samples_per_frame]
        latents = encode(np.ascontiguousarray(span))
        pieces.append(latents[:, :, tile.keep_start - tile.start : tile.keep_stop - tile.start])
    return np.concatenate(pieces, axis=-1)
