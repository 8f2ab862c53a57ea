"""Downloads that go on where they were cut and are kept only if their hash is the published one.

huggingface_hub's own download begins a cut file anew (since 2.0) and compares its size, not its hash.
"""

import time
from collections.abc import Callable
from pathlib import Path

from sa3_edge.errors import DownloadError
from sa3_edge.models.hub import PASSING, Hub, RemoteFile, Snapshot, http_error

Progress = Callable[[int, int], None]  # bytes there, bytes in all

_TRIES = 5  # in a row without a new byte
_PAUSE_SECONDS = 1.0
_CHUNK = 1 << 20


def missing_bytes(snapshot: Snapshot, folder: Path) -> int:
    """What `download` would still have to fetch, by sizes alone."""

    def there(file: RemoteFile) -> int:
        paths = (folder / file.path, _part(folder, file))
        return max((path.stat().st_size for path in paths if path.is_file()), default=0)

    return sum(max(0, file.bytes - there(file)) for file in snapshot.files)


def download(hub: Hub, snapshot: Snapshot, folder: Path, progress: Progress) -> None:
    """Make `folder` hold the snapshot's files. Raises DownloadError; what arrived until then stays there."""
    total = sum(file.bytes for file in snapshot.files)
    there = 0

    def add(count: int) -> None:
        nonlocal there
        there += count
        progress(there, total)

    # Small ones first: a repository that is closed to us says so at once.
    for file in sorted(snapshot.files, key=lambda file: file.bytes):
        if file.is_at(folder / file.path):
            add(file.bytes)
        else:
            _fetch(hub, snapshot, file, folder, add)


def _part(folder: Path, file: RemoteFile) -> Path:
    # Named after the content too: a newer revision's file never goes on from an older one's beginning.
    return folder / f"{file.path}.{file.hash[:16]}.part"


class _Partial:
    """A file that grows, and its hash so far."""

    def __init__(self, path: Path, file: RemoteFile, add: Callable[[int], None]):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._add = file, add
        self._handle = path.open("a+b")
        self._hash, self.bytes = file.new_hash(), 0
        self._handle.seek(0)
        while chunk := self._handle.read(_CHUNK):
            self._hash.update(chunk)
            self.bytes += len(chunk)
        self._add(self.bytes)
        if self.bytes > file.bytes:
            self.restart()

    def write(self, chunk: bytes) -> None:
        self._handle.write(chunk)
        self._hash.update(chunk)
        self.bytes += len(chunk)
        self._add(len(chunk))

    def restart(self) -> None:
        self._handle.truncate(0)
        self._add(-self.bytes)
        self._hash, self.bytes = self._file.new_hash(), 0

    def close(self) -> str:
        """Close, and the hash of all that was written."""
        self._handle.close()
        return self._hash.hexdigest()


def _fetch(hub: Hub, snapshot: Snapshot, file: RemoteFile, folder: Path, add: Callable[[int], None]) -> None:
    part = _part(folder, file)
    partial = _Partial(part, file, add)
    try:
        with hub.refusals_explained(snapshot.repository):
            _fill(hub, snapshot, file, partial)
    finally:
        digest = partial.close()
    if digest != file.hash:
        part.unlink()
        kind = "SHA-256" if file.sha256 else "git hash"
        raise DownloadError(
            f"{file.path} of {snapshot.repository} arrived altered: "
            f"its {kind} begins with {digest[:12]}, not {file.hash[:12]}\n"
            f"It is deleted; pull again. If that repeats, something between you and {hub.endpoint} changes files"
        )
    part.replace(folder / file.path)


def _fill(hub: Hub, snapshot: Snapshot, file: RemoteFile, partial: _Partial) -> None:
    """Read until all is there; go on after a cut, as long as something arrives between two cuts."""
    from huggingface_hub.errors import HfHubHTTPError

    tries, furthest = 0, partial.bytes
    while partial.bytes < file.bytes:
        try:
            with hub.stream(snapshot, file, partial.bytes) as (continues, chunks):
                if partial.bytes and not continues:
                    partial.restart()
                for chunk in chunks:
                    partial.write(chunk)
                    if partial.bytes > file.bytes:
                        return  # the hash tells
            problem: Exception | None = None
        except http_error() as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in PASSING:
                raise
            problem = error
        tries, furthest = (0, partial.bytes) if partial.bytes > furthest else (tries + 1, furthest)
        if tries >= _TRIES:
            raise problem or DownloadError(
                f"{hub.endpoint} sends only {partial.bytes} of the {file.bytes} bytes of {file.path}\n"
                "Try again later: what was downloaded is kept"
            )
        if problem and partial.bytes < file.bytes:
            time.sleep(_PAUSE_SECONDS)
