"""A stand-in for the Hugging Face hub on 127.0.0.1: just the requests that a pull makes, and faults on demand."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = 100_000  # bytes; from here on files are known by their SHA-256, as in large storage


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client hangs up."""


@dataclass(frozen=True)
class Request:
    """What was asked, as far as tests look."""

    path: str
    start: int
    token: str | None


@dataclass
class StandInHub:
    """Serves one repository's files; the fields below `revision` are faults, to be set by a test.

    `beside`: other repositories at the same address.
    """

    repository: str
    files: dict[str, bytes]
    revision: str = "1" * 40
    listing_status: int = 200
    listing: bytes | None = None  # sent instead of the true one
    file_status: dict[str, int] = field(default_factory=dict)  # by path
    altered: dict[str, bytes] = field(default_factory=dict)  # by path: what is sent instead
    cuts: dict[str, list[int]] = field(default_factory=dict)  # by path: each answer ends after so many bytes
    ignores_ranges: bool = False
    storage: str | None = None  # another server's address, to which large files are redirected
    requests: list[Request] = field(default_factory=list)
    endpoint: str = ""
    beside: "list[StandInHub]" = field(default_factory=list)

    @classmethod
    def of_folder(cls, repository: str, folder: Path) -> "StandInHub":
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return cls(repository, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})

    def asked_for(self, path: str) -> list[Request]:
        """The requests for a file, in order."""
        return [request for request in self.requests if request.path == path]

    @contextmanager
    def serving(self) -> Iterator["StandInHub"]:
        server = _Server(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def true_listing(self) -> bytes:
        siblings: list[dict[str, object]] = []
        for path, content in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": git}
            if len(content) >= LARGE:
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return json.dumps({"id": self.repository, "sha": self.revision, "siblings": siblings, "tags": []}).encode()


_ERROR_CODES = {401: "GatedRepo", 403: "GatedRepo", 404: "RepoNotFound"}


def _handler(served: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked = path.removeprefix("/api/models")
            hubs = (each for each in served.beside if asked.startswith(f"/{each.repository}/"))
            hub = next(hubs, served)
            ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(ranged[1]) if ranged else 0
            if path in (f"/api/models/{hub.repository}", f"/api/models/{hub.repository}/revision/{hub.revision}"):
                hub.requests.append(Request("", start, self.headers.get("Authorization")))
                self._send(hub.listing_status, hub.listing or hub.true_listing())
                return
            prefix = f"/{hub.repository}/resolve/{hub.revision}/"
            name = path.removeprefix(prefix)
            if not path.startswith(prefix) or name not in hub.files:
                self._send(404, b"")
                return
            hub.requests.append(Request(name, start, self.headers.get("Authorization")))
            content = hub.altered.get(name, hub.files[name])
            if hub.storage and len(content) >= LARGE:
                self.send_response(302)
                self.send_header("Location", hub.storage + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            status = hub.file_status.get(name, 200)
            if status == 200 and start and not hub.ignores_ranges:
                status, content = 206, content[start:]
            cuts = hub.cuts.get(name)
            self._send(status, content, cuts.pop(0) if cuts else None)

        def _send(self, status: int, content: bytes, cut: int | None = None) -> None:
            body = content if status in (200, 206) else b'{"error": "no"}'
            self.send_response(status)
            if status in _ERROR_CODES:
                self.send_header("X-Error-Code", _ERROR_CODES[status])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:cut])
            self.close_connection = cut is not None

    return Handler
