"""Saved Core ML packages, evaluated: what the reference computes, in every function, at every length."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from sa3_edge import AudioSource, GenerationRequest, Inpainting, Pipeline, Region
from sa3_edge import manifest as m
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, Session
from sa3_edge.engines.coreml.engine import CoreMLEngine
from sa3_edge.manifest import decode_manifest
from sa3_export import AdapterFile, CoreMLOptions, ExportPlan, export_bundle, export_synthetic
from sa3_export.checkpoints import synthetic
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.coreml.artifact import export_coreml
from sa3_export.coreml.evaluator import Package
from sa3_export.coreml.verify import _onnx_reference
from sa3_export.errors import EvaluationError, ExportRequestError
from sa3_export.graphs import GRAPHS, Graph
from sa3_export.onnx.artifact import export_onnx
from sa3_export.parity import snr_db
from sa3_export.precision import Precisions
from tests.conftest import Golden, RunCli, relative_error
from tests.stand_ins.coreml import EvaluatedCoreML

FIXED = (16, 128)  # the longest that these tests need: 5 s and the headroom are 118 frames


@pytest.fixture(scope="module")
def exact_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "coreml-fp32"
    export_bundle(tiny_checkpoint, out, ExportPlan(formats=("coreml",), coreml=CoreMLOptions("fp32", FIXED)))
    return out


@pytest.fixture(scope="module")
def half_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "both"
    export_bundle(tiny_checkpoint, out, ExportPlan(formats=("onnx", "coreml"), coreml=CoreMLOptions("fp16", FIXED)))
    return out


def _engine(units: str | None = None) -> CoreMLEngine:
    return CoreMLEngine(EngineOptions(compute_units=units), EvaluatedCoreML())


def _session(bundle: Path, graph: m.GraphName) -> Session:
    return _engine().load(Bundle.load(bundle), graph)


@pytest.mark.parametrize("index", [0, 2, 3, 4])
def test_text_encoder(exact_bundle: Path, half_bundle: Path, golden: Golden, index: int) -> None:
    ids = golden[f"prompt.{index}.ids"].astype(np.int64)[None]
    expected = golden[f"prompt.{index}.embeds"][:, : ids.shape[1]]
    for bundle, bar in ((exact_bundle, 80), (half_bundle, 45)):
        hidden = _session(bundle, "text_encoder").run({"input_ids": ids})["hidden"]
        assert hidden.dtype == np.float32
        assert snr_db(hidden, expected) >= bar


@pytest.mark.parametrize("frames", [2, 8, 20])
def test_autoencoder(half_bundle: Path, golden: Golden, frames: int) -> None:
    """Also in an fp16 bundle the autoencoder is fp32; the goldens' audio was rounded to fp16 after computing."""
    audio = _session(half_bundle, "decoder").run({"latents": golden[f"decoder.L{frames}.latents"]})["audio"]
    assert relative_error(audio, golden[f"decoder.L{frames}.audio"]) < 1e-4
    samples = golden[f"encoder.L{frames}.audio"].astype(np.float32)
    latents = _session(half_bundle, "encoder").run({"audio": samples})["latents"]
    assert snr_db(latents, golden[f"encoder.L{frames}.latents"]) >= 80


@pytest.mark.parametrize("units", ["cpu_and_ne", "cpu_and_gpu"])
@pytest.mark.parametrize("name", ["t2a_5s", "t2a_1.3s_4steps", "t2a_empty"])
def test_a_whole_run(
    exact_bundle: Path,
    golden: Golden,
    golden_arguments: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    units: str,
) -> None:
    """Text to audio through the Core ML graphs, on fixed functions with masked frames and on the dynamic one."""
    core_ml = EvaluatedCoreML()
    monkeypatch.setattr("sa3_edge.engines.coreml.engine.MacRuntime", lambda: core_ml)
    (run,) = [run for run in golden_arguments["runs"] if run["name"] == name]
    request = GenerationRequest(run["prompt"], run["duration"], run["seed"], run.get("steps"))
    made = Pipeline.load(exact_bundle, "coreml", compute_units=units).generate(request)
    valid = made.latents.shape[-1]
    assert relative_error(made.latents, golden[f"run.{name}.latents"][:, :, :valid]) < 0.01
    if f"run.{name}.audio" in golden:
        assert relative_error(made.audio, golden[f"run.{name}.audio"][0]) < 0.01
    function = "frames_128" if units == "cpu_and_ne" else "main"
    assert ("denoiser", function) in core_ml.functions_run
    assert {function for graph, function in core_ml.functions_run if graph == "decoder"} == {"frames_68"}


