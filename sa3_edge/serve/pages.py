"""The page's own files: a fixed list, read once, nothing found by a name that a client sends."""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NAMES = {"/": "index.html", "/docs": "docs.html"}
_FILES = {
    **_NAMES,
    **{
        f"/page/{file.name}": file.name
        for file in files(__package__).joinpath("page").iterdir()
        if any(file.name.endswith(suffix) for suffix in _TYPES)
    },
}
PAGES = frozenset(_FILES)  # nothing in them is a secret: they may be had without a token


def page_routes() -> list[Route]:
    """A route a file."""
    return [Route(path, _file(name), include_in_schema=False) for path, name in _FILES.items()]


def _file(name: str):  # type: ignore[no-untyped-def]  # a closure of Starlette's own kind
    content = files(__package__).joinpath("page", name).read_bytes()
    media_type = next(kind for suffix, kind in _TYPES.items() if name.endswith(suffix))

    async def send(request: Request) -> Response:
        return Response(content, headers={"Cache-Control": "no-cache"}, media_type=media_type)

    return send
