"""The examples in runtimes/README.md, which host authors test against, are what this host computes."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa3_edge import GenerationRequest, Pipeline
from sa3_edge.generation.lengths import plan_lengths
from sa3_edge.generation.noise import NoiseStream
from sa3_edge.generation.sampling import schedule
from sa3_edge.generation.tiling import plan_tiles
from sa3_edge.generation.tokenizer import Tokenizer
from sa3_edge.manifest import Manifest
from sa3_edge.models.catalog import DEMO, resolve_model

CONTRACT = Path(__file__).parents[2] / "runtimes" / "README.md"


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    (block,) = re.findall(r"```json\n(.*?)```", CONTRACT.read_text(encoding="utf-8"), re.DOTALL)
    parsed: dict[str, Any] = json.loads(block)
    return parsed


@pytest.fixture(scope="module")
def demo() -> Manifest:
    return Pipeline.load(resolve_model(DEMO)).bundle.manifest


def test_noise(examples: dict[str, Any]) -> None:
    stream = NoiseStream(examples["noise"][0]["seed"])
    for example in examples["noise"]:
        drawn = stream.normal((example["count"],))
        assert drawn[:4] == pytest.approx(example["first"], abs=1e-6)
        assert drawn[-4:] == pytest.approx(example["last"], abs=1e-6)


def test_schedule(examples: dict[str, Any], demo: Manifest) -> None:
    for example in examples["schedule"]:
        computed = schedule(example["steps"], demo.sampler.logsnr_start, demo.sampler.logsnr_end)
        assert computed == pytest.approx(example["t"], abs=1e-6)


def test_lengths(examples: dict[str, Any], demo: Manifest) -> None:
    for example in examples["lengths"]:
        planned = plan_lengths(example["seconds"], example["headroom"], demo)
        assert (planned.samples, planned.valid, planned.allocated) == (
            example["samples"],
            example["valid"],
            example["allocated"],
        )


def test_tiles(examples: dict[str, Any], demo: Manifest) -> None:
    for example in examples["tiles"]:
        planned = plan_tiles(example["wanted"], example["available"], demo.tiles.decoder)
        assert [[t.start, t.stop, t.keep_start, t.keep_stop] for t in planned] == example["tiles"]


def test_demo_run(examples: dict[str, Any], demo: Manifest) -> None:
    example = examples["demo"]
    path = resolve_model(DEMO)
    ids, cut = Tokenizer(path / demo.text.tokenizer.path, demo.text.max_tokens).encode(example["prompt"])
    assert (ids, cut) == (example["ids"], 0)
    made = Pipeline.load(path).generate(GenerationRequest(example["prompt"], example["seconds"], example["seed"]))
    assert list(made.latents.shape) == example["latents_shape"]
    assert made.audio.shape[-1] == example["samples"]
    expected = np.array(example["latents_channel_0"])
    assert np.linalg.norm(made.latents[0, 0, :4] - expected) < 1e-3 * np.linalg.norm(expected)


def test_every_field_and_tensor_is_described(demo: Manifest) -> None:
    text = CONTRACT.read_text(encoding="utf-8")
    named = {
        field
        for struct in (demo.model, demo.audio, demo.text, demo.sampler, demo.tiles, demo.tiles.decoder)
        for field in struct.__struct_encode_fields__
    }
    named |= set(demo.__struct_encode_fields__) - {"graphs", "model", "audio", "text", "sampler", "tiles"}
    named |= {tensor.name for graph in demo.graphs.values() for tensor in graph.inputs}
    missing = {name for name in named if not re.search(rf"[`.]{name}`", text)}
    # The conditioner's outputs are passed on by name; a host need not know them.
    missing -= {tensor.name for tensor in demo.graphs["conditioner"].outputs}
    assert missing == set()
