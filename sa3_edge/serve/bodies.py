"""Bodies of requests: JSON of a known shape, and words for what is wrong with it."""

from typing import TypeVar

import msgspec
from starlette.requests import Request

from sa3_edge.serve.problems import Problem

Kind = TypeVar("Kind")


class SessionBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a page sends once."""

    token: str


async def read_json(request: Request, kind: type[Kind]) -> Kind:
    """The body as a type. Raises Problem for another content type, for what is no JSON and for other fields."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A form of another site can send text/plain without asking the browser, but not this.
    if content_type != "application/json":
        raise Problem(415, "not_json", "send the request as application/json")
    body = await request.body()
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(422, "invalid", str(error)) from None