def test_every_function_holds_the_bars(half_bundle: Path, exact_bundle: Path) -> None:
    """The bars of the manifest's figures: 50 dB for a denoiser step in fp16, 45 dB for the text encoder."""
    bars = {"denoiser": 50, "text_encoder": 45, "conditioner": 50, "decoder": 80, "encoder": 80}
    for bundle, lowest in ((half_bundle, bars), (exact_bundle, dict.fromkeys(bars, 80))):
        for name, graph in Bundle.load(bundle).manifest.graphs.items():
            parity = graph.artifacts["coreml"].parity
            assert min(figure.snr_db for figure in parity) >= lowest[name]
    measured = {
        figure.length for figure in Bundle.load(half_bundle).manifest.graphs["denoiser"].artifacts["coreml"].parity
    }
    # Each fixed function full, and with all but one frame more than the shorter one masked.
    assert measured >= {1, 16, 17, 128, 1292}


@pytest.mark.parametrize("frames", [1, 5, 16, 17])
def test_masked_frames_change_nothing(exact_bundle: Path, frames: int) -> None:
    bundle = Bundle.load(exact_bundle)
    rng = np.random.default_rng(0)
    audio, text = bundle.manifest.audio, bundle.manifest.text
    shared = _session(exact_bundle, "conditioner").run(
        {
            "hidden": rng.standard_normal((1, 3, text.hidden_size), np.float32),
            "text_mask": np.ones((1, 3), np.float32),
            "padding_scale": np.ones(1, np.float32),
            "seconds": np.full(1, 5, np.float32),
            "inpaint_mask": np.zeros((1, 1, frames), np.float32),
            "inpaint_masked_input": rng.standard_normal((1, audio.latent_channels, frames), np.float32),
        }
    )
    x = rng.standard_normal((1, audio.latent_channels, frames), np.float32)
    fixed, dynamic = (
        _engine(units).load(bundle, "denoiser").run({"x": x, "t": np.full(1, 0.63, np.float32), **shared})["velocity"]
        for units in ("cpu_and_ne", "cpu_and_gpu")
    )
    assert snr_db(fixed, dynamic) > 100


def test_a_package_describes_itself(half_bundle: Path) -> None:
    manifest = Bundle.load(half_bundle).manifest
    denoiser = manifest.graphs["denoiser"].artifacts["coreml"]
    assert denoiser.compute_units == "cpu_and_ne"
    assert denoiser.functions["frames_16"] == {"frames": 16, "keys": 258, "rows": 24}
    types = {tensor.name: tensor.dtype for tensor in denoiser.inputs}
    assert (types["x"], types["t"], types["frame_bias"]) == ("float16", "float32", "float16")
    assert manifest.graphs["text_encoder"].artifacts["coreml"].inputs[0].dtype == "int32"
    assert manifest.graphs["decoder"].artifacts["coreml"].functions == {"frames_68": {"frames": 68, "samples": 278528}}

    spec = ct.utils.load_spec(str(half_bundle / "denoiser.mlpackage"))
    assert spec.specificationVersion == 9  # iOS 18, macOS 15
    assert spec.description.metadata.license == manifest.model.licence
    assert spec.description.metadata.shortDescription == manifest.graphs["denoiser"].description
    assert spec.description.metadata.userDefined["made_with"].startswith("sa3-edge ")
    functions = {function.name: function for function in spec.description.functions}
    assert functions.keys() == {"main", "frames_16", "frames_128"}
    x = functions["main"].input[0]
    assert (x.name, x.shortDescription) == ("x", "(1, 16, frames)")
    assert x.type.multiArrayType.shapeRange.sizeRanges[2].upperBound == manifest.audio.max_frames
    assert list(functions["frames_128"].input[0].type.multiArrayType.shape) == [1, 16, 128]


