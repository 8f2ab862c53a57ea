"""Files and folders that appear whole or not at all: clips are written so, bundles installed and exported."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sa3_edge.errors import RequestError, Sa3Error

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def put_in_place(new: Path, target: Path) -> None:
    """Move the folder `new` to `target`, on the same disk, and then delete what was there.

    What was there is kept, hidden beside `target`, until `new` is in its place, and comes back if that fails. Raises
    OSError.
    """
    if not target.is_symlink() and not target.exists():
        new.rename(target)
        return
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    old = aside / "old"
    try:
        target.rename(old)  # of a symlink only the link itself
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
    except OSError:
        if not old.is_symlink() and not old.exists():
            aside.rmdir()
        raise
    if old.is_symlink():
        old.unlink()
    shutil.rmtree(aside)


def check_destination(path: Path) -> None:
    """Raise RequestError if a file cannot be made at `path`; asked before work that would be lost."""
    try:
        if path.is_dir():
            raise RequestError(f"{path} is a directory; name a file")
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror or error}") from None
    if not path.parent.is_dir():
        raise RequestError(f"the directory {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise RequestError(f"the directory {path.parent} is not writable")


def check_writable(path: Path) -> None:
    """As `check_destination`, and by making a file beside `path`: permissions do not say all. Raises RequestError."""
    check_destination(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror or error}") from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when the block ends well, and is removed otherwise."""
    check_destination(path)
    temporary: Path | None = None
    try:
        # A name of its own: one made from the file's could be too long where the file's is not.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".sa3-edge-")
        temporary = Path(name)
        os.close(handle)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files
        temporary.replace(path)
    except OSError as error:
        raise Sa3Error(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
