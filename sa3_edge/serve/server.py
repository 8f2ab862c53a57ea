"""The server process: a socket, uvicorn on it, and connections that may not dawdle."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sa3_edge.errors import RequestError
from sa3_edge.serve.app import create_app
from sa3_edge.serve.service import Service
from sa3_edge.serve.settings import Limits, Settings

_HEADER_BYTES = 16 << 10
_GRACE_SECONDS = 3


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is a free one. Raises RequestError if it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":  # there it would let two servers share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"cannot listen on {host}, port {port}: {reason}") from None
    return bound


def serve(settings: Settings, listening: socket.socket, started: Callable[[], None] = lambda: None) -> None:
    """Serve until a signal says to stop; `started` is called when requests are answered.

    Raises RequestError for an unusable model or folder.
    """
    logging.getLogger("sa3_edge.serve").addHandler(logging.StreamHandler())
    Service(settings).check()
    make_server(settings, started).run(sockets=[listening])


def make_server(settings: Settings, started: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """The server; it runs where `run(sockets=[...])` is called, and ends when `should_exit` is set."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=_protocol(settings.limits),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="critical",
        server_header=False,
        proxy_headers=False,  # nobody says for another where they come from
        limit_concurrency=settings.limits.connections,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return _Server(config, app.state.service.queue.let_go, started)


class _Server(uvicorn.Server):
    """Lets followers go when it is told to stop: they would hold it open."""

    def __init__(self, config: uvicorn.Config, let_go: Callable[[], None], started: Callable[[], None]) -> None:
        super().__init__(config)
        self._let_go, self._tell = let_go, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._let_go()
        await super().shutdown(sockets)


def _protocol(limits: Limits) -> type[asyncio.Protocol]:
    """HTTP/1.1 whose requests' headers must arrive within a time: uvicorn itself waits for ever (slow loris)."""

    class Punctual(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:
                self._wait()  # the beginning of a request; once it is waited for, more bytes win no time
            else:
                self._stop_waiting()

        def on_response_complete(self) -> None:
            self._stop_waiting()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(limits.header_seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Punctual