def test_functions_share_their_weights(half_bundle: Path, tiny_checkpoint: Path) -> None:
    weights = half_bundle / "denoiser.mlpackage" / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    module = GRAPHS["denoiser"](Checkpoint(tiny_checkpoint)).module
    used = [p for name, p in module.named_parameters() if not any(part in name for part in _CONDITIONERS_PART)]
    once = 2 * sum(parameter.numel() for parameter in used)
    # Three functions; each brings its own cut of the rotary tables.
    assert once < weights.stat().st_size < 1.2 * once


_CONDITIONERS_PART = ("to_kv", "k_norm.gamma", "to_local_embed", "to_cond_embed", "to_global_embed")


@pytest.mark.parametrize(("precision", "share"), [("int8", 0.7), ("palettized6", 0.6)])
def test_compressed_weights(
    tiny_checkpoint: Path, half_bundle: Path, precision: str, share: float, tmp_path: Path
) -> None:
    graph = GRAPHS["conditioner"](Checkpoint(tiny_checkpoint))
    artifact = export_coreml(graph, tmp_path, {}, CoreMLOptions(precision))
    assert artifact.precision == precision
    assert len(artifact.parity) == 3
    plain = Bundle.load(half_bundle).manifest.graphs["conditioner"].artifacts["coreml"]
    assert sum(file.bytes for file in artifact.files) < share * sum(file.bytes for file in plain.files)
    assert min(figure.snr_db for figure in artifact.parity) < min(figure.snr_db for figure in plain.parity)


def test_unknown_choices_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ExportRequestError, match="onnx, coreml"):
        export_bundle(nowhere, tmp_path / "out", ExportPlan(formats=("onnx", "tflite")))
    with pytest.raises(ExportRequestError, match="palettized6"):
        export_bundle(nowhere, tmp_path / "out", ExportPlan(formats=("coreml",), coreml=CoreMLOptions("int4")))
    with pytest.raises(ExportRequestError, match="name a format"):
        export_bundle(nowhere, tmp_path / "out", ExportPlan(formats=()))


def test_the_command_line_names_what_it_does_not_know(run_cli: RunCli, tmp_path: Path) -> None:
    code, _, err = run_cli("export", "--synthetic", "tiny", "--formats", "tflite", "--out", tmp_path / "out")
    assert (code, "tflite" in err) == (2, True)
    code, _, err = run_cli(
        "export", "--synthetic", "tiny", "--formats", "coreml", "--precision", "fp8", "--out", tmp_path
    )
    assert (code, "fp8" in err) == (2, True)


def test_verify_runs_the_packages_of_a_finished_bundle(half_bundle: Path, run_cli: RunCli) -> None:
    """Against the bundle's own ONNX graphs: what they compute was compared with PyTorch at export."""
    code, out, err = run_cli("verify", half_bundle, "--json")
    assert (code, err) == (0, "")
    parity = json.loads(out)["parity"]
    assert parity.keys() == Bundle.load(half_bundle).manifest.graphs.keys()
    assert {16, 17, 128} <= {figure["length"] for figure in parity["denoiser"]}
    assert min(figure["snr_db"] for figure in parity["denoiser"]) >= 50
    assert min(figure["snr_db"] for figure in parity["decoder"]) >= 80


