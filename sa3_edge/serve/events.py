"""Server-sent events."""

from collections.abc import AsyncIterator

import msgspec
from starlette.responses import StreamingResponse

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = b": still here\n\n"


def event(name: str | None, data: object) -> bytes:
    """One event; without a name it is what an EventSource calls a message."""
    named = b"event: " + name.encode() + b"\n" if name else b""
    return named + b"data: " + msgspec.json.encode(data) + b"\n\n"


def event_stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """The answer that they are sent in. A client that goes away ends the iterator."""
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
