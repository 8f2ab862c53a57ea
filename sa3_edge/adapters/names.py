"""Adapters that have a name: each in a folder of it in the user's data, as one file that is called the same."""

from pathlib import Path

from platformdirs import user_data_path

from sa3_edge.files import entries_of

SUFFIX = ".safetensors"
PEFT_CONFIG = "adapter_config.json"  # beside a file in PEFT's layout


def adapters_folder() -> Path:
    """Where they are: in the platform's data directory."""
    return user_data_path("sa3-edge", appauthor=False) / "adapters"


def installed_adapters() -> dict[str, Path]:
    """Their files by name, in the names' order."""
    folders = (path for path in entries_of(adapters_folder()) if not path.name.startswith("."))
    files = {folder.name: folder / f"{folder.name}{SUFFIX}" for folder in folders}
    return {name: file for name, file in files.items() if file.is_file()}
