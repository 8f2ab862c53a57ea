"""Checkpoints of strangers: what is no file, is nested, or asks for sizes beyond reason is refused in words."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from sa3_edge.adapters.lora_files import _check_pattern
from sa3_edge.errors import AdapterError
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.errors import CheckpointError

_TEXT = "t5gemma-b-b-ul2"
_FILES = ("model_config.json", f"{_TEXT}/config.json", f"{_TEXT}/tokenizer.json")
_DIT, _CODEC = ("model", "diffusion", "config"), ("model", "pretransform", "config", "decoder", "config")


@pytest.fixture(scope="module")
def shared(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("untrusted") / "tiny"))


@pytest.fixture
def copy(shared: Path, tiny_checkpoint: Path) -> Path:
    for name in _FILES:
        (shared / name).unlink(missing_ok=True)
        shutil.copy(tiny_checkpoint / name, shared / name)
    return shared


@pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs and devices")
@pytest.mark.parametrize("name", _FILES)
def test_fifos_and_devices_are_never_waited_for(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(CheckpointError, match="not a regular file"):
        Checkpoint(copy)
    (copy / name).unlink()
    (copy / name).symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="not a regular file"):
        Checkpoint(copy)


@pytest.mark.parametrize("name", _FILES)
@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 900 + "1" + "}" * 900, '{"x": ' + "9" * 5000 + "}"])
def test_deep_and_endless_json_is_refused(copy: Path, name: str, content: str) -> None:
    (copy / name).write_text(content)
    with pytest.raises(CheckpointError):
        Checkpoint(copy)


@pytest.mark.skipif(sys.platform == "win32", reason="needs sparse files")
def test_a_config_of_gigabytes_is_not_read(copy: Path) -> None:
    with (copy / "model_config.json").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(CheckpointError, match="more than"):
        Checkpoint(copy)


@pytest.mark.parametrize(
    ("name", "keys", "value"),
    [
        ("model_config.json", (*_DIT, "depth"), 10**9),
        ("model_config.json", (*_DIT, "depth"), 1000),
        ("model_config.json", (*_DIT, "embed_dim"), 10**400),
        ("model_config.json", (*_DIT, "ff_kwargs"), {"mult": 1e308}),
        ("model_config.json", (*_DIT, "ff_kwargs"), {"mult": -4}),
        ("model_config.json", ("sample_size",), 10**40),
        ("model_config.json", (*_CODEC, "strides"), [0]),
        ("model_config.json", (*_CODEC, "c_mults"), [-1]),
        ("model_config.json", (*_CODEC, "transformer_depths"), [10**6]),
        ("model_config.json", (*_CODEC, "ff_mult"), 10**400),
        ("model_config.json", (*_CODEC, "ff_mult"), float("nan")),
        (f"{_TEXT}/config.json", ("encoder", "num_hidden_layers"), 10**6),
        (f"{_TEXT}/config.json", ("encoder", "rope_theta"), float("inf")),
    ],
)
def test_numbers_beyond_reason_are_refused_by_name(copy: Path, name: str, keys: tuple[str, ...], value: object) -> None:
    config: Any = json.loads((copy / name).read_text())
    place = config
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (copy / name).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=keys[-1]):
        Checkpoint(copy)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*a){20}", "a?" * 30, "(a|a)" * 20, ".*" * 5, "(?=a)b", "x" * 2000])
def test_patterns_that_could_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(AdapterError, match="too intricate"):
        _check_pattern("rank_pattern", pattern)


@pytest.mark.parametrize("pattern", ["to_qkv", r"layers\.\d+\.self_attn\.to_\w+", "^model.layers.3.q|k", r"(q|k)_proj"])
def test_patterns_that_people_write_are_read(pattern: str) -> None:
    _check_pattern("rank_pattern", pattern)
