"""What engines keep of a bundle's graphs for the next start: compiled models, in the user's cache folder.

They are as large as the graphs, so what was not used for a month is deleted when something new is kept.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from sa3_edge.errors import EngineError
from sa3_edge.files import entries_of, files_below
from sa3_edge.manifest import Artifact

_KEPT_DAYS = 30


def cache_folder() -> Path:
    """Where the engines' caches lie, a folder an engine."""
    return user_cache_path("sa3-edge") / "engines"


def cache_entry(engine: str, artifact: Artifact, *made_for: str) -> Path:
    """The folder for what `engine` makes of a graph's files: it exists, perhaps empty, and is marked as used now.

    `made_for`: what else the result depends on, such as the engine's version. Raises EngineError if it cannot be made.
    """
    entry = cache_folder() / engine / f"{_key(artifact)}-{_digest(made_for)}"
    try:
        try:
            os.utime(entry)
        except FileNotFoundError:  # new, or another process has just found it too old
            entry.mkdir(parents=True, exist_ok=True)
            _forget_unused()
    except OSError as error:
        raise EngineError(f"the cache folder {cache_folder()} cannot be written: {error.strerror}") from error
    return entry


def forget(artifacts: Iterable[Artifact]) -> int:
    """Delete what engines keep of these artifacts. Returns the bytes that this frees."""
    freed = 0
    for artifact in artifacts:
        for entry in _entries():
            if not entry.name.startswith(f"{_key(artifact)}-"):
                continue
            freed += sum(found.st_size for found in files_below(entry))
            shutil.rmtree(entry, ignore_errors=True)
    return freed


def _entries() -> list[Path]:
    return [entry for engine in entries_of(cache_folder()) for entry in entries_of(engine)]


def _key(artifact: Artifact) -> str:
    return _digest(f"{file.path} {file.sha256}" for file in artifact.files)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _forget_unused() -> None:
    oldest = time.time() - _KEPT_DAYS * 24 * 3600
    for entry in _entries():
        with suppress(OSError):  # another process was first
            if entry.stat().st_mtime < oldest:
                shutil.rmtree(entry, ignore_errors=True)
