"""The ONNX Runtime engines: which onnxruntime they take, what they ask of it, where Core ML is one of its providers."""

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from sa3_edge.bundle import Bundle
from sa3_edge.engines import TAKE_COMPUTE_UNITS, EngineOptions, create_engine
from sa3_edge.engines.libraries import load_onnxruntime
from sa3_edge.errors import EngineError, Remedy, RequestError
from sa3_edge.models.catalog import DEMO, resolve_model
from tests.conftest import RunCli

ort = load_onnxruntime()

CORE_ML, CPU = "CoreMLExecutionProvider", "CPUExecutionProvider"
Install = Callable[[str, str], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make it look as if only this distribution had brought the module `onnxruntime`."""

    def stand_in(distribution: str, version: str) -> None:
        def installed(name: str) -> str:
            if name != distribution:
                raise metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr("sa3_edge.engines.onnxruntime.metadata.version", installed)
        monkeypatch.setattr(ort, "__version__", version)

    return stand_in


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An onnxruntime with Core ML; what sessions ask for is kept here, and run on the CPU."""
    asked: list[Any] = []
    real = ort.InferenceSession

    def session(path: Path, options: Any, providers: list[Any], *, enable_fallback: bool) -> Any:
        assert not enable_fallback, "what fails on Core ML must not go on silently on the CPU"
        asked.append(providers)
        return real(path, options, [CPU])

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CORE_ML, CPU])
    monkeypatch.setattr(ort, "InferenceSession", session)
    return asked


def _demo() -> Bundle:
    return Bundle.load(resolve_model(DEMO))


def test_the_default_runs_on_the_cpu_and_says_what_is_installed(requested: list[Any]) -> None:
    engine = create_engine("onnxruntime", EngineOptions())
    engine.load(_demo(), "decoder")
    assert requested == [[CPU]]
    assert engine.describe() == f"onnxruntime {ort.__version__} on the CPU"


def test_another_distribution_is_named(install: Install) -> None:
    install("onnxruntime-gpu", "1.30.0")
    assert create_engine("onnxruntime", EngineOptions()).describe() == "onnxruntime-gpu 1.30.0 on the CPU"


@pytest.mark.parametrize(
    ("distribution", "version"),
    [
        ("onnxruntime", "1.22.1"),
        ("onnxruntime", "1.24.3"),  # reads weights from any file that a graph names
        ("onnxruntime-silicon", "1.16.3"),
    ],
)
def test_an_onnxruntime_that_cannot_read_the_graphs_is_named(install: Install, distribution: str, version: str) -> None:
    install(distribution, version)
    with pytest.raises(EngineError) as caught:
        create_engine("onnxruntime", EngineOptions())
    message = str(caught.value)
    assert message.startswith(f"{distribution} {version} is too old for a bundle's graphs, 1.24.4 or newer")
    assert caught.value.remedy == Remedy("replace package", (distribution, "onnxruntime>=1.24.4"))
    assert "\n" not in message


@pytest.mark.parametrize("version", ["1.24.4", "1.100.0.dev20271101", "2.0.0"])
def test_newer_ones_are_taken(install: Install, version: str) -> None:
    install("onnxruntime", version)
    assert version in create_engine("onnxruntime", EngineOptions()).describe()


@pytest.mark.parametrize(
    ("units", "asked"),
    [
        (None, "ALL"),
        ("all", "ALL"),
        ("cpu_and_ne", "CPUAndNeuralEngine"),
        ("cpu_and_gpu", "CPUAndGPU"),
        ("cpu_only", "CPUOnly"),
    ],
)
def test_core_ml_comes_before_the_cpu(requested: list[Any], units: str | None, asked: str) -> None:
    bundle = _demo()
    engine = create_engine("onnxruntime-coreml", EngineOptions(compute_units=units))
    latents = np.ones((1, bundle.manifest.audio.latent_channels, 2), np.float32)
    engine.load(bundle, "decoder").run({"latents": latents})
    (((provider, options), fallback),) = requested
    cache = Path(options.pop("ModelCacheDirectory"))
    assert (provider, fallback) == (CORE_ML, CPU)
    assert options == {"ModelFormat": "MLProgram", "MLComputeUnits": asked, "RequireStaticInputShapes": "0"}
    assert cache.is_dir()
    assert engine.describe().endswith(f"compute units {units or 'all'}")


def test_what_core_ml_keeps_is_for_the_same_graph_and_onnxruntime(requested: list[Any], install: Install) -> None:
    bundle = _demo()

    def cache(bundle: Bundle) -> str:
        create_engine("onnxruntime-coreml", EngineOptions()).load(bundle, "decoder")
        folder: str = requested[-1][0][1]["ModelCacheDirectory"]
        return folder

    first = cache(bundle)
    assert cache(bundle) == first
    decoder = bundle.manifest.graphs["decoder"]
    onnx = decoder.artifacts["onnx"]
    *others, weights = onnx.files
    changed = msgspec.structs.replace(onnx, files=[*others, msgspec.structs.replace(weights, sha256="0" * 64)])
    graphs = {"decoder": msgspec.structs.replace(decoder, artifacts={"onnx": changed})}
    manifest = msgspec.structs.replace(bundle.manifest, graphs=graphs)
    assert cache(Bundle(bundle.path, manifest, "changed")) != first
    install("onnxruntime", "1.99.0")
    assert cache(bundle) != first


def test_without_core_ml_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    monkeypatch.setattr("sa3_edge.engines.onnxruntime.platform.system", lambda: "Linux")
    with pytest.raises(EngineError, match=r"on Linux has no CoreMLExecutionProvider") as caught:
        create_engine("onnxruntime-coreml", EngineOptions())
    assert caught.value.remedy == Remedy("choose engine", ("onnxruntime",))


def test_core_ml_needs_a_newer_onnxruntime(requested: list[Any], install: Install) -> None:
    install("onnxruntime", "1.27.0")
    with pytest.raises(EngineError, match=r"1\.27\.0 is too old for Core ML .*1\.28\.0 or newer"):
        create_engine("onnxruntime-coreml", EngineOptions())
    create_engine("onnxruntime", EngineOptions())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "openvino-bf16"])
def test_an_engine_without_compute_units_refuses_them(run_cli: RunCli, tmp_path: Path, engine: str) -> None:
    made = tmp_path / "x.wav"
    code, _, err = run_cli("generate", "x", "-m", DEMO, "-o", made, "--engine", engine, "--compute-units", "cpu_and_ne")
    assert code == 2
    assert f"compute units (cpu_and_ne) are for the engines coreml and onnxruntime-coreml, {engine} has none" in err
    assert not made.exists()


def test_unknown_compute_units_list_the_choices(requested: list[Any]) -> None:
    assert "onnxruntime-coreml" in TAKE_COMPUTE_UNITS
    with pytest.raises(RequestError, match="unknown compute units 'gpu'; choose all or cpu_and_ne"):
        create_engine("onnxruntime-coreml", EngineOptions(compute_units="gpu"))
