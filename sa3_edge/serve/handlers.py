"""What the handlers of /v1 share: the service, few threads for what blocks, a query's values, an answer's JSON."""

from collections.abc import Callable
from typing import Any

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from sa3_edge.serve.clip_folder import Clip
from sa3_edge.serve.problems import Problem
from sa3_edge.serve.service import GenerationJob, Service


class Handlers:
    """Some handlers. `threads` are those that read files or decode a recording, of all handlers together."""

    def __init__(self, service: Service, threads: CapacityLimiter) -> None:
        self.service = service
        self._threads = threads

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What blocks, away from the loop."""
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)

    def find(self, identifier: str) -> GenerationJob | Clip:
        """A generation by its id. Raises Problem if there is none."""
        found = self.service.find(identifier)
        if found is None:
            raise Problem(404, "unknown", "no generation has this id")
        return found


def as_json(data: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer that is one of the views."""
    return Response(msgspec.json.encode(data), status, headers, "application/json")


def number_in(request: Request, name: str, usual: int, most: int) -> int:
    """A whole number from 1 to `most` of the query. Raises Problem, as the two below."""
    text = text_in(request, name)
    if text is None:
        return usual
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        raise Problem(422, "invalid", f"{name} must be a whole number from 1 to {most}")
    return int(text)


def choice_in(request: Request, name: str, choices: tuple[str, ...]) -> str | None:
    """One of a few words of the query, None where it is not given."""
    text = text_in(request, name)
    if text is not None and text not in choices:
        raise Problem(422, "invalid", f"{name} must be one of {', '.join(choices)}")
    return text


def text_in(request: Request, name: str) -> str | None:
    """A text of the query, None where it is not given."""
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise Problem(422, "invalid", f"{name} is given twice")
    return values[0] if values else None
