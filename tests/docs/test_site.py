"""The site's own code: what a page would load from elsewhere is seen, names and picture are those of the program."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import sa3_edge
from sa3_edge.manifest import FILE_NAME, decode_manifest
from sa3_edge.models.catalog import DEMO, resolve_model

DOCS = Path(__file__).parents[2] / "docs"


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "loads"),
    [
        ('<link rel="stylesheet" href="https://fonts.example/css">', ["https://fonts.example/css"]),
        ("<script async src='//cdn.example/x.js'></script>", ["//cdn.example/x.js"]),
        ('<img alt="x" src=https://example.org/badge.svg>', ["https://example.org/badge.svg"]),
        ("@import 'https://example.org/a.css'; b { background: url(https://example.org/b.png) }", ["a.css", "b.png"]),
        ('<a href="https://example.org">followed, not loaded</a> <img src="images/x.png">', []),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_seen(text: str, loads: list[str]) -> None:
    pytest.importorskip("mkdocs")
    found = _loaded(DOCS / "site_hooks.py").loaded_from_outside(text)
    assert [address.rsplit("/", 1)[-1] for address in found] == [address.rsplit("/", 1)[-1] for address in loads]


def test_fields_in_docstrings_become_a_list() -> None:
    pytest.importorskip("griffe")
    made = _loaded(DOCS / "docstrings.py").as_markdown(
        "What.\n\nseed: any\none, two: 0..1\n    more\n\nSaid: at the end."
    )
    assert made == "What.\n\n- **seed**: any\n- **one, two**: 0..1\n    more\n\nSaid: at the end."


def test_every_public_name_is_in_the_reference() -> None:
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: sa3_edge\.(\w+)$", page, re.MULTILINE) + re.findall(r"`sa3_edge\.(\w+)`", page)
    assert sorted(named) == sorted(sa3_edge.__all__)


def test_the_architectures_picture_is_that_of_the_graphs() -> None:
    manifest = decode_manifest((resolve_model(DEMO) / FILE_NAME).read_bytes())
    drawn = _loaded(DOCS / "images" / "architecture.py").picture(manifest)
    assert drawn == (DOCS / "images" / "architecture.svg").read_text(encoding="utf-8")
    assert all(f">{name.replace('_', ' ')}<" in drawn for name in manifest.graphs)
