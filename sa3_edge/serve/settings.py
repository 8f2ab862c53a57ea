"""What a server is started with."""

from dataclasses import dataclass, field
from pathlib import Path

from sa3_edge.engines import DEFAULT_ENGINE

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one client may ask of everybody's machine.

    queue: generations that wait, beside the one that runs; more are refused (429)
    json_bytes, upload_bytes: of a request's body (413)
    recordings_bytes: of all uploaded recordings together (413)
    header_seconds, body_seconds: for a request to arrive whole (connection closed, 408)
    stalled_seconds: for a client to take the next piece of a response
    connections: at a time (503)
    """

    queue: int = 16
    json_bytes: int = MEGABYTE // 4
    upload_bytes: int = 100 * MEGABYTE
    recordings_bytes: int = 4096 * MEGABYTE
    header_seconds: float = 10
    body_seconds: float = 120
    stalled_seconds: float = 60
    connections: int = 256


@dataclass(frozen=True)
class Settings:
    """A server's choices.

    model: what a request gets that names none
    folder: where clips are kept, as files that people can see
    loopback: whether only this machine can connect; then names of this machine are the only hosts
    token: what clients must show, None for nothing
    hosts: further host names that clients may use
    idle_unload: seconds without work after which the model is freed; 0 keeps it
    """

    model: str
    folder: Path
    loopback: bool = True
    token: str | None = None
    hosts: tuple[str, ...] = ()
    engine: str = DEFAULT_ENGINE
    threads: int | None = None
    compute_units: str | None = None
    idle_unload: float = 600
    limits: Limits = field(default_factory=Limits)
