"""The Core ML engine on any system: which function, filled up and masked how, compiled and loaded when."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from sa3_edge import manifest as m
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, create_engine
from sa3_edge.engines.coreml.engine import CoreMLEngine, CoreMLSession
from sa3_edge.errors import EngineError, RequestError
from sa3_edge.models.catalog import DEMO, resolve_model

Arrays = Mapping[str, NDArray[Any]]
MEMORY, CHANNELS = 2, 3
F32 = np.float32


def _tensor(name: str, *shape: int | str, dtype: m.Dtype = "float16") -> m.Tensor:
    return m.Tensor(name=name, dtype=dtype, shape=list(shape))


def _input(name: str, *shape: int | str, dtype: m.Dtype = "float16", pad: m.Pad = "zeros") -> m.PackageInput:
    per: m.Per = "step" if name in {"x", "t"} else "run"
    return m.PackageInput(name=name, dtype=dtype, shape=list(shape), pad=pad, per=per)


_PADS: dict[str, m.Pad] = {"key_bias": "mask", "local_embed": "repeat_last"}
_INPUTS = (
    ("x", (1, CHANNELS, "frames")),
    ("t", (1,)),
    ("cross_k", (2, 1, 4, "keys")),
    ("local_embed", (2, "rows", 4)),
    ("key_bias", ("keys",)),
)
DENOISER = m.Graph(
    description="",
    inputs=[_tensor(name, *shape, dtype="float32") for name, shape in _INPUTS],
    outputs=[_tensor("velocity", 1, CHANNELS, "frames", dtype="float32")],
    artifacts={},
)
PACKAGE = m.Artifact(
    files=[],
    precision="fp16",
    parity=[],
    inputs=[
        *(
            _input(name, *shape, dtype="float32" if name == "t" else "float16", pad=_PADS.get(name, "zeros"))
            for name, shape in _INPUTS
        ),
        _input("frame_bias", 1, "frames", pad="mask"),
    ],
    functions={f"frames_{n}": {"frames": n, "keys": 6, "rows": MEMORY + n} for n in (16, 8)},
    compute_units="cpu_and_ne",
)


class Recorder:
    """Stands in for a loaded function; remembers what it was given and answers with x, in fp16."""

    def __init__(self) -> None:
        self.calls: list[dict[str, NDArray[Any]]] = []

    def predict(self, inputs: Arrays) -> Arrays:
        self.calls.append(dict(inputs))
        return {"velocity": np.asarray(inputs["x"], np.float16)}


class Loader:
    def __init__(self) -> None:
        self.functions: dict[str, Recorder] = {}

    def __call__(self, function: str) -> Recorder:
        assert function not in self.functions, "a function is loaded once"
        self.functions[function] = Recorder()
        return self.functions[function]


def _inputs(frames: int, keys: int = 4, rows: int = MEMORY + 1) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(frames)
    return {
        "x": rng.standard_normal((1, CHANNELS, frames), F32),
        "t": np.array([0.63], F32),
        "cross_k": rng.standard_normal((2, 1, 4, keys), F32),
        "local_embed": rng.standard_normal((2, rows, 4), F32),
        "key_bias": np.zeros(keys, F32),
    }


def _session(units: m.ComputeUnits, loader: Loader) -> CoreMLSession:
    return CoreMLSession("denoiser", DENOISER, PACKAGE, MEMORY, units, loader)


@pytest.mark.parametrize(
    ("units", "frames", "function"),
    [
        ("cpu_and_ne", 1, "frames_8"),
        ("cpu_and_ne", 8, "frames_8"),
        ("cpu_and_ne", 9, "frames_16"),
        ("all", 16, "frames_16"),
        ("cpu_and_ne", 17, "main"),
        ("cpu_and_gpu", 8, "main"),
        ("cpu_only", 9, "main"),
    ],
)
def test_a_length_runs_on_the_next_larger_function(units: m.ComputeUnits, frames: int, function: str) -> None:
    loader = Loader()
    session = _session(units, loader)
    for _ in range(2):
        velocity = session.run(_inputs(frames))["velocity"]
    assert list(loader.functions) == [function]
    assert velocity.shape == (1, CHANNELS, frames)
    assert velocity.dtype == F32
    np.testing.assert_allclose(velocity, _inputs(frames)["x"], rtol=1e-3)


def test_padding_is_masked() -> None:
    loader = Loader()
    inputs = _inputs(5)
    _session("cpu_and_ne", loader).run(inputs)
    (given,) = loader.functions["frames_8"].calls
    assert {name: (array.shape, array.dtype.name) for name, array in given.items()} == {
        "x": ((1, CHANNELS, 8), "float16"),
        "t": ((1,), "float32"),
        "cross_k": ((2, 1, 4, 6), "float16"),
        "local_embed": ((2, MEMORY + 8, 4), "float16"),
        "key_bias": ((6,), "float16"),
        "frame_bias": ((1, 8), "float16"),
    }
    assert given["frame_bias"].tolist() == [[0] * 5 + [-30000] * 3]
    assert given["key_bias"].tolist() == [0] * 4 + [-30000] * 2
    assert not given["x"][:, :, 5:].any()
    assert not given["cross_k"][..., 4:].any()


@pytest.mark.parametrize("units", ["cpu_and_ne", "cpu_and_gpu"])
def test_one_local_embedding_stands_for_all_frames(units: m.ComputeUnits) -> None:
    loader = Loader()
    inputs = _inputs(5, rows=MEMORY + 1)
    _session(units, loader).run(inputs)
    ((_, recorder),) = loader.functions.items()
    rows = recorder.calls[0]["local_embed"]
    assert rows.shape[1] == MEMORY + (8 if units == "cpu_and_ne" else 5)
    last = inputs["local_embed"][:, -1:].astype(np.float16)
    assert (rows[:, MEMORY:] == last).all()


def test_inputs_of_a_run_are_cast_and_padded_once_a_run() -> None:
    loader = Loader()
    session = _session("cpu_and_ne", loader)
    first, second = _inputs(5), _inputs(6)
    session.run(first)
    session.run({**first, "x": first["x"] + 1, "t": first["t"] / 2})
    session.run(second)
    one, two, three = loader.functions["frames_8"].calls
    assert two["cross_k"] is one["cross_k"]
    assert two["local_embed"] is one["local_embed"]
    assert not np.array_equal(two["x"], one["x"])
    np.testing.assert_array_equal(three["cross_k"][..., :4], second["cross_k"].astype(np.float16))
    longer = _inputs(12)
    session.run({**second, "x": longer["x"]})
    assert loader.functions["frames_16"].calls[0]["local_embed"].shape[1] == MEMORY + 16


def test_a_graph_without_a_mask_runs_on_a_fixed_function_only_when_it_fits_exactly() -> None:
    decoder = m.Graph(
        description="",
        inputs=[_tensor("latents", 1, CHANNELS, "frames", dtype="float32")],
        outputs=[_tensor("velocity", 1, CHANNELS, "frames", dtype="float32")],
        artifacts={},
    )
    package = m.Artifact(files=[], precision="fp32", parity=[], inputs=[], functions={"frames_40": {"frames": 40}})
    used = []

    class Echo:
        def predict(self, inputs: Arrays) -> Arrays:
            return {"velocity": inputs["latents"]}

    def load(function: str) -> Echo:
        used.append(function)
        return Echo()

    session = CoreMLSession("decoder", decoder, package, 0, "cpu_and_ne", load)
    for frames in (36, 40):
        session.run({"latents": np.ones((1, CHANNELS, frames), F32)})
    assert used == ["main", "frames_40"]


def test_the_dynamic_function_gets_a_row_for_each_memory_token_and_frame_without_any_fixed_one() -> None:
    loader = Loader()
    package = msgspec.structs.replace(PACKAGE, functions={})
    CoreMLSession("denoiser", DENOISER, package, MEMORY, "cpu_and_gpu", loader).run(_inputs(5))
    (given,) = loader.functions["main"].calls
    assert given["local_embed"].shape == (2, MEMORY + 5, 4)


def test_an_input_of_another_rank_is_named() -> None:
    session = _session("cpu_and_ne", Loader())
    with pytest.raises(EngineError, match=r"x has the shape \(5,\)"):
        session.run({**_inputs(5), "x": np.zeros(5, F32)})


def test_misshapen_and_missing_inputs_are_named() -> None:
    session = _session("cpu_and_ne", Loader())
    with pytest.raises(EngineError, match=r"key_bias.*\(5,\)"):
        session.run({**_inputs(5), "key_bias": np.zeros(5, F32)})
    without_t = _inputs(5)
    del without_t["t"]
    with pytest.raises(EngineError, match="t, which was not given"):
        session.run(without_t)


class FakeCoreML:
    """Compiles by noting it; loads recorders."""

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.compiled: list[Path] = []
        self.loaded: list[tuple[Path, str | None, str]] = []

    def compile(self, package: Path, destination: Path) -> None:
        self.compiled.append(package)
        destination.mkdir()
        (destination / "model").write_text(str(package))

    def load(self, model: Path, function: str | None, units: m.ComputeUnits) -> Recorder:
        self.loaded.append((model, function, units))
        return Recorder()


@pytest.fixture
def make_bundle(tmp_path: Path) -> Any:
    def make(folder: str, content: bytes = b"weights") -> Bundle:
        """A bundle with a denoiser in a package or compiled model; only what the engine reads is real."""
        demo = Bundle.load(resolve_model(DEMO)).manifest
        file = m.File(path=f"{folder}/Manifest.json", sha256=content.hex(), bytes=len(content))
        artifact = msgspec.structs.replace(PACKAGE, files=[file])
        graph = msgspec.structs.replace(DENOISER, artifacts={"coreml": artifact})
        manifest = msgspec.structs.replace(demo, graphs={"denoiser": graph})
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "Manifest.json").write_bytes(content)
        return Bundle(tmp_path, manifest, "id")

    return make


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine's cache folder, empty."""
    monkeypatch.setattr("sa3_edge.engines.cache.user_cache_path", lambda name: tmp_path / "cache")
    return tmp_path / "cache" / "engines" / "coreml"


