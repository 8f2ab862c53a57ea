"""What a program of one's own meets: wrong types, arrays, saving, cancelling, several threads."""

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile

import sa3_edge
from sa3_edge import (
    AudioSource,
    CancelledError,
    ClipOptions,
    FileOptions,
    GenerationRequest,
    Pipeline,
    RequestError,
    render,
)

RATE = 44_100


@pytest.fixture(scope="module")
def demo() -> Pipeline:
    return Pipeline.load("demo", keep_loaded=True)


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (GenerationRequest, {"prompt": None}, "prompt must be text, got NoneType: None"),
        (GenerationRequest, {"prompt": b"x"}, "prompt must be text, got bytes: b'x'"),
        (GenerationRequest, {"seconds": "30"}, "seconds must be a number or None, got str: '30'"),
        (GenerationRequest, {"seed": 1.5}, "seed must be a whole number or None, got float: 1.5"),
        (GenerationRequest, {"steps": True}, "steps must be a whole number or None, got bool: True"),
        (GenerationRequest, {"edit": "song.wav"}, "edit must be Variation or Inpainting or Continuation or None"),
        (GenerationRequest, {"limiter": 1}, "limiter must be True or False, got int: 1"),
        (GenerationRequest, {"adapters": "a.safetensors"}, "adapters must be a tuple of AdapterFile"),
        (GenerationRequest, {"after": [1.0]}, "after must be ndarray or None"),
        (ClipOptions, {"inpaint": "4:8"}, "inpaint must be a list of text, got str: '4:8'"),
        (ClipOptions, {"inpaint": [4]}, "inpaint must be a list of text, got list: [4]"),
        (ClipOptions, {"init_audio": "song.wav"}, "init_audio must be a pathlib.Path or None, got str: 'song.wav'"),
        (FileOptions, {"output": "a.wav"}, "output must be a pathlib.Path or None, got str: 'a.wav'"),
        (FileOptions, {"bits": 16}, "bits must be text or None, got int: 16"),
    ],
)
def test_a_wrong_type_is_refused_by_the_fields_name(kind: type, values: dict[str, Any], said: str) -> None:
    others = {} if kind is FileOptions else {"prompt": "x"}
    with pytest.raises(RequestError, match=re.escape(said)):
        kind(**{**others, **values})


def test_numbers_of_numpy_are_numbers() -> None:
    request = GenerationRequest("x", seconds=np.float32(0.5), seed=np.int64(3), steps=np.int32(2))  # type: ignore[arg-type]
    assert dataclasses.replace(request, cfg=2).cfg == 2


@pytest.mark.parametrize("kind", ["int16", "int32", "int8", "uint8"])
def test_integers_are_scaled_to_full_scale(kind: str) -> None:
    limits = np.iinfo(kind)
    middle = 128 if kind == "uint8" else 0
    audio = np.array([[limits.min, middle, limits.max]], kind)
    made, _ = AudioSource.from_array(audio, RATE).load(3, RATE, 1)
    assert made[0, :2].tolist() == [-1.0, 0.0]
    assert 1 - 2.0**-6 < made[0, 2] <= 1


@pytest.mark.parametrize(
    ("audio", "rate", "said"),
    [
        (np.zeros((RATE, 2), np.float32), RATE, "got shape (44100, 2); turn it: audio.T"),
        (np.zeros(RATE, np.float32), RATE, "got shape (44100,); one channel is audio[None]"),
        (np.zeros((2, 10), np.int64), RATE, "audio must be floats or int16, int32, int8, uint8, got int64"),
        (np.zeros((2, 10), np.complex64), RATE, "got complex64"),
        ([[0.0]], RATE, "audio must be a NumPy array (channels, samples), got list"),
        (np.zeros((2, 10), np.float32), 44_100.0, "rate must be a whole number of Hz, got 44100.0"),
    ],
)
def test_arrays_that_lie_on_their_side_or_have_no_scale_are_refused(audio: Any, rate: Any, said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)):
        AudioSource.from_array(audio, rate)


def test_what_was_made_is_saved_with_tags(demo: Pipeline, tmp_path: Path) -> None:
    made = demo.generate(GenerationRequest("rain on tin", seconds=0.5, seed=1, steps=1))
    for name in ("a.wav", "a.flac", "a.ogg"):
        path = made.save(tmp_path / name)
        with soundfile.SoundFile(path) as file:
            assert (file.frames, file.samplerate, file.title) == (made.audio.shape[1], RATE, "rain on tin")
    tags = mutagen.File(tmp_path / "a.flac")
    assert tags["digitalsourcetype"] == ["trainedAlgorithmicMedia"] or "trained" in str(tags["digitalsourcetype"])
    made.save(str(tmp_path / "b.wav"), bits="float")
    assert np.array_equal(soundfile.read(tmp_path / "b.wav", dtype="float32")[0].T, np.clip(made.audio, -1, 1))
    with pytest.raises(RequestError, match="exists and is not replaced"):
        made.save(tmp_path / "a.wav")
    assert made.save(tmp_path / "a.wav", overwrite=True).is_file()
    with pytest.raises(RequestError, match=r"\.xyz is no known format"):
        made.save(tmp_path / "a.xyz")


def test_installed_models_are_named_with_their_folders() -> None:
    models = sa3_edge.installed_models()
    assert (models["demo"] / "manifest.json").is_file()


@pytest.mark.parametrize("when", ["before", "denoise", "decode"])
def test_a_run_is_cancelled_by_an_event_and_leaves_nothing(demo: Pipeline, tmp_path: Path, when: str) -> None:
    cancel = Event()
    if when == "before":
        cancel.set()

    def progress(stage: str, done: int, total: int) -> None:
        if stage == when:
            cancel.set()

    with pytest.raises(CancelledError, match="the run was cancelled"):
        demo.generate(GenerationRequest("x", seconds=0.5, seed=1), progress, cancel=cancel)
    cancel.clear()
    if when == "before":
        cancel.set()
    options = ClipOptions("x", seconds=0.5, seed=1)
    with pytest.raises(CancelledError):
        render(options, demo, FileOptions(output=tmp_path / "a.wav"), progress, cancel=cancel)
    assert list(tmp_path.iterdir()) == []
    assert demo.generate(GenerationRequest("x", seconds=0.5, seed=1), cancel=Event()).seed == 1


def test_pipelines_in_threads_make_what_they_make_alone(demo: Pipeline) -> None:
    def make(seed: int) -> Any:
        with Pipeline.load("demo", threads=1) as pipeline:
            return pipeline.generate(GenerationRequest("rain", seconds=0.5, seed=seed, steps=2)).audio

    with ThreadPoolExecutor(3) as pool:
        beside = list(pool.map(make, range(3)))
    assert all(np.array_equal(audio, make(seed)) for seed, audio in enumerate(beside))


def test_what_is_public_is_listed_and_there() -> None:
    assert set(sa3_edge.__all__) <= set(dir(sa3_edge))
    assert all(getattr(sa3_edge, name) is not None for name in sa3_edge.__all__)
