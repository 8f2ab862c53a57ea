"""Graphs and whole runs: what goes in can be made by every host, what comes out is kept as far as it must be."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from sa3_edge.bundle import Bundle
from sa3_edge.clips.options import ClipOptions
from sa3_edge.clips.request import build_request, typed_options
from sa3_edge.engines import DEFAULT_ENGINE, EngineOptions, create_engine
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.generation.request import GenerationRequest
from sa3_edge.generation.tokenizer import Tokenizer
from sa3_edge.manifest import GraphName, Tensor
from sa3_edge.models.catalog import DEMO, resolve_model
from vector_format import REPOSITORY, Made, bits, json_file, npy_file, signal

_Json = dict[str, Any]
_STRIDE = 23  # every 23rd sample of each channel is kept: no period of the codec's
_LONG_STRIDE = 101  # of clips of several seconds
_RATE = 44100
_INT8_DB = 25.0
# WebAssembly's exp and sin round otherwise: on the trained demo one graph is 1.6e-5 away, the audio of a run 86 dB.
_GRAPH_RELATIVE, _AUDIO_DB = 1e-4, 80.0
_BETWEEN_HOSTS = 1e-5

_RECORDING = {"seed": 77, "samples": 30000, "gain": 0.1}
_SHORT = {"seconds": 0.5, "steps": 4, "headroom": 0.3}
_TEXT = {"prompt": "lofi piano", "seed": 42, **_SHORT}

# name, request, recording
_RUNS: tuple[tuple[str, _Json, _Json | None], ...] = (
    ("text", {"prompt": "lofi piano", "seconds": 1.0, "seed": 42}, None),
    ("empty-prompt", {**_TEXT, "prompt": "", "seed": 2**32 - 1}, None),
    ("odd-valid", {**_TEXT, "prompt": "雨 🎹 rain", "seconds": 0.42, "headroom": 0.0}, None),
    ("two-steps", {**_TEXT, "steps": 2}, None),
    ("two-tiles", {**_TEXT, "seconds": 6.2, "steps": 2}, None),
    ("variation", {**_TEXT, "seconds": None, "noise_level": 0.6}, _RECORDING),
    ("variation-reference", {**_TEXT, "noise_level": 0.7, "schedule": "reference"}, _RECORDING),
    ("inpaint", {**_TEXT, "seconds": None, "inpaint": ["0.1:0.25", "0.4:0.401"]}, _RECORDING),
    ("inpaint-no-splice", {**_TEXT, "inpaint": [":0.2"], "splice": False}, _RECORDING),
    ("continuation", {**_TEXT, "seconds": None, "extend": 0.4}, _RECORDING),
    ("prepend", {**_TEXT, "seconds": None, "prepend": 0.3}, _RECORDING),
    ("cfg", {**_TEXT, "cfg": 3.0}, None),
    ("negative", {**_TEXT, "cfg": 4.0, "apg": 0.5, "negative_prompt": "drums"}, None),
)
_BASE_RUNS: tuple[tuple[str, _Json, _Json | None], ...] = (
    ("text", {**_TEXT, "steps": 6}, None),
    ("variation", {**_TEXT, "noise_level": 0.6, "cfg": 1.0}, _RECORDING),
)
_SOURCES = ("export", "sa3_edge", "tests/data")  # of the bundles
_TINY_RUNS = frozenset({"text", "two-tiles", "inpaint", "negative"})


def make_bundles(folder: Path) -> None:
    """The bundles that runs need beside the demo: exports of the tiny checkpoint of the tests, in two precisions."""
    from sa3_export import ExportPlan, export_bundle

    checkpoint = REPOSITORY / "tests/data/tiny"
    export_bundle(checkpoint, folder / "tiny", ExportPlan(precision="fp32"), name="tiny", overwrite=True)
    int8 = "fp32,denoiser=int8"
    export_bundle(checkpoint, folder / "tiny-int8", ExportPlan(precision=int8), name="tiny", overwrite=True)


def keep_bundles(folder: Path) -> None:
    """`make_bundles`, unless those in the folder are newer than all that they are made of."""
    sources = (path for name in _SOURCES for path in (REPOSITORY / name).rglob("*") if path.suffix != ".pyc")
    if not folder.exists() or max(path.stat().st_mtime for path in sources if path.is_file()) > folder.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        make_bundles(folder)
        folder.touch()  # only now: what was interrupted is made again


def base_bundle(source: Path, folder: Path) -> Path:
    """A copy of a bundle that says to be a base model's: sampled by Euler steps, with guidance.

    A host's test makes it the same way.
    """
    target = folder / f"{source.name}-base"
    shutil.copytree(source, target)
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    manifest["sampler"] |= {"objective": "rectified_flow", "guidance": 5.0, "steps": 6}
    (target / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return target


def as_request(request: _Json, recording: _Json | None, folder: Path) -> GenerationRequest:
    """A request's JSON as the command line would have it; the recording is a file of floats."""
    options = {key: value for key, value in request.items() if key != "prompt" and value is not None}
    if recording is not None:
        path = folder / "recording.wav"
        samples = signal(recording["seed"], (2, recording["samples"]), recording["gain"])
        soundfile.write(path, samples.T, _RATE, subtype="FLOAT")
        options["init_audio"] = str(path)
    return build_request(ClipOptions(request["prompt"], **typed_options(options)))


