"""What a run takes at the most, known before it begins, and decoder tiles that take less.

    estimate = this process + code of the engine + weights x copies + positions x what each takes

of the graph that takes most: one is in memory at a time. Checked against peaks of processes (docs/reliability.md).
"""

import re
from dataclasses import dataclass

from sa3_edge.bundle import Bundle
from sa3_edge.engines import DEFAULT_ENGINE, int8
from sa3_edge.engines.onnx_file import width_of
from sa3_edge.errors import MemoryLimitError, RequestError
from sa3_edge.machine import resident_memory
from sa3_edge.manifest import GraphName, Tiles

MEGABYTE = 10**6
_CODE = 31 * MEGABYTE  # of engine, limiter and file formats, which are loaded with the first clip
# Copies of weights that an engine holds: kernels want their own layout, and exact int8 products without VNNI another.
_COPIES = {"fp32": 1.0, "int8": 1.1}
_COPIES_WHERE_PRODUCTS_SATURATE = 1.7
_ONCE = {"text_encoder": 0.3, "conditioner": 1.0}  # share of the mapped weights that one run reads
_TEXT_KEPT = 0.28  # share of the text encoder's weights that the system still counts when the conditioner runs
# Numbers of 4 bytes: of the denoiser by frame and unit of width, of the autoencoder likewise, and of what follows it
# (limiter, true peak, file) by sample and channel.
_DENOISER, _AUTOENCODER, _AFTER = 45, 380, 14
_DENOISER_KEPT = 0.5  # share of what the denoiser worked with that the system gets back only later
_FLOAT = 4
_LEAST_TILES = 4  # of the decoder's windows that a tile adds: with fewer, most of the work would be overlap


@dataclass(frozen=True)
class Estimate:
    """Bytes at the most, and the graph that takes them. tiles: of the decoder, smaller than the bundle's if need be."""

    bytes: int
    graph: GraphName
    tiles: Tiles


def parse_memory(text: str) -> int:
    """1.5GB, 800 MB or 1GiB -> bytes. Raises RequestError."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    value = float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " ") if match else 0
    if not value:
        raise RequestError(f"`max_memory` must be an amount such as 1.5GB or 800MB, got {text!r}")
    return int(value)


def estimate(bundle: Bundle, frames: int, *, recording: bool, keep_loaded: bool, tiles: Tiles) -> Estimate:
    """What a clip of so many latent frames takes, with the engine onnxruntime. `recording`: whether one is encoded."""
    manifest, base = bundle.manifest, resident_memory() + _CODE
    sample = manifest.audio.samples_per_frame * manifest.audio.channels * _AFTER * _FLOAT
    weights = {name: _weights(bundle, name) for name in manifest.graphs}
    held = {name: bytes * _ONCE.get(name, _copies(bundle, name)) for name, bytes in weights.items()}
    held["conditioner"] += weights["text_encoder"] * _TEXT_KEPT
    active: dict[GraphName, float] = {name: 0.0 for name in held if recording or name != "encoder"}
    active["denoiser"] = frames * width_of(bundle, "denoiser") * _DENOISER * _FLOAT
    for name, each in (("decoder", tiles), ("encoder", manifest.tiles.encoder)):
        if name in active:
            tile = min(frames, each.frames + 2 * each.overlap)
            active[name] = tile * (width_of(bundle, name) * _AUTOENCODER * _FLOAT + sample)
    active["decoder"] += active["denoiser"] * _DENOISER_KEPT
    if keep_loaded:
        everything = sum(held.values())
        totals = {name: base + everything + more for name, more in active.items()}
    else:
        totals = {name: base + held[name] + more for name, more in active.items()}
    graph = max(totals, key=lambda name: totals[name])
    return Estimate(int(totals[graph]), graph, tiles)


def within(limit: int, bundle: Bundle, engine: str, frames: int, *, recording: bool, keep_loaded: bool) -> Tiles:
    """The decoder's tiles with which a clip stays within `limit` bytes: the bundle's own, or the largest that do.

    Raises MemoryLimitError if none do, RequestError for an engine of which nothing is known.
    """
    if engine != DEFAULT_ENGINE:
        raise RequestError(f"`max_memory` is for the engine {DEFAULT_ENGINE}: what {engine} takes is not known before")
    own = bundle.manifest.tiles.decoder
    tiles = own
    while True:
        found = estimate(bundle, frames, recording=recording, keep_loaded=keep_loaded, tiles=tiles)
        if found.bytes <= limit:
            return tiles
        fewer = tiles.frames // 2 // own.multiple * own.multiple
        if found.graph != "decoder" or fewer < _LEAST_TILES * own.multiple:
            raise MemoryLimitError(_refusal(bundle, found, limit))
        tiles = replace_frames(tiles, fewer)


def replace_frames(tiles: Tiles, frames: int) -> Tiles:
    """The same tiles of another length."""
    return Tiles(frames=frames, overlap=tiles.overlap, multiple=tiles.multiple)


def _refusal(bundle: Bundle, found: Estimate, limit: int) -> str:
    precision = bundle.artifact(found.graph, "onnx").precision
    less = ["a shorter clip"] if found.graph == "denoiser" else []
    less += [] if precision == "int8" else ["a bundle with int8 (`export --precision int8`)"]
    also = f"; {' or '.join(less)} takes less" if less else ""
    return (
        f"this takes about {found.bytes / MEGABYTE:.0f} MB (the {found.graph.replace('_', ' ')}, in {precision}), "
        f"more than the {limit / MEGABYTE:.0f} MB of `max_memory`{also}"
    )


def _weights(bundle: Bundle, name: GraphName) -> int:
    return sum(file.bytes for file in bundle.artifact(name, "onnx").files)


def _copies(bundle: Bundle, name: GraphName) -> float:
    precision = bundle.artifact(name, "onnx").precision
    if precision != "fp32" and int8.products_saturate():
        return _COPIES_WHERE_PRODUCTS_SATURATE
    return _COPIES.get(precision, 1.1)
