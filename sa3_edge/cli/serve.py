"""`sa3-edge serve`, `ui` and `mcp`: the library as a server, as a page, and as an agent's tool."""

import os
import secrets
import sys
import webbrowser
from dataclasses import replace
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_music_path

from sa3_edge.errors import Remedy, RequestError, Sa3Error

if TYPE_CHECKING:
    from sa3_edge.serve.settings import Settings

TOKEN = "SA3_EDGE_TOKEN"  # noqa: S105  the name of a variable: on the command line all users of a machine could read it
DEFAULT_PORT = 8765


def default_folder() -> Path:
    """Where clips are kept: with the user's other music."""
    return user_music_path() / "sa3-edge"


def settings(
    model: str,
    folder: Path | None,
    engine: str,
    threads: int | None,
    units: str | None,
    idle_unload: float,
    queue: int,
) -> "Settings":
    """What all three share. Raises RequestError for invalid values."""
    from sa3_edge.cli.generate import compute_units
    from sa3_edge.serve.settings import Limits, Settings

    if not 0 <= idle_unload < float("inf"):
        raise RequestError(f"--idle-unload must be 0 or more seconds, got {idle_unload}")
    if not 1 <= queue <= 1000:
        raise RequestError(f"--queue must be from 1 to 1000, got {queue}")
    return Settings(
        model=model,
        folder=(folder or default_folder()).expanduser().absolute(),
        token=os.environ.get(TOKEN) or None,
        engine=engine,
        threads=threads,
        compute_units=compute_units(engine, units),
        idle_unload=idle_unload,
        limits=Limits(queue=queue),
    )


def run(chosen: "Settings", host: str, port: int, hosts: list[str], browser: bool) -> None:
    """Serve until Ctrl-C; with `browser` the page is opened there."""
    _need("serve", "uvicorn", "starlette", "python_multipart", "psutil")
    from sa3_edge.serve.server import bind, serve

    if not 0 <= port < 65536:
        raise RequestError(f"--port must be from 0 (a free one) to 65535, got {port}")
    loopback = _is_loopback(host)
    token = chosen.token
    if token is None and not loopback:
        # Whoever can reach the port could use the machine.
        token = secrets.token_urlsafe(24)
    chosen = replace(chosen, loopback=loopback, token=token, hosts=(*hosts, *_own_name(host)))
    with bind(host, port) as listening:
        address, bound_port = listening.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        url = f"http://{shown}:{bound_port}/"

        def started() -> None:
            print(f"sa3-edge listens on {url}  (clips: {chosen.folder})", file=sys.stderr, flush=True)
            if token is not None and not os.environ.get(TOKEN):
                print(f"token: {token}  ({TOKEN} sets your own)", file=sys.stderr, flush=True)
            # Behind a #, which no browser sends.
            if browser and not webbrowser.open(f"{url}#token={token}" if token else url):
                print("no browser could be opened; open the address above", file=sys.stderr, flush=True)

        serve(chosen, listening, started)


def run_mcp(chosen: "Settings") -> None:
    """Serve an agent over standard input and output."""
    _need("mcp", "mcp", "starlette")
    from sa3_edge.serve.mcp import serve_stdio
    from sa3_edge.serve.service import Service

    serve_stdio(Service(chosen))


def _need(extra: str, *modules: str) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise Sa3Error(f"{missing[0]} is not installed", remedy=Remedy("install extra", (extra,)))


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _own_name(host: str) -> tuple[str, ...]:
    """The host name that was bound, if it is one: clients will say it."""
    try:
        ip_address(host)
    except ValueError:
        return (host,)
    return (host,) if ip_address(host).is_loopback else ()
