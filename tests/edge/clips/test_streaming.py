"""A clip while it is decoded: the same sound in pieces, in files, pipes and on the loudspeaker; nothing is lost."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sa3_edge
from sa3_edge import (
    AudioSource,
    ClipOptions,
    Continuation,
    FileOptions,
    GenerationRequest,
    Inpainting,
    Pipeline,
    Region,
    RequestError,
)
from sa3_edge.clips.record import read_record
from tests.conftest import RunCli
from tests.stand_ins.graph_runs import NotedRuns

RATE = 44100


@pytest.fixture(scope="module")
def demo() -> Pipeline:
    return Pipeline.load("demo", keep_loaded=True)


def _source(seconds: float, peak: float = 0.5) -> AudioSource:
    audio = np.random.default_rng(0).uniform(-peak, peak, (2, int(seconds * RATE))).astype(np.float32)
    return AudioSource.from_array(audio, RATE)


_REQUESTS = {
    "text": GenerationRequest("x", 7.0, seed=1, steps=1, headroom=0.0),
    "short": GenerationRequest("x", 0.1, seed=1, steps=1, headroom=0.0),
    "unlimited": GenerationRequest("x", 7.0, seed=1, steps=1, headroom=0.0, limiter=False),
    "inpaint": GenerationRequest(
        "x", seed=1, steps=1, headroom=0.0, edit=Inpainting(_source(7.0), (Region(1, 2.99), Region(5, None)))
    ),
    "extend": GenerationRequest("x", seed=1, steps=1, headroom=0.0, edit=Continuation(_source(4.0), 3.0, 0.5)),
}


@pytest.mark.parametrize("name", _REQUESTS)
def test_pieces_join_to_what_generate_gives(demo: Pipeline, name: str) -> None:
    whole = demo.generate(_REQUESTS[name])
    stream = demo.stream(_REQUESTS[name])
    pieces = list(stream)
    assert all(piece.dtype == np.float32 and piece.shape[0] == 2 for piece in pieces)
    assert len(pieces) > 1 or whole.audio.shape[-1] < RATE
    assert np.array_equal(np.concatenate(pieces, axis=1), whole.audio)
    assert (stream.samples, stream.seconds, stream.seed) == (whole.audio.shape[-1], whole.seconds, whole.seed)
    assert np.array_equal(stream.latents, whole.latents)


def test_the_first_piece_comes_before_a_tenth_of_the_tiles_is_decoded(demo: Pipeline, tmp_path: Path) -> None:
    at_first: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        runs = NotedRuns(patch, demo)
        request = ClipOptions("x", seconds=120.0, seed=1, steps=1)
        from sa3_edge.clips.render import prepare

        job = prepare(request, FileOptions(tmp_path / "a.wav"))
        list(job.run(demo, hear=lambda piece, rate: at_first.append(runs.of("decoder"))))
    assert at_first[0] <= runs.of("decoder") / 10


def test_graphs_are_freed_with_the_stream(tiny_bundle: Path) -> None:
    pipeline = Pipeline.load(tiny_bundle)
    stream = pipeline.stream(GenerationRequest("x", 0.5, seed=1, steps=1))
    assert "denoiser" not in pipeline.graphs.loaded
    list(stream)
    assert pipeline.graphs.loaded == ()
    unfinished = pipeline.stream(GenerationRequest("x", 7.0, seed=1, steps=1))
    next(iter(unfinished))
    del unfinished
    assert pipeline.graphs.loaded == ()


@pytest.mark.parametrize("format_name", ["wav", "flac", "opus"])
def test_a_clip_in_a_pipe_is_the_clip_in_a_file(tmp_path: Path, format_name: str) -> None:
    command = [
        sys.executable,
        "-m",
        "sa3_edge",
        "generate",
        "x",
        "-m",
        "demo",
        "-s",
        "7",
        "--seed",
        "1",
        "--steps",
        "1",
    ]
    path = tmp_path / f"a.{format_name}"
    subprocess.run([*command, "-q", "-o", path], check=True)
    piped = subprocess.run([*command, "-o", "-", "--format", format_name], capture_output=True, check=True).stdout
    in_file, in_pipe = soundfile.SoundFile(path), soundfile.SoundFile(io.BytesIO(piped))
    assert np.array_equal(in_pipe.read(10 * 48000, dtype="int32"), in_file.read(10 * 48000, dtype="int32"))
    (tmp_path / "piped").write_bytes(piped)
    assert read_record(tmp_path / "piped") == read_record(path)


def test_what_stops_a_clip_in_the_middle_of_its_file_leaves_nothing(demo: Pipeline, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "decode" and done == total:
            raise StoppedError

    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3"):
        with pytest.raises(StoppedError):
            sa3_edge.render(
                ClipOptions("x", seconds=7.0, steps=1), demo, FileOptions(tmp_path / name, sidecar=True), stop
            )
    assert list(tmp_path.iterdir()) == []


# Nothing is replaced without a word


@pytest.mark.parametrize(
    ("there", "options"),
    [
        ("a.wav", ("-o", "a.wav")),
        ("a.npy", ("-o", "b.wav", "--save-latents", "a.npy")),
        ("a.wav.json", ("-o", "a.wav", "--sidecar")),
        ("a-8.wav", ("-o", "a.wav", "--seed", "7", "--count", "2")),
    ],
)
def test_a_file_that_is_there_is_kept(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(there).write_text("mine")
    code, out, err = run_cli("generate", "x", "-m", "absent", *options)
    assert (code, out) == (2, "")
    assert f"{there} exists and is not replaced; --overwrite does" in err
    assert ("without --output a clip gets a name of its own" in err) is (there == "a.wav")
    assert Path(there).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
    arguments = ("-m", "demo", "-s", "0.2", "--steps", "1", *options, "--overwrite")
    assert run_cli("generate", "x", *arguments)[0] == 0
    assert Path(there).read_bytes() != b"mine"


def test_making_a_clip_again_does_not_replace_it(run_cli: RunCli, tmp_path: Path) -> None:
    clip = tmp_path / "a.wav"
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.2", "-o", clip)[0] == 0
    before = clip.read_bytes()
    code, _, err = run_cli("regenerate", clip, "--seed", "9", "-o", clip)
    assert (code, "is not replaced" in err, clip.read_bytes() == before) == (2, True, True)
    assert run_cli("regenerate", clip, "--seed", "9", "-o", clip, "--overwrite")[0] == 0
    assert read_record(clip).options["seed"] == 9


def test_a_file_that_appears_while_a_clip_is_made_is_kept(demo: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"

    def appear(stage: str, done: int, total: int) -> None:
        if stage == "decode":
            path.write_text("mine")

    with pytest.raises(RequestError, match="has appeared meanwhile"):
        sa3_edge.render(ClipOptions("x", seconds=0.2, steps=1), demo, FileOptions(path), appear)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["mine"]


def test_a_list_replaces_only_clips(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("rain\n")
    (tmp_path / "clips").mkdir()
    foreign = tmp_path / "clips" / "0001-rain.wav"
    foreign.write_text("mine")
    arguments = ("generate", "--prompts", tmp_path / "list.txt", "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips")
    code, _, err = run_cli(*arguments)
    assert (code, "is not replaced; --overwrite does" in err, foreign.read_text()) == (1, True, "mine")
    assert run_cli(*arguments, "--overwrite")[0] == 0
    (tmp_path / "clips" / "results.jsonl").unlink()  # as a crash leaves it: the clip is there, its line is not
    assert run_cli(*arguments, "--seed", "3")[0] == 0


# What a file says of itself


def test_tags_are_as_full_as_asked(run_cli: RunCli, tmp_path: Path) -> None:
    arguments = ("generate", "secret prompt", "-m", "demo", "-s", "0.2", "--steps", "1")
    for name in ("wav", "flac", "ogg", "opus", "mp3"):
        for tags, says, marked in (("full", True, True), ("minimal", False, True), ("none", False, False)):
            path = tmp_path / f"{tags}.{name}"
            assert run_cli(*arguments, "--tags", tags, "-o", path)[0] == 0
            data = path.read_bytes()
            assert (b"secret prompt" in data) is says
            assert (b"trainedAlgorithmicMedia" in data) is marked
            assert tags != "none" or b"sa3-edge" not in data
    code, _, err = run_cli(*arguments, "--tags", "some", "-o", tmp_path / "x.wav")
    assert (code, "unknown tags 'some'; choose full, minimal, none" in err) == (2, True)
    code, _, err = run_cli("regenerate", tmp_path / "minimal.wav")
    assert (code, "has no record" in err) == (2, True)
