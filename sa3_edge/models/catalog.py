"""Which bundle a model's name stands for."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_data_path

from sa3_edge.errors import Remedy, RequestError, did_you_mean
from sa3_edge.files import entries_of, sha256_of
from sa3_edge.manifest import FILE_NAME

DEMO = "demo"
DEFAULT = "small-music"
# What `pull` fetches, by the name it installs. The base models are what the others were distilled from.
PUBLISHED = {
    "small-music": "stabilityai/stable-audio-3-small-music",
    "small-sfx": "stabilityai/stable-audio-3-small-sfx",
    "small-music-base": "stabilityai/stable-audio-3-small-music-base",
    "small-sfx-base": "stabilityai/stable-audio-3-small-sfx-base",
    "medium": "stabilityai/stable-audio-3-medium",
    "medium-base": "stabilityai/stable-audio-3-medium-base",
}


def data_folder() -> Path:
    """The platform's data directory of sa3-edge."""
    return user_data_path("sa3-edge", appauthor=False)


def models_folder() -> Path:
    """Where bundles are installed: one folder a model, in the platform's data directory."""
    return data_folder() / "models"


def installed_models() -> dict[str, Path]:
    """Installed bundles and the demo, by name."""
    folder = models_folder()
    found = {path.name: path for path in entries_of(folder) if os.path.lexists(path / FILE_NAME)}
    return {**found, DEMO: Path(__file__).parents[1] / "demo"}


def of_bundle(bundle_id: str, folders: Iterable[Path]) -> Path | None:
    """The first of some folders that holds the bundle with this id, the SHA-256 of its manifest."""
    manifests = (folder / FILE_NAME for folder in folders)
    return next((path.parent for path in manifests if path.is_file() and sha256_of(path) == bundle_id), None)


def resolve_model(name_or_path: str) -> Path:
    """The bundle's folder for an installed model's name or a path. Raises RequestError for neither."""
    installed = installed_models()
    if name_or_path in installed:
        return installed[name_or_path]
    with suppress(OSError, RuntimeError, ValueError):  # a name that is too long, nobody's home, a NUL
        path = Path(name_or_path).expanduser()
        if path.is_dir():
            return path
    raise _not_installed(name_or_path, sorted(installed.keys() - {DEMO}))


def _not_installed(name: str, installed: list[str]) -> RequestError:
    if name not in PUBLISHED:
        meant = did_you_mean(name, (*installed, *PUBLISHED, DEMO))
        return RequestError(
            f"no model is called {name!r} and no bundle lies there{meant}",
            remedy=Remedy("choose model", tuple(installed)),
        )
    # The default is never another model than the documented one because of what happens to be installed: the same
    # command would make other music on another machine.
    return RequestError(f"the model {name} is not installed", remedy=Remedy("pull model", (name, *installed)))
