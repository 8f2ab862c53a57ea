"""Each stage by each engine, and by PyTorch eager in the same run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import litert
from benchmarks.measure import Results, timed
from benchmarks.torch_reference import IDS, TorchModels
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, create_engine
from sa3_edge.engines import Session as EngineSession
from sa3_edge.engines.libraries import load_onnxruntime
from sa3_edge.errors import EngineError
from sa3_edge.generation.lengths import plan_lengths
from sa3_edge.generation.tiling import decode_tiles, pad_to_multiple, plan_tiles
from sa3_edge.manifest import GraphName
from sa3_export.graphs.codec import tiling
from sa3_export.parity import snr_db
from sa3_export.precision import Precision, bar_of

ort = load_onnxruntime()

_T = 0.63  # any time of the schedule
_GEMM = 2048


def _load(bundle: Bundle, engine: str, graph: GraphName, threads: int) -> EngineSession:
    try:
        return create_engine(engine, EngineOptions(threads=threads)).load(bundle, graph)
    except EngineError as error:
        pytest.skip(f"{engine} is not available: {error}")


def _lengths(models: TorchModels, seconds: float) -> tuple[int, int]:
    """Valid and allocated frames of a clip."""
    config = models.checkpoint.config
    rate, frame = config.sample_rate, config.samples_per_frame
    valid = -(-int(seconds * rate) // frame) + int(6.0 * rate / frame)
    allocated = -(-int((seconds + 6.0) * rate) // frame)
    allocated += allocated % 2
    return min(valid, config.max_frames), min(allocated, config.max_frames)


def _conditioning(bundle: Bundle, seconds: float) -> dict[str, NDArray[Any]]:
    engine = create_engine("onnxruntime", EngineOptions())
    hidden = engine.load(bundle, "text_encoder").run({"input_ids": IDS.numpy()})["hidden"]
    return engine.load(bundle, "conditioner").run(_conditioner_inputs(bundle, hidden, seconds))


def _conditioner_inputs(bundle: Bundle, hidden: NDArray[Any], seconds: float) -> dict[str, NDArray[Any]]:
    channels = bundle.manifest.audio.latent_channels
    return {
        "hidden": hidden,
        "text_mask": np.ones(hidden.shape[:2], np.float32),
        "padding_scale": np.ones(1, np.float32),
        "seconds": np.array([seconds], np.float32),
        "inpaint_mask": np.zeros((1, 1, 1), np.float32),
        "inpaint_masked_input": np.zeros((1, channels, 1), np.float32),
    }


def _rates(results: Results, seconds: float, time: float) -> dict[str, float]:
    """How fast a step was computed, where the run has measured what there is to say it from."""
    work = [row for row in results.rows if row.key == f"step pytorch-modules fp32 {seconds:g}"]
    peak = [row for row in results.rows if row.stage == "gemm"]
    if not work or not peak:
        return {}
    rate = work[0].more["gflop"] / time
    return {"gflops": rate, "percent_of_fp32_peak": 100 * rate / peak[0].more["gflops"]}


def _load_litert(checkpoint: Path, graph: GraphName, frames: int, precision: Precision, threads: int) -> litert.Session:
    if reason := litert.why_not(precision):
        pytest.skip(reason)
    return litert.Session(litert.converted(checkpoint, graph, frames, precision), threads)


def _agreement(graph: GraphName, precision: Precision, actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """SNR against PyTorch, in dB, at least what our own graphs must reach."""
    ratio, least = snr_db(actual, expected), bar_of(graph, precision).snr_db
    assert ratio >= least, f"{graph} {precision}: {ratio:.1f} dB SNR, at least {least:g} dB are required"
    return ratio


def test_gemm_peak(results: Results, rounds: int, threads: int) -> None:
    """What the machine can multiply in fp32, by the same library that runs the graphs: the roof of the roofline."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((_GEMM, _GEMM), np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "gemm",
        [value("x", TensorProto.FLOAT, weight.shape)],
        [value("y", TensorProto.FLOAT, weight.shape)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    times = timed(lambda: session.run(None, {"x": weight}), 3 * rounds)
    results.add("gemm", "onnxruntime", "fp32", 0, times, gflops=2 * _GEMM**3 / times[0] / 1e9)


@pytest.mark.parametrize("graph", ["text_encoder", "conditioner", "denoiser", "decoder"])
def test_load(
    results: Results, bundle: Bundle, engine: str, precision: str, threads: int, rounds: int, graph: GraphName
) -> None:
    _load(bundle, engine, graph, threads)  # what an engine keeps for the next start is made here
    times = timed(lambda: _load(bundle, engine, graph, threads), rounds, warm_up=False)
    results.add(f"load {graph}", engine, precision, 0, times)


def test_text_and_conditioner(
    results: Results, bundle: Bundle, engine: str, precision: str, threads: int, rounds: int
) -> None:
    session = _load(bundle, engine, "text_encoder", threads)
    ids = IDS.numpy()
    results.add("text", engine, precision, 0, timed(lambda: session.run({"input_ids": ids}), rounds))
    inputs = _conditioner_inputs(bundle, session.run({"input_ids": ids})["hidden"], 30.0)
    conditioner = _load(bundle, engine, "conditioner", threads)
    results.add("conditioner", engine, precision, 0, timed(lambda: conditioner.run(inputs), rounds))


def test_text_pytorch(results: Results, torch_models: TorchModels, rounds: int) -> None:
    with torch.no_grad():
        results.add("text", "pytorch-reference", "fp32", 0, timed(torch_models.text, rounds))


@pytest.mark.parametrize("how", ["reference", "modules"])
def test_step_pytorch(results: Results, torch_models: TorchModels, seconds: float, rounds: int, how: str) -> None:
    valid, allocated = _lengths(torch_models, seconds)
    frames = allocated if how == "reference" else valid
    x, t = torch.randn(1, torch_models.channels, frames), torch.tensor([_T])
    with torch.no_grad():
        make = torch_models.step_reference if how == "reference" else torch_models.step_modules
        step = make(torch_models.text(), seconds, frames)
        # The counter does not know PyTorch's fused attention on the CPU, so the counted run, not timed, is without.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            step(x, t)
        times = timed(lambda: step(x, t), rounds)
    gflop = counter.get_total_flops() / 1e9
    results.add("step", f"pytorch-{how}", "fp32", seconds, times, gflop=gflop)


def test_step(
    results: Results, bundle: Bundle, engine: str, precision: str, threads: int, seconds: float, rounds: int
) -> None:
    lengths = plan_lengths(seconds, bundle.manifest.sampler.headroom_seconds, bundle.manifest)
    session = _load(bundle, engine, "denoiser", threads)
    x = np.random.default_rng(0).standard_normal(
        (1, bundle.manifest.audio.latent_channels, lengths.valid), dtype=np.float32
    )
    inputs = {"x": x, "t": np.array([_T], np.float32), **_conditioning(bundle, seconds)}
    times = timed(lambda: session.run(inputs), rounds)
    results.add("step", engine, precision, seconds, times, **_rates(results, seconds, times[0]))


def test_step_litert(
    results: Results,
    checkpoint: Path,
    torch_models: TorchModels,
    precision: Precision,
    threads: int,
    seconds: float,
    rounds: int,
) -> None:
    frames, _ = _lengths(torch_models, seconds)
    session = _load_litert(checkpoint, "denoiser", frames, precision, threads)
    x, t = torch.randn(1, torch_models.channels, frames), torch.tensor([_T])
    with torch.no_grad():
        shared, bias = torch_models.conditioning(torch_models.text(), seconds)
        expected = torch_models.dit.denoise(x, t, shared, bias).numpy()
    tensors = {"x": x, "t": t, **shared._asdict(), "key_bias": bias}
    inputs = {name: tensor.numpy() for name, tensor in tensors.items()}
    ratio = _agreement("denoiser", precision, session.run(inputs), expected)
    times = timed(lambda: session.run(inputs), rounds)
    results.add("step", "litert", precision, seconds, times, snr_db=ratio, **_rates(results, seconds, times[0]))


def test_decode_pytorch(results: Results, torch_models: TorchModels, seconds: float, rounds: int) -> None:
    _, allocated = _lengths(torch_models, seconds)
    latents = torch.randn(1, torch_models.channels, allocated)
    with torch.no_grad():
        times = timed(lambda: torch_models.autoencoder.decode(latents), rounds)
    results.add("decode", "pytorch-reference", "fp32", seconds, times)


def test_decode(
    results: Results, bundle: Bundle, engine: str, precision: str, threads: int, seconds: float, rounds: int
) -> None:
    manifest = bundle.manifest
    lengths = plan_lengths(seconds, manifest.sampler.headroom_seconds, manifest)
    session = _load(bundle, engine, "decoder", threads)
    shape = (1, manifest.audio.latent_channels, lengths.valid)
    latents = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    frame = manifest.audio.samples_per_frame
    # As the pipeline cuts it, for functions of fixed lengths.
    full = engine == "coreml" and bool(bundle.artifact("decoder", "coreml").functions)

    def decode() -> None:
        wanted = -(-lengths.samples // frame)
        run = decode_tiles(
            lambda tile: session.run({"latents": tile})["audio"],
            latents,
            wanted,
            manifest.tiles.decoder,
            frame,
            full=full,
        )
        for _ in run:
            pass

    results.add("decode", engine, precision, seconds, timed(decode, rounds))


def test_decode_litert(
    results: Results,
    checkpoint: Path,
    torch_models: TorchModels,
    precision: Precision,
    threads: int,
    seconds: float,
    rounds: int,
) -> None:
    config = torch_models.checkpoint.config
    tiles, frame = tiling(config).decoder, config.samples_per_frame
    wanted = -(-int(seconds * config.sample_rate) // frame)
    shape = (1, torch_models.channels, _lengths(torch_models, seconds)[0])
    latents = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    latents = pad_to_multiple(latents, tiles.multiple)
    several = wanted > tiles.frames
    tile = plan_tiles(wanted, latents.shape[-1], tiles, full=several)[0]
    session = _load_litert(checkpoint, "decoder", tile.stop - tile.start, precision, threads)

    first = latents[:, :, tile.start : tile.stop]
    with torch.no_grad():
        expected = torch_models.autoencoder.decode(torch.from_numpy(first)).numpy()
    ratio = _agreement("decoder", precision, session.run({"latents": first}), expected)

    def decode() -> None:
        # Tiles of one length, because a graph has one.
        run = decode_tiles(lambda each: session.run({"latents": each}), latents, wanted, tiles, frame, full=several)
        for _ in run:
            pass

    results.add("decode", "litert", precision, seconds, timed(decode, rounds), snr_db=ratio)
