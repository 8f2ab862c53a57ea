"""The scripts in tests/data make what lies beside them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import DATA
from tests.goldens import write_checkpoint


def test_the_tiny_checkpoint_is_made_bit_for_bit(tmp_path: Path) -> None:
    made = write_checkpoint("tiny", tmp_path / "made")
    weights = "model.safetensors"
    assert (made / weights).read_bytes() == (DATA / "tiny" / weights).read_bytes()
    for path in made.rglob("*.json"):
        assert path.read_bytes() == (DATA / "tiny" / path.relative_to(made)).read_bytes()


@pytest.mark.parametrize("name", ["dit_sm-music_f16", "same_s_decoder_f32", "same_s_encoder_f32", "t5gemma_f16"])
def test_the_optimized_layout_is_made_again(name: str, optimized: Path) -> None:
    made, kept = (
        np.load(folder / f"{name}.npz", allow_pickle=False) for folder in (optimized, DATA / "tiny_optimized")
    )
    assert set(made.files) == set(kept.files) - {"TOKENIZER_MODEL"}
    for key in made.files:
        assert made[key].dtype == kept[key].dtype, key
        if key in {"mapping.weight", "rope_inv_freq"}:  # computed, so the last bit is the processor's
            np.testing.assert_allclose(made[key], kept[key], rtol=3e-7)
        else:
            assert np.array_equal(made[key], kept[key]), key


@pytest.fixture(scope="module")
def optimized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimized")
    subprocess.run([sys.executable, DATA / "optimized.py", folder], check=True)
    return folder


def test_the_readme_says_what_made_everything_that_lies_here() -> None:
    described = (DATA / "README.md").read_text(encoding="utf-8")
    for path in DATA.iterdir():
        if path.name not in {"README.md", "__pycache__"}:
            assert re.search(rf"\b{re.escape(path.name)}\b", described), path.name
