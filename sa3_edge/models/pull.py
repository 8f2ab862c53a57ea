"""From a model's published name to an installed bundle: download, export, install, whole or not at all."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from rich.filesize import decimal

from sa3_edge.errors import DownloadError, Remedy, RequestError, did_you_mean
from sa3_edge.files import read_small
from sa3_edge.models import installed, optimized
from sa3_edge.models.catalog import PUBLISHED, data_folder
from sa3_edge.models.download import Progress, download, missing_bytes
from sa3_edge.models.hub import Hub, Snapshot, is_commit

# All that an export reads; the repositories hold more (images, training data, the text encoder's own licence).
FILES = (
    "model_config.json",
    "model.safetensors",
    "t5gemma-b-b-ul2/config.json",
    "t5gemma-b-b-ul2/model.safetensors",
    "t5gemma-b-b-ul2/tokenizer.json",
)
# Bytes of a bundle for each byte of its checkpoint: fp32 graphs of the tiny checkpoint measure 1.04, from the optimized
# files, of which two are float16, 1.97.
BUNDLE_RATIO, OPTIMIZED_RATIO = 1.1, 2.1
Route = Literal["optimized", "checkpoint"]
_OBJECTIVES = {False: "rf_denoiser", True: "rectified_flow"}  # distilled, base

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}

Export = Callable[[Path, Path], object]  # a checkpoint's folder, the bundle's folder to make
Announce = Callable[[int, int], None]  # bytes to download, bytes of the bundle at most


@dataclass(frozen=True)
class Pulled:
    """What a pull installed, or found installed (`was_installed`)."""

    model: installed.InstalledModel
    was_installed: bool


def pull(
    name: str,
    export: Export,
    *,
    source: Path | None = None,
    route: Route = "checkpoint",
    overwrite: bool = False,
    formats: int = 1,
    progress: Progress = lambda done, total: None,
    announce: Announce = lambda download, bundle: None,
) -> Pulled:
    """Install the published model `name`: from the hub, or from a checkpoint's folder `source`.

    `export` makes the bundle, of so many `formats`. `route`: the published checkpoint, which is gated, or the files of
    models/optimized.py. A model that is installed and whole is left alone, without asking the hub, unless `overwrite`.
    `announce` is told what it will take, which the disk must have free, before anything is fetched or made.
    Raises RequestError for an unknown name and a checkpoint of another kind, DownloadError for what the hub or the
    disk refuses, and what `export` raises. After an error the models are as before, and a download goes on next time.
    """
    check_published(name)
    there = installed.find(name)
    if there and not there.problem and not overwrite:
        return Pulled(there, was_installed=True)
    with _disk_problems_explained(), _one_at_a_time():
        installed.clear_staging()
        if source:
            checkpoint = _local(name, source, formats, announce)
        elif route == "optimized":
            checkpoint = _fetch_optimized(name, formats, progress, announce)
        else:
            checkpoint = _fetch(name, formats, progress, announce)
        _check_kind(name, checkpoint)
        with installed.staging() as folder:
            export(checkpoint, folder / name)
            installed.install(folder / name, name)
        if not source:
            shutil.rmtree(installed.download_folder(name), ignore_errors=True)
    made = installed.find(name)
    assert made is not None
    return Pulled(made, was_installed=False)


def check_published(name: str) -> None:
    """Raise RequestError for a model that is not published; a repository's name is told its short one."""
    if name in PUBLISHED:
        return
    short = {repository: known for known, repository in PUBLISHED.items()}
    wanted = name.rsplit("/", 1)[-1].removeprefix("stable-audio-3-")
    meant = f"; did you mean {short[name]}?" if name in short else did_you_mean(wanted, PUBLISHED)
    raise RequestError(f"no published model is called {name!r}{meant}; choose {', '.join(PUBLISHED)}")


def has_route(name: str, route: Route) -> bool:
    """Whether a published model can be had on it."""
    return route == "checkpoint" or name in optimized.WEIGHTS


def is_optimized(folder: Path) -> bool:
    """Whether a checkpoint's folder has the files of the optimized repository."""
    return not (folder / "model.safetensors").exists() and any(folder.glob("dit_*_f16.npz"))


def _local(name: str, source: Path, formats: int, announce: Announce) -> Path:
    npz = is_optimized(source)
    files = source.glob("*.npz") if npz else map(source.joinpath, FILES)
    size = sum(path.stat().st_size for path in files if path.is_file())
    bundle_bytes = int(size * formats * (OPTIMIZED_RATIO if npz else BUNDLE_RATIO))
    _check_space(name, bundle_bytes)
    announce(0, bundle_bytes)
    return source


