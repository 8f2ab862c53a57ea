"""Adapters that are merged when a graph is loaded: one field of a request, no export, no torch."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sa3_edge.adapters.lora import AdapterFile
from sa3_edge.clips.record import read_record
from sa3_edge.errors import AdapterError, EngineError, RequestError
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.generation.request import GenerationRequest
from sa3_edge.manifest import FILE_NAME
from sa3_edge.models.catalog import DEMO, resolve_model
from tests.conftest import RunCli

LAYERS = {
    "transformer.layers.0.self_attn.to_qkv": (384, 128),
    "conditioners.seconds_total.embedder.embedding.1": (64, 256),
}
REQUEST = GenerationRequest("lofi piano", seconds=2, seed=3, steps=2)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return _write(tmp_path / "tape.safetensors", LAYERS)


def _write(path: Path, layers: dict[str, tuple[int, int]]) -> Path:
    random = np.random.default_rng(1)
    tensors = {}
    for layer, (outputs, inputs) in layers.items():
        tensors[f"{layer}.lora_A.weight"] = random.normal(size=(2, inputs)).astype(np.float32) / 8
        tensors[f"{layer}.lora_B.weight"] = random.normal(size=(outputs, 2)).astype(np.float32) / 8
    save_file(tensors, path)
    return path


def test_a_warm_pipeline_switches_adapters_and_reloads_only_what_they_change(tiny_bundle: Path, adapter: Path) -> None:
    pipeline = Pipeline.load(tiny_bundle, keep_loaded=True)
    alone = pipeline.generate(REQUEST)
    adapted = pipeline.generate(replace(REQUEST, adapters=(AdapterFile(adapter),)))
    assert {key for key in adapted.timings if key.endswith(".load")} == {"conditioner.load", "denoiser.load"}
    assert np.abs(adapted.latents - alone.latents).max() > 1e-3
    again = pipeline.generate(replace(REQUEST, adapters=(AdapterFile(adapter),)))
    assert not [key for key in again.timings if key.endswith(".load")]
    assert np.array_equal(again.latents, adapted.latents)
    nothing = pipeline.generate(replace(REQUEST, adapters=(AdapterFile(adapter, 0.0),)))
    assert np.array_equal(nothing.latents, alone.latents)


def test_a_clip_says_its_adapters_and_regenerate_finds_them_by_hash(
    tiny_bundle: Path, adapter: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, again = tmp_path / "clip.wav", tmp_path / "again.wav"
    options = ("--model", tiny_bundle, "--seconds", 2, "--seed", 3, "--steps", 2)
    code, _, err = run_cli("generate", "lofi piano", *options, "--lora", f"{adapter}:0.6", "-o", clip)
    assert code == 0, err
    record = read_record(clip)
    assert [(each.file, each.strength) for each in record.adapters] == [("tape.safetensors", 0.6)]
    assert str(tmp_path) not in json.dumps(record.options)

    adapter.rename(tmp_path / "renamed.safetensors")
    code, _, err = run_cli("regenerate", clip, "--model", tiny_bundle, "-o", again)
    assert code == 0, err
    assert _samples(clip) == _samples(again)

    (tmp_path / "renamed.safetensors").unlink()
    code, _, err = run_cli("regenerate", clip, "--model", tiny_bundle, "-o", tmp_path / "third.wav")
    assert code == 2
    assert "tape.safetensors, which is not there any more as it was" in err


def test_an_adapter_with_a_name_is_found_by_it_wherever_its_file_went(
    tiny_bundle: Path, adapter: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    code, out, err = run_cli("lora", "add", adapter)
    assert (code, "tape: lora, rank 2, 2 layers" in out) == (0, True), err
    assert run_cli("lora", "add", adapter)[0] == 2  # there is one already
    assert run_cli("lora", "add", adapter, "--overwrite")[0] == 0
    options = ("--model", tiny_bundle, "--seconds", 2, "--seed", 3, "--steps", 2)
    by_file, by_name, again = (tmp_path / f"{name}.wav" for name in ("file", "name", "again"))
    assert run_cli("generate", "x", *options, "--lora", f"{adapter}:0.6", "-o", by_file)[0] == 0
    adapter.unlink()
    code, _, err = run_cli("generate", "x", *options, "--lora", "tape:0.6", "-o", by_name)
    assert code == 0, err
    assert by_name.read_bytes() == by_file.read_bytes()
    assert run_cli("regenerate", by_file, "--model", tiny_bundle, "-o", again)[0] == 0
    assert _samples(again) == _samples(by_file)

    code, _, err = run_cli("generate", "x", *options, "--lora", "tap", "-o", tmp_path / "no.wav")
    assert (code, "did you mean tape?" in err) == (2, True)
    assert [each["name"] for each in json.loads(run_cli("lora", "list", "--json")[1])["adapters"]] == ["tape"]
    assert run_cli("lora", "remove", "tape")[0] == 0
    assert run_cli("lora", "remove", "tape")[0] == 2


def test_peft_names_every_file_the_same_so_its_folder_names_it_and_its_config_comes_with_it(
    tmp_path: Path, run_cli: RunCli
) -> None:
    folder = tmp_path / "strings"
    folder.mkdir()
    file = _write(folder / "adapter_model.safetensors", LAYERS)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    added = json.loads(run_cli("lora", "add", file, "--json")[1])
    assert (added["name"], added["kind"], added["ranks"], added["layers"]) == ("strings", "lora", [2], 2)
    assert Path(added["path"]).with_name("adapter_config.json").is_file()
    assert run_cli("lora", "remove", "strings")[0] == 0
    assert not Path(added["path"]).parent.exists()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    code, _, err = run_cli("lora", "add", file, "--name", "other")
    assert (code, "peft_type 'IA3' is not computed" in err) == (2, True)
    for name in ("../up", "a:1", ".hidden"):
        assert run_cli("lora", "add", file, f"--name={name}")[0] == 2, name
    (tmp_path / "text.safetensors").write_text("no")
    assert run_cli("lora", "add", tmp_path / "text.safetensors")[0] == 2


def _samples(path: Path) -> bytes:
    import soundfile

    samples: bytes = soundfile.read(path, dtype="float32")[0].tobytes()
    return samples


def test_what_cannot_be_merged_is_refused(tiny_bundle: Path, adapter: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.load(tiny_bundle)
    wrong = _write(tmp_path / "wrong.safetensors", {"transformer.layers.0.self_attn.to_qkv": (384, 64)})
    with pytest.raises(AdapterError, match="the weight is \\(384, 128\\)"):
        pipeline.generate(replace(REQUEST, adapters=(AdapterFile(wrong),)))
    (tmp_path / "cut.safetensors").write_bytes(adapter.read_bytes()[:-1])
    with pytest.raises(AdapterError, match="not a whole safetensors file"):
        pipeline.generate(replace(REQUEST, adapters=(AdapterFile(tmp_path / "cut.safetensors"),)))
    older = tmp_path / "older"
    shutil.copytree(resolve_model(DEMO), older)
    described = json.loads((older / FILE_NAME).read_text())
    for artifact in ("conditioner", "denoiser"):
        del described["graphs"][artifact]["artifacts"]["onnx"]["layers"]
    (older / FILE_NAME).write_text(json.dumps(described))
    with pytest.raises(RequestError, match="export the model again"):
        Pipeline.load(older).generate(replace(REQUEST, adapters=(AdapterFile(adapter),)))


def test_a_manifest_that_lies_about_weights_is_found_out(tiny_bundle: Path, adapter: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    described = json.loads((bundle / FILE_NAME).read_text())
    layer = described["graphs"]["denoiser"]["artifacts"]["onnx"]["layers"][
        "model.model.transformer.layers.0.self_attn.to_qkv"
    ]
    layer["parts"][0]["initializer"] = "dit.preprocess_conv.weight"
    (bundle / FILE_NAME).write_text(json.dumps(described))
    with pytest.raises(EngineError, match="is not the weight that the manifest says it is"):
        Pipeline.load(bundle).generate(replace(REQUEST, adapters=(AdapterFile(adapter),)))