def test_a_package_is_compiled_once_until_it_or_the_system_changes(
    make_bundle: Any, tmp_path: Path, cache: Path
) -> None:
    core_ml = FakeCoreML()
    bundle = make_bundle("denoiser.mlpackage")
    for _ in range(2):
        engine = CoreMLEngine(EngineOptions(), core_ml)
        engine.load(bundle, "denoiser").run(_inputs(5))
    assert core_ml.compiled == [tmp_path / "denoiser.mlpackage"]
    assert [path.name for path in cache.glob("*/*")] == ["denoiser.mlmodelc"]
    (model, function, units) = core_ml.loaded[0]
    assert (model.suffix, function, units) == (".mlmodelc", "frames_8", "cpu_and_ne")

    changed = make_bundle("denoiser.mlpackage", b"others")
    CoreMLEngine(EngineOptions(), core_ml).load(changed, "denoiser")
    assert len(core_ml.compiled) == 2
    newer = FakeCoreML("2")
    CoreMLEngine(EngineOptions(), newer).load(changed, "denoiser")
    assert len(newer.compiled) == 1


def test_a_compiled_model_is_used_as_it_is(make_bundle: Any, tmp_path: Path) -> None:
    core_ml = FakeCoreML()
    engine = CoreMLEngine(EngineOptions(compute_units="cpu_only"), core_ml)
    engine.load(make_bundle("denoiser.mlmodelc"), "denoiser").run(_inputs(5))
    assert core_ml.compiled == []
    assert core_ml.loaded == [(tmp_path / "denoiser.mlmodelc", "main", "cpu_only")]


def test_a_failed_compilation_leaves_nothing_in_the_cache(make_bundle: Any, cache: Path) -> None:
    class Failing(FakeCoreML):
        def compile(self, package: Path, destination: Path) -> None:
            destination.mkdir()
            raise RuntimeError("no space left")

    engine = CoreMLEngine(EngineOptions(), Failing())
    with pytest.raises(EngineError, match="no space left"):
        engine.load(make_bundle("denoiser.mlpackage"), "denoiser")
    assert list(cache.glob("*/*")) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="there, Core ML is available")
def test_elsewhere_it_says_so_in_one_line() -> None:
    with pytest.raises(EngineError) as caught:
        create_engine("coreml", EngineOptions())
    assert "macOS only" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_compute_units_list_the_choices() -> None:
    with pytest.raises(RequestError, match="cpu_and_ne"):
        CoreMLEngine(EngineOptions(compute_units="gpu"), FakeCoreML())
