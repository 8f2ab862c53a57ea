"""A checkpoint in the layout of the optimized repository, tiny, with config and tokenizer beside it."""

import shutil
from pathlib import Path

from tests.conftest import DATA


def optimized_folder(path: Path) -> Path:
    shutil.copytree(DATA / "tiny_optimized", path)
    shutil.copytree(DATA / "tiny" / "t5gemma-b-b-ul2", path / "t5gemma-b-b-ul2")
    (path / "t5gemma-b-b-ul2" / "model.safetensors").unlink()
    shutil.copy(DATA / "tiny" / "model_config.json", path)
    return path
