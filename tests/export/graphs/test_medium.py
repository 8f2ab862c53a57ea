"""Medium: differential attention and a codec with sliding windows compute what the reference computes."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from sa3_edge import Pipeline
from sa3_edge.generation.tiling import decode_tiles, encode_tiles
from sa3_edge.manifest import GraphName, Manifest, decode_manifest, encode_manifest
from sa3_export import CoreMLOptions, ExportPlan, export_bundle
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs import GRAPHS
from sa3_export.graphs.codec import tiling
from tests.conftest import DATA, relative_error
from tests.goldens import (
    RUN_TOLERANCE,
    Networks,
    golden_runs,
    network_error,
    network_goldens,
    run_errors,
    tolerance_of,
    write_checkpoint,
)

NAME = "tiny_medium"
GOLDEN = load_file(DATA / NAME / "golden.safetensors")
RUNS = golden_runs(NAME)


@pytest.fixture(scope="module")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(NAME, tmp_path_factory.mktemp("medium") / NAME)


@pytest.fixture(scope="module")
def networks(checkpoint_folder: Path) -> Iterator[Networks]:
    with torch.no_grad():
        yield Networks.of(Checkpoint(checkpoint_folder))


@pytest.fixture(scope="module")
def bundle(checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "medium"
    export_bundle(checkpoint_folder, out, ExportPlan(precision="fp32"))
    return out


@pytest.fixture(scope="module")
def made(bundle: Path) -> Pipeline:
    return Pipeline.load(bundle, keep_loaded=True)


@pytest.fixture(scope="module")
def medium_manifest(bundle: Path) -> Manifest:
    return decode_manifest((bundle / "manifest.json").read_bytes())


@pytest.mark.parametrize("name", network_goldens(GOLDEN))
def test_each_network_computes_its_golden(networks: Networks, name: str) -> None:
    assert network_error(networks, GOLDEN, name) < tolerance_of(name)


@pytest.mark.parametrize("name", [name for name in network_goldens(GOLDEN) if name.startswith(("decoder", "encoder"))])
def test_the_codecs_graphs_compute_their_goldens(made: Pipeline, name: str) -> None:
    stem = name.rpartition(".")[0]
    if name.startswith("decoder"):
        output = made.graphs.run("decoder", {"latents": GOLDEN[f"{stem}.latents"]})["audio"]
    else:
        output = made.graphs.run("encoder", {"audio": GOLDEN[f"{stem}.audio"].astype(np.float32)})["latents"]
    assert relative_error(output, GOLDEN[name]) < tolerance_of(name)


@pytest.mark.parametrize("index", [0, 2, 3, 4])
def test_the_text_encoders_graph_computes_its_goldens(made: Pipeline, index: int) -> None:
    ids = GOLDEN[f"prompt.{index}.ids"].astype(np.int64)[None]
    hidden = made.graphs.run("text_encoder", {"input_ids": ids})["hidden"]
    assert relative_error(hidden, GOLDEN[f"prompt.{index}.embeds"][:, : ids.shape[1]]) < 1e-4


# With guidance an error in the duration's features of thousands of radians is multiplied.
@pytest.mark.parametrize("run", [run for run in RUNS if "objective" not in run], ids=lambda run: run["name"])
def test_runs_equal_the_reference(made: Pipeline, run: dict[str, Any]) -> None:
    errors = dict(run_errors(made, GOLDEN, run))
    assert errors
    assert all(error < RUN_TOLERANCE for error in errors.values()), errors


def test_a_base_model_equals_the_reference(checkpoint_folder: Path, bundle: Path, tmp_path: Path) -> None:
    """The weights of the base checkpoint are the same here, so the bundle differs in what its sampler says."""
    (run,) = [run for run in RUNS if "objective" in run]
    base = write_checkpoint(NAME, tmp_path / "base", run["objective"])
    config = Checkpoint(base).config
    assert (config.objective, config.dit) == ("rectified_flow", Checkpoint(checkpoint_folder).config.dit)
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = decode_manifest((copy / "manifest.json").read_bytes())
    sampler = msgspec.structs.replace(manifest.sampler, objective=config.objective)
    (copy / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, sampler=sampler)))
    errors = dict(run_errors(Pipeline.load(copy), GOLDEN, run))
    assert all(error < RUN_TOLERANCE for error in errors.values()), errors


def test_the_manifest_says_mediums_sizes(medium_manifest: Manifest) -> None:
    assert medium_manifest.audio.max_frames == 4096
    assert medium_manifest.max_seconds == 380
    tiles = medium_manifest.tiles
    assert [(side.overlap, side.multiple) for side in (tiles.decoder, tiles.encoder)] == [(6, 1), (6, 1)]  # 6 blocks


@pytest.mark.parametrize("frames", [1, 5, 13, 128, 129, 161])
def test_tiles_give_what_the_whole_gives(networks: Networks, checkpoint_folder: Path, frames: int) -> None:
    config = Checkpoint(checkpoint_folder).config
    tiles, frame = tiling(config), config.samples_per_frame
    generator = torch.Generator().manual_seed(frames)
    latents = torch.randn(1, config.latent_channels, frames, generator=generator)
    audio = 0.3 * torch.randn(1, 2, frames * frame, generator=generator)
    codec = networks.autoencoder
    pieces = decode_tiles(
        lambda tile: codec.decode(torch.from_numpy(tile)).numpy(), latents.numpy(), frames, tiles.decoder, frame
    )
    assert relative_error(np.concatenate(list(pieces), axis=-1), codec.decode(latents).numpy()) < 1e-5
    tiled = encode_tiles(
        lambda tile: codec.encode(torch.from_numpy(tile)).numpy(), audio.numpy(), frames, tiles.encoder, frame
    )
    assert relative_error(tiled, codec.encode(audio).numpy()) < 1e-5


@pytest.mark.parametrize("direction", ["decode", "encode"])
def test_the_overlap_is_as_far_as_a_frame_is_heard_and_no_further(networks: Networks, direction: str) -> None:
    """A frame changes those within as many frames as there are blocks, the farthest too, and no other by one bit."""
    config = networks.autoencoder.config
    reach, frames, frame = config.decoder.depth, 20, config.samples_per_frame
    generator = torch.Generator().manual_seed(1)
    codec = networks.autoencoder
    run: Callable[[torch.Tensor], torch.Tensor] = codec.decode if direction == "decode" else codec.encode
    width = 1 if direction == "decode" else frame
    if direction == "decode":
        before = torch.randn(1, config.decoder.latent_dim, frames, generator=generator)
    else:
        before = torch.randn(1, 2, frames * frame, generator=generator)
    after = before.clone()
    after[..., 10 * width : 11 * width] += 10.0
    changed = (run(after) != run(before)).reshape(-1, frames, frame if direction == "decode" else 1)
    heard = {int(index) for index in changed.any(dim=0).any(dim=-1).nonzero()}
    # To a tile's ends: what lies beyond `reach` is untouched.
    assert heard <= set(range(10 - reach, 10 + reach + 1))
    assert {10 - reach, 10 + reach} & heard


def test_the_denoiser_keeps_no_map_of_all_frames(bundle: Path) -> None:
    """Self-attention is the operator that works in tiles; written out, 24 maps of 4160 x 4160 would be 1.7 GB."""
    import onnx

    model = onnx.load(bundle / "denoiser.onnx", load_external_data=False)
    attention = [node for node in model.graph.node if node.op_type == "MultiHeadAttention"]
    layers = {node.name for node in model.graph.node if node.op_type == "Softmax"}
    assert len(attention) == 2 * len(layers)  # a pair of maps a layer; the softmax is cross-attention's


@pytest.mark.parametrize(("name", "precision"), [("denoiser", "fp16"), ("decoder", "fp32")])
def test_core_ml_packages_hold_their_bars(
    checkpoint_folder: Path, tmp_path: Path, name: GraphName, precision: str
) -> None:
    """Evaluated as saved, at lengths that take the fixed function and the dynamic one; export raises below a bar."""
    coreml = pytest.importorskip("sa3_export.coreml.artifact")
    graph = replace(GRAPHS[name](Checkpoint(checkpoint_folder)), lengths=(1, 7, 20))
    artifact = coreml.export_coreml(graph, tmp_path, {}, CoreMLOptions("fp16", (16,)))
    assert artifact.precision == precision
    assert {figure.length for figure in artifact.parity} >= {1, 7, 20}
    assert min(figure.snr_db for figure in artifact.parity) >= (80 if precision == "fp32" else 45)
