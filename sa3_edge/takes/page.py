"""One self-contained index.html beside the clips: it draws, plays and compares them, without a network."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import msgspec

from sa3_edge.files import whole_file
from sa3_edge.takes.take import read_stars, takes_of

INDEX = "index.html"
_MARK = "A page of takes, made by sa3-edge"  # only a page with this mark is ever replaced


def write_page(folder: Path) -> Path:
    """Write the page of a folder's clips -> its path. Stars and notes that lie there are kept.

    Raises RequestError if there is no clip, Sa3Error if it cannot be written or another page is there.
    """
    takes, stars = takes_of(folder), read_stars(folder)
    path = folder / INDEX
    data = {
        "name": folder.resolve().name,
        "takes": [asdict(take) for take in takes],
        "stars": msgspec.to_builtins({name: star for name, star in stars.items() if star.star or star.note}),
    }
    with whole_file(path, replace=_is_ours(path)) as temporary:
        temporary.write_text(_filled(data), encoding="utf-8")
    return path


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return _MARK in file.read(2000)
    except OSError:
        return False


def _filled(data: dict[str, object]) -> str:
    parts = {name: (files(__package__) / "page" / name).read_text(encoding="utf-8") for name in _PARTS}
    drawing = (
        (files("sa3_edge.audio") / "picture.js").read_text(encoding="utf-8").replace("export function", "function")
    )
    # Nothing in a prompt may end the element that it stands in.
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    page = parts["page.html"].replace("{mark}", _MARK)
    page = page.replace("{style}", parts["page.css"]).replace("{script}", drawing + parts["page.js"])
    return page.replace("{data}", text)


_PARTS = ("page.html", "page.css", "page.js")
