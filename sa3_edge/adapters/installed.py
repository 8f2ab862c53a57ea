"""Giving adapters names, and taking them away again."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sa3_edge.adapters.lora_files import Summary, summarize
from sa3_edge.adapters.names import PEFT_CONFIG, SUFFIX, adapters_folder, installed_adapters
from sa3_edge.errors import AdapterError, RequestError, Sa3Error, did_you_mean
from sa3_edge.files import put_in_place, unfinished_folder

_NAME = re.compile(r"\w[\w.\-]{0,63}")  # no colon, before which a strength ends it; no slash
_PEFT_FILE = "adapter_model"  # what PEFT calls every adapter


@dataclass(frozen=True)
class InstalledAdapter:
    """An adapter that has a name. `problem` says what is wrong with one that cannot be read."""

    name: str
    path: Path
    bytes: int
    summary: Summary | None
    problem: str | None = None


def list_adapters() -> list[InstalledAdapter]:
    """All of them, whole or broken."""
    return [_describe(name, path) for name, path in installed_adapters().items()]


def _describe(name: str, path: Path) -> InstalledAdapter:
    size = path.stat().st_size
    try:
        return InstalledAdapter(name, path, size, summarize(path))
    except AdapterError as error:
        return InstalledAdapter(name, path, size, None, str(error))


def add(path: Path, name: str | None = None, *, overwrite: bool = False) -> InstalledAdapter:
    """Copy an adapter under a name: the file's, or its folder's where PEFT named the file.

    Raises AdapterError for what is none, RequestError for a name that cannot be or is taken, Sa3Error if it cannot be
    written.
    """
    if path.is_dir():
        raise RequestError(f"{path} is a folder; name the {SUFFIX} file in it")
    if path.suffix.lower() != SUFFIX or not path.is_file():
        raise RequestError(f"{path} is no {SUFFIX} file")
    name = name or (path.absolute().parent.name if path.stem == _PEFT_FILE else path.stem)
    if not _NAME.fullmatch(name):
        raise RequestError(f"{name!r} cannot be an adapter's name: letters, digits, . _ and -; give one with `name`")
    if name in installed_adapters() and not overwrite:
        raise RequestError(f"there is an adapter {name} already; give another `name`, or replace it with `overwrite`")
    summary = summarize(path)
    folder = adapters_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(folder) as unfinished:
            new = unfinished / "new"
            new.mkdir()
            shutil.copyfile(path, new / f"{name}{SUFFIX}")
            config = path.with_name(PEFT_CONFIG)
            if config.is_file():
                shutil.copyfile(config, new / PEFT_CONFIG)
            put_in_place(new, folder / name)
    except OSError as error:
        raise Sa3Error(f"adapters cannot be kept in {folder}: {error.strerror or error}") from error
    file = installed_adapters()[name]
    return InstalledAdapter(name, file, file.stat().st_size, summary)


def remove(name: str) -> None:
    """Raises RequestError for an unknown name, Sa3Error if it cannot be deleted."""
    names = installed_adapters()
    if name not in names:
        raise RequestError(f"no adapter is called {name!r}{did_you_mean(name, names)}")
    try:
        shutil.rmtree(names[name].parent)
    except OSError as error:
        raise Sa3Error(f"{name} cannot be removed: {error.strerror or error}") from error
