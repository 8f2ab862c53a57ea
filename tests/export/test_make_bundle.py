"""Export keeps only what is exact, whole and where it was asked for."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sa3_edge.bundle import Bundle
from sa3_edge.errors import RequestError
from sa3_edge.manifest import Manifest
from sa3_export import ExportPlan, ParityError, export_bundle, export_synthetic, make_bundle
from sa3_export.checkpoints.published import Checkpoint, identity
from sa3_export.onnx import artifact
from sa3_export.parity import BEST_SNR_DB, measure_parity, snr_db
from tests.conftest import RunCli


def test_a_bundle_describes_itself(tiny_bundle: Path, manifest: Manifest) -> None:
    assert list(manifest.graphs) == ["text_encoder", "conditioner", "denoiser", "decoder", "encoder"]
    assert (manifest.model.name, manifest.model.synthetic) == ("tiny", False)
    assert manifest.model.revision.startswith("sha256:")
    assert manifest.sampler.objective == "rf_denoiser"
    assert manifest.audio.max_frames == 1292
    on_disk = {path.name for path in tiny_bundle.iterdir()} - {"manifest.json"}
    assert {file.path for file in Bundle.load(tiny_bundle).files()} == on_disk
    for graph in manifest.graphs.values():
        assert len(graph.artifacts["onnx"].parity) >= 3


def test_a_graph_that_differs_from_pytorch_is_refused_and_nothing_is_kept(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = measure_parity

    def slightly_wrong(graph, run, minimum, lengths=None):  # type: ignore[no-untyped-def]
        def wrong(inputs):  # type: ignore[no-untyped-def]
            return {name: array * 1.001 for name, array in run(inputs).items()}

        return real(graph, wrong if graph.name == "denoiser" else run, minimum, lengths)

    monkeypatch.setattr(artifact, "measure_parity", slightly_wrong)
    with pytest.raises(ParityError, match=r"denoiser: velocity differs .* 60\.0 dB"):
        export_bundle(tiny_checkpoint, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_snr() -> None:
    signal = np.array([3.0, 4.0])
    assert snr_db(signal, signal) == BEST_SNR_DB
    assert snr_db(signal * 1.1, signal) == pytest.approx(20.0)
    assert snr_db(signal * np.nan, signal) == -np.inf
    assert snr_db(np.ones(2), np.zeros(2)) == -np.inf


def test_what_is_there_is_not_replaced_unless_asked(tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    for overwrite in ((), ("--overwrite",)):
        code, _, err = run_cli("export", "--synthetic", "tiny", "--out", out, *overwrite)
        assert code == 2
        assert "exists" in err
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "precious.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_came_while_exporting_is_not_replaced_either(
    tiny_checkpoint: Path, tmp_path: Path, overwrite: bool
) -> None:
    precious = tmp_path / "bundle" / "precious.txt"

    def save_something(what: str, done: int, total: int) -> None:
        if what == "manifest":
            precious.parent.mkdir()
            precious.write_text("mine")

    with pytest.raises(RequestError, match="exists"):
        export_bundle(tiny_checkpoint, tmp_path / "bundle", overwrite=overwrite, progress=save_something)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bundle", "precious.txt"]


def test_synthetic_export_says_so_and_can_be_replaced(tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "bundle"
    code, stdout, err = run_cli("export", "--synthetic", "tiny", "--precision", "fp32", "--out", out, "--json")
    assert code == 0, err
    result = json.loads(stdout)
    assert result["synthetic"]
    assert min(result["snr_db"].values()) >= 80
    before = Bundle.load(out)
    assert before.manifest.model.synthetic
    assert before.manifest.model.name == "synthetic-tiny"
    export_synthetic("tiny", out, ExportPlan(precision="fp32"), overwrite=True, seed=1)
    assert Bundle.load(out).manifest.model.revision != before.manifest.model.revision
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a checkpoint"),
        (("here", "--synthetic", "tiny"), "name a checkpoint"),
        (("--synthetic", "huge"), "unknown synthetic size 'huge'; choose small, medium or tiny"),
        (("absent",), "absent is not a directory"),
    ],
)
def test_bad_requests(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli("export", *arguments, "--out", "bundle")
    assert code == 2
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_unknown_size_is_refused_in_python(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="huge"):
        export_synthetic("huge", tmp_path / "bundle")


def test_a_base_model_carries_its_own_defaults(tiny_checkpoint: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    config = json.loads((base / "model_config.json").read_text())
    config["model"]["diffusion"]["diffusion_objective"] = "rectified_flow"
    (base / "model_config.json").write_text(json.dumps(config))
    sampler = make_bundle._sampler(Checkpoint(base).config)
    assert (sampler.objective, sampler.steps, sampler.cfg) == ("rectified_flow", 50, 7.0)


def test_a_hub_snapshot_gives_name_and_revision(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--stabilityai--stable-audio-3-small-sfx" / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    assert identity(snapshot) == ("small-sfx", "abc123")
    plain = tmp_path / "stable-audio-3-small-music"
    plain.mkdir()
    (plain / "model.safetensors").write_bytes(b"weights")
    assert identity(plain) == ("small-music", f"sha256:{hashlib.sha256(b'weights').hexdigest()}")
