"""What a published model takes before it makes a sound: whether this machine has it."""

import shutil
from dataclasses import dataclass

from rich.filesize import decimal

from sa3_edge.machine import memory
from sa3_edge.models.catalog import DEFAULT, data_folder

_GB = 10**9


@dataclass(frozen=True)
class Need:
    """download: bytes of the checkpoint. disk: bytes while it exports. memory: bytes that the export takes."""

    download: int
    disk: int
    memory: int


# Small: measured (docs/install.md). Medium: the checkpoint's stated bytes; memory from the sizes, not measured: the
# transformer's 5.8 GB as read and as written, and what the autoencoder and the runtime add.
_SMALL, _MEDIUM = Need(35 * _GB // 10, 7 * _GB, 51 * _GB // 10), Need(104 * _GB // 10, 22 * _GB, 14 * _GB)


def need_of(model: str) -> Need:
    """What a published model takes, by its name."""
    return _MEDIUM if model.startswith("medium") else _SMALL


def free_disk() -> int:
    """Bytes free where models are installed."""
    folder = data_folder()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def shortage(model: str, *, disk: bool = True) -> str | None:
    """What this machine lacks to export a published model, and what would do; None if nothing is known to be short.

    Without `disk` only memory is looked at.
    """
    need, has = need_of(model), memory()
    short = []
    if has is not None and has < need.memory:
        short.append(f"about {decimal(need.memory)} of memory, of which this machine has {decimal(has)}")
    if disk and (free := free_disk()) < need.disk:
        short.append(f"{decimal(need.disk)} of disk, of which {decimal(free)} are free")
    if not short:
        return None
    smaller = f"; {DEFAULT} takes {decimal(need_of(DEFAULT).memory)}" if need.memory > need_of(DEFAULT).memory else ""
    return f"exporting {model} takes {' and '.join(short)}{smaller}"
