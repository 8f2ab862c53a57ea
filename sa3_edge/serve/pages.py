"""The page's own files: a fixed list, read once, nothing found by a name that a client sends."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE = files(__package__).joinpath("page")
_FILES = {
    "/": _PAGE.joinpath("index.html"),
    "/docs": _PAGE.joinpath("docs.html"),
    "/page/picture.js": files("sa3_edge.audio").joinpath("picture.js"),
    **{f"/page/{file.name}": file for file in _PAGE.iterdir() if any(file.name.endswith(suffix) for suffix in _TYPES)},
}
PAGES = frozenset(_FILES)  # nothing in them is a secret: they may be had without a token


def page_routes() -> list[Route]:
    """A route a file."""
    return [Route(path, _sent(file), include_in_schema=False) for path, file in _FILES.items()]


def _sent(file: Traversable):  # type: ignore[no-untyped-def]  # a closure of Starlette's own kind
    content = file.read_bytes()
    media_type = next(kind for suffix, kind in _TYPES.items() if file.name.endswith(suffix))

    async def send(request: Request) -> Response:
        return Response(content, headers={"Cache-Control": "no-cache"}, media_type=media_type)

    return send
