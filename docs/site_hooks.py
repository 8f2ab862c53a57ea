"""What MkDocs does not do by itself: pages from the whole repository, and a site that loads nothing from elsewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[1]
_PAGES = (
    "*.md",
    "docs/*.md",
    "export/README.md",
    "benchmarks/README.md",
    "tests/**/README.md",
    "runtimes/**/README.md",
)
# What a browser fetches without being asked: not links, which a reader follows.
_LOADS = re.compile(
    r"""<(?:script|img|audio|video|source|iframe|embed)\b[^>]*?\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b[^>]*?\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|url\(\s*["']?((?:https?:)?//[^"')]+)|@import\s+["']((?:https?:)?//[^"']+)""",
    re.IGNORECASE,
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages at their paths in the repository, so that their links hold, and the files that they link to."""
    pages = {page for pattern in _PAGES for page in _ROOT.glob(pattern) if "node_modules" not in page.parts}
    linked = {target for page in pages for target in _links(page)} - pages
    theme = [file for file in files if not Path(file.abs_src_path or "").is_relative_to(config.docs_dir)]
    ours = [_file(path, config) for path in sorted(pages | linked)]
    return Files([*theme, *ours])


def on_post_build(config: MkDocsConfig) -> None:
    """Raises PluginError if a page or a style would fetch something from another host."""
    site = Path(config.site_dir)
    outside = [
        f"{path.relative_to(site)}: {address}"
        for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")])
        for address in loaded_from_outside(path.read_text(encoding="utf-8"))
    ]
    if outside:
        raise PluginError("the site loads from elsewhere:\n" + "\n".join(outside))


def loaded_from_outside(text: str) -> list[str]:
    """Addresses on other hosts that HTML or CSS loads."""
    return [next(filter(None, found)) for found in _LOADS.findall(text)]


def _links(page: Path) -> Iterator[Path]:
    """Files of the repository that a page links to; what is not there MkDocs says itself."""
    for target in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.is_file() and path.is_relative_to(_ROOT):
            yield path


def _file(path: Path, config: MkDocsConfig) -> File:
    return File.generated(config, path.relative_to(_ROOT).as_posix(), abs_src_path=str(path))
