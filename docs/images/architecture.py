"""The picture of docs/architecture.md: the five graphs, what runs between them, and the tensors by name.

python docs/images/architecture.py > docs/images/architecture.svg
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

from sa3_edge.manifest import FILE_NAME, Manifest, decode_manifest
from sa3_edge.models.catalog import DEMO, resolve_model

_WIDTH, _HEIGHT = 1080, 380
_TOP, _BOTTOM, _BOX = 60, 250, 70  # of the two rows, and how high a box is
# Name: left edge, row, width, the line below the name. What is no graph is this program, or a file.
_BOXES = {
    "prompt": (20, _TOP, 110, "tokenizer"),
    "text_encoder": (215, _TOP, 140, "T5Gemma"),
    "conditioner": (430, _TOP, 140, "once a clip"),
    "denoiser": (690, _TOP, 140, "once a step"),
    "decoder": (920, _TOP, 140, "tile by tile"),
    "recording": (215, _BOTTOM, 140, "if one is edited"),
    "encoder": (430, _BOTTOM, 140, "tile by tile"),
    "sampler": (690, _BOTTOM, 140, "noise of the seed"),
    "file": (920, _BOTTOM, 140, "limiter, tags"),
}
# From, to, the tensors on the way: of a graph's inputs, outputs or both.
_WAYS = (
    ("prompt", "text_encoder", ("input_ids",)),
    ("text_encoder", "conditioner", ("hidden",)),
    ("conditioner", "denoiser", ("cross_k", "cross_v", "key_bias", "global_embed", "local_embed")),
    ("recording", "encoder", ("audio",)),
    ("encoder", "conditioner", ("inpaint_masked_input",)),
    ("encoder", "sampler", ("latents",)),
    ("sampler", "denoiser", ("x", "t")),
    ("denoiser", "sampler", ("velocity",)),
    ("sampler", "decoder", ("latents",)),
    ("decoder", "file", ("audio",)),
)
_STYLE = """
text { font: 15px system-ui, sans-serif; fill: #20242c; text-anchor: middle }
.tensor { font: 12px ui-monospace, monospace; fill: #4a5160 }
.small { font-size: 12px; fill: #4a5160 }
.graph { fill: #ffe3c2; stroke: #b5651d }
.ours { fill: #eef0f4; stroke: #7b8496 }
path { fill: none; stroke: #20242c; stroke-width: 1.3; marker-end: url(#arrow) }
"""


def picture(manifest: Manifest) -> str:
    """The picture, as SVG. Raises ValueError if a graph has no tensor of a name that is drawn."""
    drawn = [_box(name, *place, graph=name in manifest.graphs) for name, place in _BOXES.items()]
    for start, end, tensors in _WAYS:
        _check(manifest, start, end, tensors)
        drawn.append(_way(start, end, tensors))
    arrow = (
        '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8" style="fill: #20242c; stroke: none; marker-end: none"/></marker>'
    )
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">'
    paper = f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#fff"/>'
    legend = _text(105, 350, "orange: a graph, run by an engine; grey: this program", "small", anchor="start", x0=20)
    return "\n".join(
        [opening, f"<style>{_STYLE}</style>", f"<defs>{arrow}</defs>", paper, *drawn, legend, "</svg>", ""]
    )


def _check(manifest: Manifest, start: str, end: str, tensors: tuple[str, ...]) -> None:
    for name, side in ((start, "outputs"), (end, "inputs")):
        if name in manifest.graphs:
            there = {tensor.name for tensor in getattr(manifest.graphs[name], side)}
            if not there >= set(tensors) and (start, end) != ("encoder", "conditioner"):  # masked on the way
                raise ValueError(f"{name} has no {sorted(set(tensors) - there)} among its {side}")


def _box(name: str, left: int, top: int, width: int, below: str, *, graph: bool) -> str:
    kind = "graph" if graph else "ours"
    rectangle = f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{_BOX}" rx="6"/>'
    middle = left + width // 2
    return "\n".join(
        [rectangle, _text(middle, top + 32, name.replace("_", " ")), _text(middle, top + 52, below, "small")]
    )


def _way(start: str, end: str, tensors: tuple[str, ...]) -> str:
    left, top, width, _ = _BOXES[start]
    other_left, other_top, *_ = _BOXES[end]
    if top == other_top:  # beside each other
        line = f"M{left + width} {top + _BOX // 2}H{other_left}"
        middle, rows = (left + width + other_left) // 2, [", ".join(tensors)] if len(tensors) < 3 else list(tensors)
        first = top + _BOX // 2 - 8 if len(rows) == 1 else top - 14
        labels = [
            _text(middle, first + 16 * row + (0 if row < 3 else 14), each, "tensor") for row, each in enumerate(rows)
        ]
    elif left == other_left:  # above each other; what goes up is left of what goes down
        up = top > other_top
        at = left + width // 2 + (-30 if up else 30) * (start in ("sampler", "denoiser"))
        line = f"M{at} {top}V{other_top + _BOX}" if up else f"M{at} {top + _BOX}V{other_top}"
        x0, anchor = (at - 8, "end") if up else (at + 8, "start")
        labels = [_text(at, (_TOP + _BOX + _BOTTOM) // 2, ", ".join(tensors), "tensor", anchor=anchor, x0=x0)]
    else:
        corner = (left + width + other_left) // 2
        line = f"M{left + width} {top + _BOX // 2}H{corner}V{other_top + _BOX // 2}H{other_left}"
        labels = [_text(corner, top + _BOX // 2 + 18, ", ".join(tensors), "tensor")]
    return "\n".join([f'<path d="{line}"/>', *labels])


def _text(x: int, y: int, words: str, kind: str = "", *, anchor: str = "", x0: int | None = None) -> str:
    placed = f' style="text-anchor: {anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{x if x0 is None else x0}" y="{y}"{placed}>{escape(words)}</text>'


if __name__ == "__main__":
    sys.stdout.write(picture(decode_manifest((Path(resolve_model(DEMO)) / FILE_NAME).read_bytes())))