def test_verify_asks_no_more_than_int8_graphs_can_show(
    half_bundle: Path, tiny_checkpoint: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    folder = Path(shutil.copytree(half_bundle, tmp_path / "bundle"))
    manifest = Bundle.load(folder).manifest
    quantized: tuple[m.GraphName, ...] = ("text_encoder", "denoiser", "decoder")
    for name in quantized:
        graph = GRAPHS[name](Checkpoint(tiny_checkpoint))
        onnx = export_onnx(graph, folder, {}, Precisions({name: "int8"}))
        manifest.graphs[name].artifacts["onnx"] = onnx
    (folder / m.FILE_NAME).write_bytes(m.encode_manifest(manifest))
    code, out, err = run_cli("verify", folder, "--json")
    assert (code, err) == (0, "")
    for name in quantized:
        measured = min(figure["snr_db"] for figure in json.loads(out)["parity"][name])
        shown = min(figure.snr_db for figure in manifest.graphs[name].artifacts["onnx"].parity)
        assert measured == pytest.approx(shown, abs=3)


def test_verify_with_the_checkpoint_wants_what_was_merged(
    tiny_checkpoint: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    lora = tmp_path / "tape.safetensors"
    key = "model.transformer.project_in.parametrizations.weight.0."
    rank = {"lora_A": torch.randn(2, 16), "lora_B": torch.randn(128, 2)}
    config = {"rank": 2, "alpha": 2, "adapter_type": "lora", "include": None}
    save_file({key + name: tensor for name, tensor in rank.items()}, lora, {"lora_config": json.dumps(config)})
    out = tmp_path / "bundle"
    options = CoreMLOptions("fp32", (16,))
    export_bundle(
        tiny_checkpoint, out, ExportPlan(formats=("coreml",), coreml=options), adapters=[AdapterFile(lora, 0.5)]
    )
    checkpoint = ("verify", out, "--checkpoint", tiny_checkpoint)
    assert run_cli(*checkpoint, "--lora", f"{lora}:0.5")[0] == 0
    for wrong in ((), ("--lora", lora)):
        code, _, err = run_cli(*checkpoint, *wrong)
        assert (code, "Say the same: --lora tape.safetensors:0.5" in " ".join(err.split())) == (2, True)
    code, _, err = run_cli("verify", out, "--lora", lora)
    assert (code, "--checkpoint" in err) == (2, True)
    code, _, err = run_cli("verify", out, "--checkpoint", tmp_path / "absent")
    assert (code, "absent is not a directory" in err) == (2, True)


def test_verify_runs_the_packages_of_a_bundle_with_some_packages_only(
    half_bundle: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    folder = Path(shutil.copytree(half_bundle, tmp_path / "bundle"))
    manifest = Bundle.load(folder).manifest
    for name, graph in manifest.graphs.items():
        if name not in {"conditioner", "decoder"}:
            del graph.artifacts["coreml"]
    (folder / m.FILE_NAME).write_bytes(m.encode_manifest(manifest))
    code, out, err = run_cli("verify", folder, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["parity"].keys() == {"conditioner", "decoder"}


def test_packages_take_the_longest_prompt_and_the_longest_clip(half_bundle: Path) -> None:
    """As Core ML does, the evaluator refuses a length outside of what a package declares."""
    graphs = Bundle.load(half_bundle).manifest.graphs
    longest = {"tokens": 256, "local_frames": 1292, "frames": 1292, "keys": 258, "rows": 8 + 1292}
    for name in ("conditioner", "denoiser"):
        package = Package(half_bundle / f"{name}.mlpackage")
        inputs = {
            tensor.name: np.zeros([longest[n] if isinstance(n, str) else n for n in tensor.shape], np.float32)
            for tensor in graphs[name].artifacts["coreml"].inputs
        }
        outputs = package.run("main", inputs)
        assert all(np.isfinite(array).all() for array in outputs.values())
        for tensor in graphs[name].inputs:
            if any(isinstance(size, str) for size in tensor.shape):
                axis = next(index for index, size in enumerate(tensor.shape) if isinstance(size, str))
                longer = np.pad(
                    inputs[tensor.name], [(0, 1) if i == axis else (0, 0) for i in range(len(tensor.shape))]
                )
                with pytest.raises(EvaluationError, match=f"takes {tensor.name} of"):
                    package.run("main", {**inputs, tensor.name: longer})


def test_other_sizes_than_the_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli) -> None:
    """Heads of 48 and 32 channels, clips of up to 40 frames, prompts of up to 12 tokens."""
    published = synthetic.model_config

    def other(size: synthetic.SyntheticSize) -> dict[str, Any]:
        config = published(size)
        config["sample_size"] = 41 * 4096
        config["model"]["diffusion"]["config"]["embed_dim"] = 96
        config["model"]["conditioning"]["configs"][0]["config"]["max_length"] = 12
        for side in ("encoder", "decoder"):
            config["model"]["pretransform"]["config"][side]["config"]["dim_heads"] = 32
        return config

    monkeypatch.setattr(synthetic, "model_config", other)
    out = tmp_path / "bundle"
    export_synthetic("tiny", out, ExportPlan(formats=("onnx", "coreml")))
    assert Bundle.load(out).manifest.audio.max_frames == 40
    recording = 0.1 * np.random.default_rng(0).standard_normal((2, 3 * 44100), np.float32)
    source = AudioSource.from_array(recording, 44100)
    request = GenerationRequest("a " * 20, seconds=3, seed=1, edit=Inpainting(source, (Region(1, 2),)))
    exact = Pipeline.load(out).generate(request)
    assert exact.latents.shape == (1, 16, 40)
    monkeypatch.setattr("sa3_edge.engines.coreml.engine.MacRuntime", EvaluatedCoreML)
    made = Pipeline.load(out, "coreml").generate(request)
    assert relative_error(made.latents, exact.latents) < 0.05
    assert run_cli("verify", out)[0] == 0


class Predicting(EvaluatedCoreML):
    """Core ML on a Mac, for the gate: remembers the compute units of each function. `broken` ones compute NaN."""

    version = "macOS 15.0, stand-in"

    def __init__(self, broken: str | None = None) -> None:
        super().__init__()
        self.units: dict[tuple[str, str], str] = {}
        self._broken = broken

    def load(self, model: Path, function: str | None, units: m.ComputeUnits) -> Any:
        loaded = super().load(model, function, units)
        self.units[loaded.package.path.stem, loaded.function] = units
        return NotANumber() if loaded.function == self._broken else loaded


class NotANumber:
    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return {"velocity": np.full_like(inputs["x"], np.nan)}


MEANT_UNITS = {
    ("text_encoder", "main"): "cpu_and_gpu",
    ("conditioner", "main"): "cpu_only",
    ("denoiser", "main"): "cpu_and_gpu",
    ("denoiser", "frames_16"): "cpu_and_ne",
    ("denoiser", "frames_128"): "cpu_and_ne",
    ("decoder", "main"): "cpu_and_gpu",
    ("decoder", "frames_68"): "cpu_and_gpu",
    ("encoder", "main"): "cpu_and_gpu",
}


def test_where_core_ml_runs_its_predictions_verify(
    half_bundle: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    core_ml = Predicting()
    monkeypatch.setattr("sa3_export.coreml.gate.MacRuntime", lambda: core_ml)
    code, out, err = run_cli("verify", half_bundle)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "verified by Core ML prediction, macOS 15.0, stand-in"
    assert core_ml.units == MEANT_UNITS


def test_a_prediction_that_is_wrong_is_refused(
    half_bundle: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sa3_export.coreml.gate.MacRuntime", lambda: Predicting(broken="frames_16"))
    code, out, err = run_cli("verify", half_bundle)
    assert (code, out) == (1, "")
    assert "denoiser: velocity differs" in err
    assert "(Core ML prediction, macOS 15.0, stand-in, cpu_and_ne)" in err


def test_export_predicts_where_core_ml_runs(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    core_ml = Predicting()
    monkeypatch.setattr("sa3_export.coreml.gate.MacRuntime", lambda: core_ml)
    graph = GRAPHS["conditioner"](Checkpoint(tiny_checkpoint))
    evaluated = []
    run = Package.run

    def remember(package: Package, function: str, inputs: Any, *, half: bool = True) -> Any:
        evaluated.append(half)
        return run(package, function, inputs, half=half)

    monkeypatch.setattr(Package, "run", remember)
    artifact = export_coreml(graph, tmp_path, {}, CoreMLOptions("fp16"))
    assert core_ml.functions_run == {("conditioner", "main")}
    assert evaluated.count(False) == len(artifact.parity)  # its structure, by the evaluator, as on any machine


def test_what_verified_the_packages_is_told(
    half_bundle: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run_cli("verify", half_bundle)[1].splitlines()[-1] == "verified by evaluating the program"
    manifest = Bundle.load(half_bundle).manifest
    assert manifest.made_with["coreml verified by"] == "evaluating the program"
    monkeypatch.setattr("sa3_export.export_synthetic", lambda *args, **kwargs: manifest)
    arguments = ("export", "--synthetic", "tiny", "--engine", "onnx,coreml", "--out", tmp_path / "out")
    assert "Core ML packages verified by evaluating the program\n" in run_cli(*arguments)[1]
    assert json.loads(run_cli(*arguments, "--json")[1])["coreml_verified_by"] == "evaluating the program"


def test_verify_refuses_a_changed_weight(half_bundle: Path, run_cli: RunCli, tmp_path: Path) -> None:
    """One changed weight, in a bundle whose manifest vouches for the file."""
    copy = tmp_path / "copy"
    shutil.copytree(half_bundle, copy)
    name = "text_encoder.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    content = (copy / name).read_bytes()
    manifest = decode_manifest((copy / "manifest.json").read_bytes())
    hashes = {file.path: file.sha256 for file in manifest.graphs["text_encoder"].artifacts["coreml"].files}
    changed = bytearray(content)
    changed[len(changed) // 2 + 1] ^= 0b0100_0000
    (copy / name).write_bytes(changed)
    edited = (copy / "manifest.json").read_text().replace(hashes[name], hashlib.sha256(changed).hexdigest())
    (copy / "manifest.json").write_text(edited)
    code, out, err = run_cli("verify", copy)
    assert (code, out) == (1, "")
    assert "text_encoder" in err


def test_verify_needs_packages(tiny_bundle: Path, run_cli: RunCli) -> None:
    code, _, err = run_cli("verify", tiny_bundle)
    assert (code, "no Core ML packages" in err) == (2, True)


def _weights(graph: Graph) -> dict[str, tuple[int, torch.dtype, bytes]]:
    return {
        name: (id(tensor), tensor.dtype, tensor.contiguous().view(torch.uint8).numpy().tobytes())
        for name, tensor in graph.module.state_dict(keep_vars=True).items()
    }


@pytest.mark.parametrize("name", ["text_encoder", "denoiser"])
def test_export_alters_nothing_of_what_it_is_measured_against(
    tiny_checkpoint: Path, tmp_path: Path, name: m.GraphName
) -> None:
    graph = GRAPHS[name](Checkpoint(tiny_checkpoint))
    before = _weights(graph)
    export_coreml(graph, tmp_path, {}, CoreMLOptions("fp16", (16,)))
    assert _weights(graph) == before
    export_onnx(graph, tmp_path, {}, Precisions({name: "int8"}))
    assert _weights(graph) == before


def test_packages_say_how_each_input_is_padded_and_what_changes_by_step(half_bundle: Path) -> None:
    manifest = decode_manifest((half_bundle / "manifest.json").read_bytes())
    assert manifest.memory_tokens == 8
    said = {
        tensor.name: (tensor.pad, tensor.per)
        for graph in manifest.graphs.values()
        for tensor in graph.artifacts["coreml"].inputs
    }
    others = {name for name, how in said.items() if how != ("zeros", "run")}
    assert {name: said[name] for name in others} == {
        "x": ("zeros", "step"),
        "t": ("zeros", "step"),
        "local_embed": ("repeat_last", "run"),
        "key_bias": ("mask", "run"),
        "frame_bias": ("mask", "run"),
    }


@pytest.mark.parametrize("name", GRAPHS)
def test_a_finished_bundle_is_verified_on_the_inputs_of_its_export(
    name: m.GraphName, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    graph = GRAPHS[name](Checkpoint(tiny_checkpoint))
    again = _onnx_reference(Bundle.load(tiny_bundle), name)
    assert again.lengths == graph.lengths
    exported, verified = (each.example(graph.lengths[1], seed=1) for each in (graph, again))
    assert verified.keys() == exported.keys()
    for key, values in verified.items():
        if key == "input_ids":  # a bundle does not say how many tokens there are
            assert values.shape == exported[key].shape
            assert values.max() < Checkpoint(tiny_checkpoint).text_config.vocab_size
        else:
            assert torch.equal(values, exported[key]), key