def run_vectors(bundles: Path) -> Made:
    """`bundles` is the folder of `make_bundles`."""
    made: Made = {}
    demo = resolve_model(DEMO)
    runs = [_run(made, "demo", Pipeline.load(demo), *run, bundles) for run in _RUNS]
    with tempfile.TemporaryDirectory() as folder:
        base = Pipeline.load(base_bundle(demo, Path(folder)))
        runs += [_run(made, "demo-base", base, *run, bundles) for run in _BASE_RUNS]
    tiny = Pipeline.load(bundles / "tiny")
    runs += [_run(made, "tiny", tiny, *run, bundles) for run in _RUNS if run[0] in _TINY_RUNS]
    made["runs.json"] = json_file(
        {
            "fp32": {"latents_relative": 1e-4, "audio_db": _AUDIO_DB},
            "between_hosts_of_one_machine": {"latents_relative": _BETWEEN_HOSTS},
            "base": {"objective": "rectified_flow", "guidance": 5.0, "steps": 6},
            "runs": runs,
        }
    )
    graphs = [_graph(made, "demo", Bundle.load(demo), name) for name in demo_graphs(demo)]
    graphs += [_graph(made, "tiny", Bundle.load(bundles / "tiny"), name) for name in demo_graphs(bundles / "tiny")]
    graphs.append(_int8_step(bundles))
    made["graphs.json"] = json_file({"fp32_relative": _GRAPH_RELATIVE, "int8_db": _INT8_DB, "cases": graphs})
    return made


def demo_graphs(path: Path) -> list[GraphName]:
    """A bundle's graphs, in the order of a run."""
    return list(Bundle.load(path).manifest.graphs)


def _run(
    made: Made, bundle: str, pipeline: Pipeline, name: str, request: _Json, recording: _Json | None, folder: Path
) -> _Json:
    request = {key: value for key, value in request.items() if value is not None} | {"limiter": False}
    result = pipeline.generate(as_request(request, recording, folder))
    stem = f"runs/{bundle}.{name}"
    made[f"{stem}.latents.npy"] = npy_file(result.latents)
    stride = _STRIDE if result.audio.shape[-1] < 2 * _RATE else _LONG_STRIDE
    made[f"{stem}.audio.npy"] = npy_file(result.audio[:, ::stride])
    text = pipeline.bundle.manifest.text
    ids, _ = Tokenizer(pipeline.bundle.resolve(text.tokenizer), text.max_tokens).encode(request["prompt"])
    return {
        "name": name,
        "bundle": bundle,
        "request": request,
        "recording": recording,
        "ids": ids,
        "seconds": result.seconds,
        "samples": result.audio.shape[-1],
        "latents": f"{stem}.latents.npy",
        "audio": f"{stem}.audio.npy",
        "audio_stride": stride,
    }


_SIZES = {"tokens": 7, "frames": 6, "local_frames": 6, "keys": 9, "rows": 1, "samples": 4 * 4096}
_FIXED: dict[str, float] = {"t": 0.63, "seconds": 30.25, "padding_scale": 1.0, "text_mask": 1.0, "key_bias": 0.0}
_GAINS = {"audio": 0.1, "cross_k": 0.1}


def _graph(made: Made, bundle_name: str, bundle: Bundle, graph: GraphName) -> _Json:
    """One graph on inputs that are made from the contract's noise."""
    described = bundle.manifest.graphs[graph]
    inputs = [_input(tensor, seed) for seed, tensor in enumerate(described.inputs, start=100)]
    session = create_engine(DEFAULT_ENGINE, EngineOptions()).load(bundle, graph)
    outputs = session.run({case["name"]: input_array(case) for case in inputs})
    kept = []
    for name, array in outputs.items():
        stride = max(1, array.size // 3000) | 1
        path = f"graphs/{bundle_name}.{graph}.{name}.npy"
        made[path] = npy_file(array.ravel()[::stride])
        kept.append({"name": name, "shape": list(array.shape), "stride": stride, "values": path})
    precision = described.artifacts["onnx"].precision
    return {"bundle": bundle_name, "graph": graph, "precision": precision, "inputs": inputs, "outputs": kept}


def _input(tensor: Tensor, seed: int) -> _Json:
    shape = [_SIZES[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
    case: _Json = {"name": tensor.name, "shape": shape}
    count = int(np.prod(shape))
    if tensor.name in _FIXED:
        return case | {"fill": bits(np.array([_FIXED[tensor.name]]))[0]}
    if tensor.dtype == "int64":
        return case | {"ids": [(index * 37 + 5) % 256 for index in range(count)]}
    if tensor.name == "inpaint_mask":
        return case | {"values": [index % 2 for index in range(count)]}
    return case | {"seed": seed, "gain": _GAINS.get(tensor.name, 1.0)}


def input_array(case: _Json) -> NDArray[Any]:
    """The array that an input's description says; noise of fewer than 16 values is the first of 16."""
    shape = tuple(case["shape"])
    count = int(np.prod(shape))
    if "fill" in case:
        value = np.array([int(case["fill"], 16)], np.uint32).view(np.float32)[0]
        return np.full(shape, value, np.float32)
    if "ids" in case:
        return np.array(case["ids"], np.int64).reshape(shape)
    if "values" in case:
        return np.array(case["values"], np.float32).reshape(shape)
    noise = signal(case["seed"], (max(count, 16),), case["gain"])
    return noise[:count].reshape(shape)


def _int8_step(bundles: Path) -> _Json:
    """One step of an int8 denoiser, held against the fp32 one: how near int8 must be; no int8 latents are portable."""
    case = _graph({}, "tiny-int8", Bundle.load(bundles / "tiny-int8"), "denoiser")
    path = "graphs/tiny.denoiser.velocity.npy"
    case["outputs"][0]["values"] = path
    return case
