"""Who may ask, and how much: hosts, origins, the token, sizes and times, and what a browser may do with an answer."""

import asyncio
import hmac
import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sa3_edge.serve.problems import Problem
from sa3_edge.serve.settings import Limits, Settings

COOKIE = "sa3_edge_session"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Neither inline script nor style, and nothing from anywhere else.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
UPLOADS = "/v1/recordings"
SESSION = "/v1/session"


def token_matches(given: str, token: str) -> bool:
    """In a time that does not tell how much of it was right."""
    return hmac.compare_digest(sha256(given.encode()).digest(), sha256(token.encode()).digest())


def session_of(token: str) -> str:
    """What a browser's cookie holds: made from the token, and of no use to find it."""
    return hmac.new(token.encode(), b"sa3-edge session", sha256).hexdigest()


class Guard:
    """Refuses what does not come from where it should, before anything is read of it."""

    def __init__(self, app: ASGIApp, settings: Settings, open_paths: Iterable[str] = ()) -> None:
        self._app, self._settings = app, settings
        self._names = {name.lower() for name in (*_LOOPBACK, *settings.hosts)}
        self._open = {*open_paths, SESSION}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            self._check_token(scope, headers)
        except Problem as problem:
            await problem.response()(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _check_host(self, headers: Headers) -> None:
        """A page of another name that points here (DNS rebinding) says its own name as the host."""
        hosts = headers.getlist("host")
        name = _host_name(hosts[0]) if len(hosts) == 1 else None
        if name is not None and name in self._names:
            return
        # An address cannot be pointed elsewhere, and whoever is not on this machine shows the token.
        if name is not None and not self._settings.loopback and _is_address(name):
            return
        raise Problem(421, "wrong_host", "this server does not answer to that host name")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Pages of other sites may not ask, neither read nor write."""
        origin = headers.get("origin")
        if origin is not None:
            own = {f"{scheme}://{headers['host'].lower()}" for scheme in ("http", "https")}
            if origin.lower() not in own:
                raise Problem(403, "wrong_origin", "pages of other sites may not use this server")
            return
        site = headers.get("sec-fetch-site", "none")
        opened = headers.get("sec-fetch-mode") == "navigate" and scope["method"] in ("GET", "HEAD")
        if site not in ("none", "same-origin") and not (opened and scope["path"] in self._open):
            raise Problem(403, "wrong_origin", "pages of other sites may not use this server")

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        token = self._settings.token
        if token is None or scope["path"] in self._open:
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("xi-api-key")
        if given is not None:
            if token_matches(given, token):
                return
        else:
            cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
            if cookie is not None and hmac.compare_digest(cookie.encode(), session_of(token).encode()):
                return
        raise Problem(
            401, "token_needed", "show the server's token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"}
        )


class Limiter:
    """Bodies of bounded size that arrive in a bounded time; answers that are taken, or the connection is closed."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = self._limits
        most = limits.upload_bytes if scope["path"] == UPLOADS else limits.json_bytes
        # Closed, or the rest of it would still be read.
        close = {"Connection": "close"}
        too_large = Problem(413, "too_large", f"the body is larger than the {most} bytes that are allowed", close)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limits.body_seconds
        received, started = 0, False
        stated_headers = Headers(scope=scope)
        whole = "transfer-encoding" not in stated_headers and stated_headers.get("content-length", "0") == "0"

        async def receive_limited() -> Message:
            nonlocal received, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, "too_slow", "the request did not arrive in time", close) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > most:
                    raise too_large
                whole = not message.get("more_body", False)
            return message

        async def send_limited(message: Message) -> None:
            nonlocal started
            started = True
            async with asyncio.timeout(limits.stalled_seconds):
                await send(message)

        try:
            stated = stated_headers.get("content-length", "0")
            if not stated.isascii() or not stated.isdigit() or int(stated) > most:
                raise too_large
            if "content-encoding" in stated_headers:
                raise Problem(415, "compressed", "bodies are taken as they are, not compressed", close)
            await self._app(scope, receive_limited, send_limited)
        except Problem as problem:
            if started:
                raise
            with suppress(TimeoutError):
                await problem.response()(scope, receive, send_limited)


def _host_name(host: str) -> str | None:
    """The name in a Host header, without port and brackets, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        valid = bracket and (not port or (port[0] == ":" and port[1:].isdigit()))
    else:
        name, colon, port = host.partition(":")
        valid = not colon or port.isdigit()
    return name.removesuffix(".") if valid and name else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
