"""Files and folders that appear whole or not at all: clips are written so, bundles installed and exported."""

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sa3_edge.errors import RequestError, Sa3Error

_CHUNK = 1 << 20
_UNFINISHED = ".sa3-edge-"
_UNFINISHED_NAME = re.compile(r"\.sa3-edge-[a-z0-9_]{8}")
_LEFT_SECONDS = 24 * 3600
_KEPT = "old"  # in such a folder: a model that was being replaced when the process was killed, never deleted unseen
_unfinished: set[Path] = set()  # of this process: what a second Ctrl-C still has to remove


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading. Raises OSError, also for what is no regular file: a FIFO would wait for ever."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(handle, "rb")


def is_file(path: Path) -> bool:
    """Whether there is a regular file of this name, whatever the name is."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, a loop of links, a NUL
        return False


def entries_of(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing of one that is not there, which another process may be deleting."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder))
    except OSError:
        return []


def files_below(folder: Path) -> Iterator[os.stat_result]:
    """Of all regular files in a folder and those in it, as far as they are still there."""
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(where, name))
                if stat.S_ISREG(found.st_mode):
                    yield found


def read_small(path: Path, limit: int) -> bytes:
    """A file of at most `limit` bytes. Raises OSError, also if it is larger or no regular file."""
    data = bytearray()
    with open_regular(path) as file:
        # By pieces: `read` reserves all that it is asked for.
        while len(data) <= limit and (piece := file.read(min(_CHUNK, limit + 1 - len(data)))):
            data += piece
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    return bytes(data)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError, also if it is no regular file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def unfinished_folder(beside: Path, prefix: str = _UNFINISHED) -> Iterator[Path]:
    """A new, hidden folder in the folder `beside`, deleted when the block ends.

    What killed processes left there a day ago or longer is deleted too.
    """
    sweep(beside)
    folder = _new_name(beside, prefix)
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        _delete(folder)


def _new_name(folder: Path, prefix: str) -> Path:
    """A hidden name that no other process has; noted before anything is there."""
    path = folder / f"{prefix}{secrets.token_hex(4)}"
    _unfinished.add(path)
    return path


def create(path: Path) -> None:
    """Make an empty file, with the permissions that any new file has. Raises OSError if there is one."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def discard_unfinished() -> None:
    """Delete what this process has not finished writing; for one that ends now."""
    for path in list(_unfinished):
        _delete(path)


def sweep(folder: Path) -> None:
    """Delete what killed processes have left in a folder, a day ago or longer. Only names that we make are touched."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if not _UNFINISHED_NAME.fullmatch(entry.name) or Path(entry.path, _KEPT).exists():
                continue
            if entry.stat(follow_symlinks=False).st_mtime < time.time() - _LEFT_SECONDS:
                _delete(Path(entry.path))


def _delete(path: Path) -> None:
    def delete() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    try:
        delete()
    except BaseException:  # Ctrl-C, which is heard once: gigabytes take a moment
        delete()
        raise
    _unfinished.discard(path)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk before going on, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folder, some network file systems sync none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, so that neither is ever missing. False where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform in ("linux", "darwin") else None
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        return bool(libc.renameat2(here, first, here, second, swap) == 0)  # type: ignore[union-attr]
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return bool(libc.renamex_np(first, second, 2) == 0)  # type: ignore[union-attr]  # RENAME_SWAP
    return False


def put_in_place(new: Path, target: Path) -> None:
    """Move the folder `new` to `target`, on the same disk, and then delete what was there.

    Where the system can swap two names, `target` is never missing. Elsewhere what was there is kept, hidden beside
    `target`, until `new` is in its place, and comes back if that fails. Raises OSError.
    """
    if not target.is_symlink() and not target.exists():
        new.rename(target)
        sync_folder(target.parent)
        return
    with unfinished_folder(target.parent) as aside:
        if _exchange(new, target):
            sync_folder(target.parent)
            new.rename(aside / "replaced")
            return
        old = aside / _KEPT
        try:
            target.rename(old)  # of a symlink only the link itself
            new.rename(target)
        except BaseException:  # also of a signal: there must be a model under its name
            if (old.is_symlink() or old.exists()) and not (target.is_symlink() or target.exists()):
                old.rename(target)
            raise


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
def whole_file(path: Path, *, replace: bool = True, otherwise: Callable[[], Path] | None = None) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when the block ends well, and is removed otherwise.

    Not to `replace` a file that has the name by then is an error, unless `otherwise` has another name.
    """
    check_destination(path)
    temporary: Path | None = None
    try:
        sweep(path.parent)
        # A name of its own: one made from the file's could be too long where the file's is not. Made as any file is,
        # so that the umask, which belongs to the whole process, need not be asked for.
        temporary = _new_name(path.parent, _UNFINISHED)
        create(temporary)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        path = _take_name(temporary, path, replace, otherwise)
        sync_folder(path.parent)
    except OSError as error:
        raise Sa3Error(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            _delete(temporary)


def _take_name(temporary: Path, path: Path, replace: bool, otherwise: Callable[[], Path] | None) -> Path:
    if replace:
        temporary.replace(path)
        return path
    while True:
        try:
            os.link(temporary, path)  # unlike a renaming it does not replace
            return path
        except FileExistsError:
            if otherwise is None:
                raise RequestError(f"{path} has appeared meanwhile and is not replaced") from None
            path = otherwise()
        except OSError:  # a file system without hard links
            if path.exists() and otherwise is not None:
                path = otherwise()
                continue
            if path.exists():
                raise RequestError(f"{path} has appeared meanwhile and is not replaced") from None
            temporary.replace(path)
            return path