def _fetch_optimized(name: str, formats: int, progress: Progress, announce: Announce) -> Path:
    """The folder of the optimized repository's files, downloaded."""
    hub = Hub()
    wanted = optimized.sources(hub, name)
    folder = _download_folder(name, wanted.weights)
    missing, bundle_bytes = wanted.missing(folder), int(wanted.bytes * formats * OPTIMIZED_RATIO)
    _check_space(name, missing + bundle_bytes)
    announce(missing, bundle_bytes)
    return wanted.fetch(hub, folder, progress)


def _fetch(name: str, formats: int, progress: Progress, announce: Announce) -> Path:
    """The checkpoint's folder, downloaded unless it lies in Hugging Face's cache."""
    hub = Hub()
    snapshot = hub.snapshot(PUBLISHED[name], FILES)
    bundle_bytes = sum(file.bytes for file in snapshot.files) * formats * BUNDLE_RATIO
    if cached := hub.cached(snapshot):
        _check_space(name, bundle_bytes)
        announce(0, int(bundle_bytes))
        return cached
    folder = _download_folder(name, snapshot)
    missing = missing_bytes(snapshot, folder)
    _check_space(name, missing + bundle_bytes)
    announce(missing, int(bundle_bytes))
    download(hub, snapshot, folder, progress)
    return folder


def _download_folder(name: str, snapshot: Snapshot) -> Path:
    """Laid out as in Hugging Face's cache: there the exporter reads the revision in the path."""
    folder = installed.download_folder(name) / "snapshots" / snapshot.revision
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # What an older revision left serves here too, where the content is the same: hashes tell. Nothing else that
        # may lie there is moved.
        older = [path for path in folder.parent.iterdir() if is_commit(path.name) and not path.is_symlink()]
        for path in older[:1]:
            path.rename(folder)
    return folder


def _check_space(name: str, needed: float) -> None:
    data_folder().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data_folder()).free
    if free < needed:
        raise DownloadError(
            f"pulling {name} takes {decimal(int(needed))} on the disk of {data_folder()}, {decimal(free)} are free",
            remedy=Remedy("free disk space", (decimal(int(needed) - free),)),
        )


def _check_kind(name: str, checkpoint: Path) -> None:
    """Raise RequestError for a checkpoint of another kind than the name's: base or distilled, medium or small."""
    try:
        config = json.loads(read_small(checkpoint / "model_config.json", 16 << 20))
        diffusion = config["model"]["diffusion"]
        objective = diffusion["diffusion_objective"]
        # Medium's attention is differential, small's is not.
        is_medium = bool(diffusion["config"].get("attn_kwargs", {}).get("differential", False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # the exporter says better what is wrong with a checkpoint
    expected = _OBJECTIVES[name.endswith("-base")]
    if objective != expected:
        raise RequestError(
            f"{checkpoint} is no checkpoint of {name}: its diffusion_objective is {objective!r}, not {expected!r}\n"
            "The models whose names end in -base are rectified_flow, the others rf_denoiser"
        )
    wanted = [PurePosixPath(file.path).name for file in optimized.WEIGHTS.get(name, ())][:1]
    transformers = [path.name for path in checkpoint.glob("dit_*_f16.npz")] if is_optimized(checkpoint) else wanted
    if wanted and transformers != wanted:
        raise RequestError(f"{checkpoint} is no checkpoint of {name}: it holds {', '.join(sorted(transformers))}")
    if is_medium != name.startswith("medium"):
        raise RequestError(f"{checkpoint} is no checkpoint of {name}: it is {'medium' if is_medium else 'small'}")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two pulls would write to the same unfinished files."""
    from filelock import FileLock, Timeout

    data_folder().mkdir(parents=True, exist_ok=True)
    lock = FileLock(data_folder() / ".pull.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise DownloadError(
            "another pull is at work\nWait until it is done: a second one goes on from what it left"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_problems_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DownloadError(
                f"the disk of {data_folder()} is full\n"
                "Free some space and pull again: what was downloaded is kept, nothing was installed"
            ) from error
        if error.errno in _NOT_ALLOWED:
            raise DownloadError(
                f"{error.filename or data_folder()} cannot be written: {error.strerror}\n"
                f"Models are kept in {data_folder()}: make that folder writable"
            ) from error
        raise
