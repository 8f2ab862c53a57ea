"""OpenVINO reads the same bundle and computes the same thing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa3_edge import AudioSource, GenerationRequest, Pipeline, Variation
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, create_engine
from sa3_edge.errors import EngineError
from tests.conftest import Golden, RunCli, relative_error

pytest.importorskip("openvino", reason='openvino is not installed: pip install "sa3-edge[openvino]"')

REQUEST = GenerationRequest("lofi piano", 2.0, seed=3, steps=1)


@pytest.fixture(scope="module")
def exact(pipeline: Pipeline) -> Any:
    return pipeline.generate(REQUEST)


@pytest.mark.parametrize("name", ["t2a_5s", "t2a_1.3s_4steps", "t2a_empty"])
def test_text_to_audio_equals_the_reference(
    tiny_bundle: Path, golden: Golden, golden_arguments: dict[str, Any], name: str
) -> None:
    (run,) = [run for run in golden_arguments["runs"] if run["name"] == name]
    request = GenerationRequest(run["prompt"], run["duration"], seed=run["seed"], steps=run.get("steps"))
    made = Pipeline.load(tiny_bundle, engine="openvino").generate(request)
    valid = made.latents.shape[-1]
    assert relative_error(made.latents, golden[f"run.{name}.latents"][:, :, :valid]) < 1e-3
    if f"run.{name}.audio" in golden:
        assert relative_error(made.audio, golden[f"run.{name}.audio"][0]) < 1e-3


@pytest.mark.parametrize("frames", [2, 8, 20])
def test_autoencoder(tiny_bundle: Path, golden: Golden, frames: int) -> None:
    engine, bundle = create_engine("openvino", EngineOptions()), Bundle.load(tiny_bundle)
    audio = engine.load(bundle, "decoder").run({"latents": golden[f"decoder.L{frames}.latents"]})["audio"]
    assert relative_error(audio, golden[f"decoder.L{frames}.audio"]) < 1e-4
    source = golden[f"encoder.L{frames}.audio"].astype(np.float32)
    latents = engine.load(bundle, "encoder").run({"audio": source})["latents"]
    assert relative_error(latents, golden[f"encoder.L{frames}.latents"]) < 1e-4


@pytest.mark.parametrize("engine", ["openvino", "openvino-bf16"])
@pytest.mark.parametrize("model", ["demo", "tiny"])
def test_tensors_are_found_whatever_else_they_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, model: str, engine: str
) -> None:
    """Freshly compiled, OpenVINO's tensors have names of its own beside ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = AudioSource.from_array(np.zeros((2, 8820), np.float32), 44100)
    request = GenerationRequest("x", seed=1, steps=1, edit=Variation(source, 0.5))
    with Pipeline.load(tiny_bundle if model == "tiny" else model, engine=engine) as pipeline:
        assert pipeline.generate(request).audio.shape == (2, 8820)


def test_durations_are_divided_not_multiplied(tiny_bundle: Path) -> None:
    """Their Fourier features reach 60000 radians, so the last bit counts."""
    bundle = Bundle.load(tiny_bundle)
    sessions = [
        create_engine(name, EngineOptions()).load(bundle, "conditioner") for name in ("openvino", "onnxruntime")
    ]
    shapes = {tensor.name: tensor.shape for tensor in bundle.manifest.graphs["conditioner"].inputs}
    inputs = {
        name: np.ones([1 if isinstance(n, str) else n for n in shape], np.float32) for name, shape in shapes.items()
    }
    for seconds in np.arange(1, 120, 7.3, dtype=np.float32):
        ours, exact = (session.run({**inputs, "seconds": np.array([seconds])})["global_embed"] for session in sessions)
        assert relative_error(ours, exact) < 1e-5


def test_one_step_is_as_exact_as_onnxruntimes(tiny_bundle: Path, exact: Any) -> None:
    """Fourier features of time reach 60000 radians: a runtime that reorders their constants is off by 1e-4."""
    made = Pipeline.load(tiny_bundle, engine="openvino").generate(REQUEST)
    assert relative_error(made.latents, exact.latents) < 1e-5


_TWICE = """
import sys
from sa3_edge import GenerationRequest, Pipeline
for _ in range(2):
    Pipeline.load("demo", engine=sys.argv[1]).generate(GenerationRequest("lofi", 2.0, seed=3, steps=1))
"""


@pytest.mark.parametrize("engine", ["openvino", "openvino-bf16"])
def test_nothing_is_computed_from_memory_that_nobody_has_written(tmp_path: Path, engine: str) -> None:
    """glibc fills new memory with huge floats here; from graphs of its cache, OpenVINO 2026.4 computed NaN of them."""
    environment = {**os.environ, "MALLOC_PERTURB_": "128", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _TWICE, engine], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("engine", ["openvino", "openvino-bf16"])
def test_a_graph_that_is_compiled_again_computes_the_same(tiny_bundle: Path, engine: str) -> None:
    first, again = (Pipeline.load(tiny_bundle, engine=engine).generate(REQUEST) for _ in range(2))
    assert np.array_equal(first.latents, again.latents)
    assert np.array_equal(first.audio, again.audio)


def test_bf16_is_near(tiny_bundle: Path, exact: Any) -> None:
    made = Pipeline.load(tiny_bundle, engine="openvino-bf16").generate(REQUEST)
    assert relative_error(made.latents, exact.latents) < 10 ** (-25 / 20)


def test_int8_layers_are_computed_in_int8(int8_bundle: Path, exact: Any) -> None:
    made = Pipeline.load(int8_bundle, engine="openvino").generate(REQUEST)
    assert 1e-4 < relative_error(made.latents, exact.latents) < 10 ** (-20 / 20)


def test_a_missing_input_is_an_engine_error(tiny_bundle: Path) -> None:
    engine = create_engine("openvino", EngineOptions(threads=1))
    decoder = engine.load(Bundle.load(tiny_bundle), "decoder")
    with pytest.raises(EngineError, match="openvino failed in decoder"):
        decoder.run({"x": np.zeros((1, 16, 2), np.float32)})


def test_the_command_line_names_the_engine(run_cli: RunCli, tmp_path: Path) -> None:
    code, out, err = run_cli(
        "generate",
        "x",
        "--seconds",
        "0.5",
        "--model",
        "demo",
        "--engine",
        "openvino",
        "-o",
        tmp_path / "x.wav",
        "--json",
    )
    assert code == 0, err
    assert '"engine": "openvino' in out
