"""Which bundle a model's name stands for."""

from pathlib import Path

from platformdirs import user_data_path

from sa3_edge.errors import RequestError
from sa3_edge.manifest import FILE_NAME

DEMO = "demo"
DEFAULT = "small-music"


def models_folder() -> Path:
    """Where bundles are installed: one folder a model, in the platform's data directory."""
    return user_data_path("sa3-edge", appauthor=False) / "models"


def installed_models() -> dict[str, Path]:
    """Installed bundles and the demo, by name."""
    folder = models_folder()
    found = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{FILE_NAME}"))}
    return {**found, DEMO: Path(__file__).parent / "demo"}


def resolve_model(name_or_path: str) -> Path:
    """The bundle's folder for an installed model's name or a path. Raises RequestError for neither."""
    installed = installed_models()
    if name_or_path in installed:
        return installed[name_or_path]
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    if name_or_path == DEFAULT:
        raise RequestError(
            f"the model {DEFAULT} is not installed. Download its checkpoint, then:\n"
            f"  sa3-edge export CHECKPOINT_FOLDER --out {models_folder() / DEFAULT}\n"
            f"To hear that all works, without a download: --model {DEMO} (untrained, makes noise)"
        )
    raise RequestError(
        f"no model is called {name_or_path!r} and no bundle lies there; installed: {', '.join(sorted(installed))}"
    )
