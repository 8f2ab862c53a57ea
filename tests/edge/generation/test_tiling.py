"""Tiles give what the whole gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, create_engine
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.generation.request import GenerationRequest
from sa3_edge.generation.tiling import decode_tiles, encode_tiles, pad_to_multiple
from sa3_edge.manifest import GraphName

FRAME = 4096
Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def bundle(pipeline: Pipeline) -> Bundle:
    return pipeline.bundle


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> Callable[[GraphName, str, str], Function]:
    def load(name: GraphName, source: str, result: str) -> Function:
        session = create_engine("onnxruntime", EngineOptions()).load(bundle, name)
        return lambda array: session.run({source: array})[result]

    return load


@pytest.mark.parametrize("frames", [1, 2, 63, 64, 65, 66, 127, 130])
def test_decoding_in_tiles_equals_decoding_whole(graph: Callable[..., Function], bundle: Bundle, frames: int) -> None:
    decode = graph("decoder", "latents", "audio")
    latents = np.random.default_rng(frames).standard_normal((1, 16, frames)).astype(np.float32)
    whole = decode(pad_to_multiple(latents, 2))[:, :, : frames * FRAME]
    tiled = np.concatenate(list(decode_tiles(decode, latents, frames, bundle.manifest.tiles.decoder, FRAME)), axis=-1)
    assert tiled.shape == whole.shape
    assert np.abs(tiled - whole).max() < 1e-5


def test_only_the_frames_that_are_wanted_are_decoded(graph: Callable[..., Function], bundle: Bundle) -> None:
    decode = graph("decoder", "latents", "audio")
    given: list[int] = []

    def counting(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        given.append(tile.shape[-1])
        return decode(tile)

    latents = np.random.default_rng(0).standard_normal((1, 16, 118)).astype(np.float32)
    tiled = np.concatenate(list(decode_tiles(counting, latents, 5, bundle.manifest.tiles.decoder, FRAME)), axis=-1)
    assert given == [8]  # 5 wanted, 2 of overlap, one to an even number
    assert np.abs(tiled - decode(latents)[:, :, : 5 * FRAME]).max() < 1e-5


@pytest.mark.parametrize("frames", [2, 63, 68, 70, 133])
def test_full_tiles_have_one_length_and_equal_the_whole(
    graph: Callable[..., Function], bundle: Bundle, frames: int
) -> None:
    decode = graph("decoder", "latents", "audio")
    given: set[int] = set()

    def noting(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        given.add(tile.shape[-1])
        return decode(tile)

    latents = np.random.default_rng(frames).standard_normal((1, 16, frames)).astype(np.float32)
    pieces = decode_tiles(noting, latents, frames, bundle.manifest.tiles.decoder, FRAME, full=True)
    tiled = np.concatenate(list(pieces), axis=-1)
    whole = decode(pad_to_multiple(latents, 2))[:, :, : frames * FRAME]
    assert tiled.shape == whole.shape
    assert np.abs(tiled - whole).max() < 1e-5
    assert given == {min(68, frames + frames % 2)}


@pytest.mark.parametrize("frames", [2, 64, 66, 134])
def test_encoding_in_tiles_equals_encoding_whole(graph: Callable[..., Function], bundle: Bundle, frames: int) -> None:
    encode = graph("encoder", "audio", "latents")
    audio = np.random.default_rng(frames).uniform(-0.5, 0.5, (1, 2, frames * FRAME)).astype(np.float32)
    tiled = encode_tiles(encode, audio, frames, bundle.manifest.tiles.encoder, FRAME)
    assert np.abs(tiled - encode(audio)).max() < 1e-5


def test_an_odd_sequence_is_filled_with_its_last_frame() -> None:
    latents = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert np.array_equal(pad_to_multiple(latents, 2), [[[0, 1, 2, 2], [3, 4, 5, 5]]])


@pytest.mark.parametrize("full", [True, False])
def test_the_engine_says_whether_tiles_are_full(monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    pipeline = Pipeline.load("demo", keep_loaded=True)
    given: list[int] = []
    run = pipeline.graphs.run

    def noting(graph: GraphName, inputs: Any, *rest: Any) -> Any:
        if graph == "decoder":
            given.append(inputs["latents"].shape[-1])
        return run(graph, inputs, *rest)

    monkeypatch.setattr(pipeline.graphs, "run", noting)
    monkeypatch.setattr(type(pipeline.graphs.engine), "wants_full_tiles", lambda *asked: full)
    pipeline.generate(GenerationRequest("x", seconds=8.0, seed=1, steps=1))
    assert len(given) > 1
    assert (len(set(given)) == 1) is full
