"""The models of this machine: what is installed and how much it takes; installing, sharing, removing.

Files with the same content are one file on disk: each bundle's folder has a hard link to it. A bundle stays a plain
folder that is safe to copy, no file is outside of it, and the disk frees a file when the last bundle with it is gone.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sa3_edge.bundle import Bundle
from sa3_edge.engines.cache import forget
from sa3_edge.errors import BundleError, RequestError, Sa3Error
from sa3_edge.files import entries_of, files_below, put_in_place, sha256_of, unfinished_folder
from sa3_edge.manifest import FILE_NAME, Artifact, Model, read_manifest
from sa3_edge.models.catalog import DEMO, PUBLISHED, data_folder, installed_models, models_folder

_STAGING = ".staging-"


@dataclass(frozen=True)
class InstalledModel:
    """A model on this machine. `problem` says what is wrong with a broken one; then `model` may be missing."""

    name: str
    path: Path
    model: Model | None
    precisions: dict[str, str]  # by format: {"onnx": "fp32"}
    bytes: int
    shared_bytes: int  # of these, in files that other models have too
    problem: str | None


def list_models() -> list[InstalledModel]:
    """Every installed model, whole or broken, and the demo. Sizes are checked, hashes are not: see `Bundle.load`."""
    return [_describe(name, path) for name, path in {**_folders(), DEMO: installed_models()[DEMO]}.items()]


def _folders() -> dict[str, Path]:
    """Folders of installed models, whole or broken, by name; hidden ones are unfinished."""
    folders = {path.name: path for path in entries_of(models_folder()) if path.name[0] != "." and _is_folder(path)}
    return {name: path for name, path in folders.items() if name != DEMO}


def find(name: str) -> InstalledModel | None:
    """The installed model of this name, whole or broken."""
    folder = models_folder() / name
    found = name != DEMO and not name.startswith(".") and Path(name).name == name and _is_folder(folder)
    return _describe(name, folder) if found else None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that is too long, or no name
        return False


def bytes_on_disk() -> int:
    """What all installed models take, shared files counted once."""
    return sum({(found.st_dev, found.st_ino): found.st_size for found in files_below(models_folder())}.values())


@contextmanager
def staging() -> Iterator[Path]:
    """An empty folder on the models' disk, gone when the block ends, however it ends."""
    models_folder().mkdir(parents=True, exist_ok=True)
    with unfinished_folder(data_folder(), _STAGING) as folder:
        yield folder


def clear_staging() -> None:
    """Delete staging folders of killed processes. Call with the pull lock held."""
    for folder in entries_of(data_folder()):
        if not folder.name.startswith(_STAGING):
            continue
        shutil.rmtree(folder, ignore_errors=True)


def install(staged: Path, name: str) -> None:
    """Make the bundle `staged`, in a staging folder, the installed model `name`; the old one stays until then.

    Files that other installed models have too are shared with them.
    """
    _share(staged)
    put_in_place(staged, models_folder() / name)


def check_removable(name: str) -> None:
    """Raise RequestError for the demo, and for a name that neither an installed model has nor a download."""
    if name == DEMO:
        raise RequestError(f"{DEMO} is part of sa3-edge and cannot be removed")
    names = list(_folders())
    if name not in names and name not in unfinished_downloads():
        raise RequestError(f"no model called {name!r} is installed; installed: {', '.join(names) or 'none'}")


def remove(name: str) -> int:
    """Remove an installed model and an unfinished download of it. Returns the bytes that this frees.

    Raises RequestError as `check_removable` does.
    """
    check_removable(name)
    folder, freed = models_folder() / name, 0
    try:
        if folder.is_symlink():
            folder.unlink()  # where it points to was not installed by us
        elif folder.exists():
            compiled = _artifacts_only_here(name)
            with staging() as gone:  # out of sight at once, then file by file
                folder.rename(gone / name)
                freed += _only_here(gone / name)
            freed += forget(compiled)
        if name in PUBLISHED:
            freed += _only_here(download_folder(name))
            shutil.rmtree(download_folder(name), ignore_errors=True)
    except OSError as error:
        raise Sa3Error(f"{name} cannot be removed: {error}") from error
    return freed


