"""Every published config is read without a question, and fits the published names and shapes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sa3_export import CheckpointError
from sa3_export.checkpoints.published import expected_shapes
from sa3_export.checkpoints.synthetic import SIZES, model_config
from sa3_export.config.model import read_model_config
from sa3_export.config.section import Reading
from sa3_export.errors import ConfigValueError
from tests.conftest import DATA

CONFIGS = sorted((DATA / "published_configs").glob("*.json"))
SMALL = DATA / "published_configs" / "small-music.json"


def test_there_are_configs_to_read() -> None:
    assert {path.stem for path in CONFIGS} == {"medium", "medium-base", "small-music", "small-music-base"}


# Tensors, millions of parameters of the transformer and of the autoencoder.
_PUBLISHED = {"small": (685, 459.13, 108.24), "medium": (997, 1453.17, 852.13)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_published_model_has_exactly_the_tensors_that_the_modules_expect(path: Path) -> None:
    size = path.stem.partition("-")[0]
    published = json.loads((DATA / f"{size}_checkpoint_keys.json").read_text())
    reading = Reading()
    config = read_model_config(path, reading)
    assert reading.unknown == []
    shapes = expected_shapes(config)
    assert shapes == {name: tuple(shape) for name, shape in published.items()}
    parameters = {
        prefix: sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefix)) / 1e6
        for prefix in ("model.", "pretransform.")
    }
    assert (len(shapes), *(round(millions, 2) for millions in parameters.values())) == _PUBLISHED[size]
    assert config.objective == ("rectified_flow" if "base" in path.name else "rf_denoiser")


@pytest.mark.parametrize(("name", "frames"), [("small-music", 1292), ("small-music-base", 1300), ("medium", 4096)])
def test_the_longest_pass_is_the_configs_own(name: str, frames: int) -> None:
    assert read_model_config(DATA / "published_configs" / f"{name}.json").max_frames == frames


@pytest.mark.parametrize(("size", "name"), [("small", "small-music"), ("medium", "medium")])
def test_synthetic_checkpoints_carry_the_published_keys(size: str, name: str) -> None:
    published = json.loads((DATA / "published_configs" / f"{name}.json").read_text())
    assert model_config(SIZES[size]) == published


def _keys(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {path} | {key for name, inner in value.items() for key in _keys(inner, f"{path}.{name}")}
    if isinstance(value, list):
        return {path} | {key for index, inner in enumerate(value) for key in _keys(inner, f"{path}.{index}")}
    return {path}


@pytest.mark.parametrize("name", ["tiny"])
def test_tests_and_synthetic_sizes_have_the_keys_of_the_published_files(name: str) -> None:
    published = _keys(json.loads(SMALL.read_text()))
    assert _keys(json.loads((DATA / name / "model_config.json").read_text())) == published
    assert _keys(model_config(SIZES[name])) == published


def _renamed(tmp_path: Path, value: str = "taae_v3") -> Path:
    config = json.loads(SMALL.read_text())
    config["model"]["pretransform"]["config"]["decoder"]["type"] = value
    (tmp_path / "model_config.json").write_text(json.dumps(config))
    return tmp_path / "model_config.json"


def test_a_value_that_is_not_known_is_refused_and_says_what_would_accept_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigValueError, match=r'decoder\.type is "taae_v3"; only "taae_v2" is computed') as caught:
        read_model_config(_renamed(tmp_path))
    assert caught.value.accept == "model.pretransform.config.decoder.type=taae_v3"


@pytest.mark.parametrize("quote", ["", '"'])
def test_an_accepted_value_is_read_as_the_usual_one(tmp_path: Path, quote: str) -> None:
    accepted = f"model.pretransform.config.decoder.type={quote}taae_v3{quote}"
    reading = Reading([accepted])
    assert read_model_config(_renamed(tmp_path), reading) == read_model_config(SMALL)
    reading.close()


@pytest.mark.parametrize("entry", ["model.pretransform.config.decoder.type=taae_v4", "model.type=x", "nonsense"])
def test_accepting_what_no_config_holds_is_an_error(tmp_path: Path, entry: str) -> None:
    reading = Reading([entry])
    read_model_config(SMALL, reading)
    with pytest.raises(CheckpointError, match="was accepted, but nothing"):
        reading.close()