def _artifacts_only_here(name: str) -> list[Artifact]:
    """The artifacts of a model that no other installed model has."""

    def artifacts(folder: Path) -> list[Artifact]:
        with suppress(BundleError):
            graphs = _read(folder).manifest.graphs.values()
            return [artifact for graph in graphs for artifact in graph.artifacts.values()]
        return []  # broken

    others = [path for other, path in installed_models().items() if other != name]
    shared = {file.sha256 for path in others for artifact in artifacts(path) for file in artifact.files}
    return [each for each in artifacts(models_folder() / name) if not {file.sha256 for file in each.files} <= shared]


def download_folder(name: str) -> Path:
    """Where the checkpoint of a published model lies while it is downloaded and exported."""
    return data_folder() / "downloads" / f"models--{PUBLISHED[name].replace('/', '--')}"


def unfinished_downloads() -> dict[str, int]:
    """Bytes of downloads that were cut or not exported, by the model's name."""
    sizes = {name: _only_here(download_folder(name)) for name in PUBLISHED}
    return {name: size for name, size in sizes.items() if size}


def _only_here(folder: Path) -> int:
    """Bytes of files that no other folder has a link to: what deleting this one frees."""
    return sum(found.st_size for found in files_below(folder) if found.st_nlink == 1)


def _read(folder: Path) -> Bundle:
    try:
        return Bundle(folder, read_manifest(folder / FILE_NAME)[0], "")
    except OSError as error:
        raise BundleError(f"{FILE_NAME} cannot be read: {error.strerror}") from None


def _describe(name: str, path: Path) -> InstalledModel:
    try:
        bundle = _read(path)
    except BundleError as error:
        return InstalledModel(name, path, None, {}, 0, 0, str(error))
    total = shared = 0
    problem = None
    for file in bundle.files():
        try:
            found = bundle.resolve(file).stat()
        except (OSError, BundleError) as error:
            problem = f"{file.path} is missing" if isinstance(error, OSError) else str(error)
            continue
        total += found.st_size
        shared += found.st_size if found.st_nlink > 1 else 0
        if found.st_size != file.bytes:
            problem = f"{file.path} has {found.st_size} bytes, not {file.bytes}"
    precisions: dict[str, set[str]] = {}
    for graph in bundle.manifest.graphs.values():
        for format, artifact in graph.artifacts.items():
            precisions.setdefault(format, set()).add(artifact.precision)
    joined = {format: "+".join(sorted(names)) for format, names in precisions.items()}
    return InstalledModel(name, path, bundle.manifest.model, joined, total, shared, problem)


def _share(staged: Path) -> None:
    """Replace files that an installed model has too by hard links to its files."""
    there: dict[str, list[Path]] = {}
    for folder in (path for name, path in installed_models().items() if name != DEMO):
        try:
            bundle = _read(folder)
            for file in bundle.files():
                there.setdefault(file.sha256, []).append(bundle.resolve(file))
        except BundleError:
            continue  # broken: nothing to share
    bundle = _read(staged)
    for file in bundle.files():
        for other in there.get(file.sha256, []):
            if _link(other, bundle.resolve(file), file.sha256):
                break


def _link(existing: Path, path: Path, sha256: str) -> bool:
    """Make `path` another name of the file `existing`. Not on file systems without links, nor for damaged files."""
    temporary = path.with_name(f".{path.name}.link")
    try:
        if sha256_of(existing) != sha256:
            return False
        os.link(existing, temporary)
        temporary.replace(path)
    except OSError:
        return False  # two files with the same content: more disk, no less right
    finally:
        temporary.unlink(missing_ok=True)
    return True
