"""Loops: exact to the sample, told as slices of longer pieces, without a seam, known as loops by what plays them."""

import json
import struct
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile

import sa3_edge
from sa3_edge import ClipOptions, FileOptions, Pipeline, RequestError
from sa3_edge.audio.encoding import Tags, Tempo, encode_audio
from sa3_edge.audio.formats import encoding_for
from sa3_edge.audio.measure import seam
from sa3_edge.clips.request import build_piece
from sa3_edge.compose.piece import stream_many
from tests.conftest import RunCli
from tests.stand_ins.graph_runs import NotedRuns

RATE = 44100
FAST: dict[str, Any] = {"steps": 1, "headroom": 0.0}


@pytest.fixture(scope="module")
def demo() -> Pipeline:
    return Pipeline.load("demo", keep_loaded=True)


def _audio(pipeline: Pipeline, options: ClipOptions) -> Any:
    seed = options.seed or 0
    (stream,) = (each.whole() for each in stream_many(pipeline, build_piece(options), range(seed, seed + 1)))
    return stream.audio


def test_loops_are_as_long_as_their_bars_to_the_sample(demo: Pipeline) -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        bpm, bars, beats = float(random.uniform(60, 300)), int(random.integers(1, 4)), int(random.integers(3, 7))
        exact = round(bars * beats * 60 / bpm * 44100)
        for loop in (True, False):
            options = ClipOptions("x", loop=loop, bpm=bpm, bars=bars, beats=beats, seed=1)
            assert build_piece(options).samples(demo.bundle.manifest) == exact
        if exact < RATE:
            assert _audio(demo, ClipOptions("x", loop=True, bpm=bpm, bars=bars, beats=beats, **FAST)).shape[1] == exact


@pytest.mark.parametrize(
    "options",
    [
        ClipOptions("techno drums", loop=True, bpm=129.2, bars=2, seed=1),
        ClipOptions("ambient pad", loop=True, seconds=5.0, seed=2),
        ClipOptions("piano", loop=True, bpm=97, bars=1, beats=3, seed=3, normalize=-18.0),
    ],
)
def test_a_loop_has_no_step_where_it_begins_again(demo: Pipeline, options: ClipOptions) -> None:
    joined = seam(_audio(demo, options))
    assert joined is not None
    assert joined.level <= joined.level_inside
    assert joined.slope <= joined.slope_inside
    assert joined.spectrum <= joined.spectrum_inside


def test_a_clip_that_is_no_loop_has_a_seam(demo: Pipeline) -> None:
    joined = seam(_audio(demo, ClipOptions("piano", seconds=5.0, seed=3)))
    assert joined is not None
    assert joined.excess > 1


def test_the_model_is_told_of_a_longer_piece(demo: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = NotedRuns(monkeypatch, demo)
    _audio(demo, ClipOptions("x", loop=True, seconds=1.0, **FAST))
    assert runs.told_seconds() == [120.0, 120.0]
    runs.clear()
    _audio(demo, ClipOptions("x", seconds=1.0, **FAST))
    assert runs.told_seconds() == [1.0]


def test_what_a_loop_keeps_is_what_its_first_pass_made(demo: Pipeline) -> None:
    options = ClipOptions("x", loop=True, seconds=4.0, seed=1, limiter=False)
    first: list[Any] = []
    real = demo.stream

    def spy(request: Any, progress: Any) -> Any:
        stream = real(request, progress)
        if not first:
            whole = stream.whole()
            first.append(whole.audio)
            return stream.replaced(iter([whole.audio]), whole.audio.shape[1])
        return stream

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "stream", spy)
        made = _audio(demo, options)
    beside = int(1.1 * RATE)
    assert np.array_equal(made[:, beside:-beside], first[0][:, beside:-beside])
    assert not np.array_equal(made[:, :beside], first[0][:, :beside])


# What is in the file


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """All chunks of a WAV file, by the RIFF specification."""
    assert data[:4] == b"RIFF"
    assert data[8:12] == b"WAVE"
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    found, place = {}, 12
    while place < len(data):
        name, size = struct.unpack("<4sI", data[place : place + 8])
        found[name] = data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return found


def test_wav_carries_loop_points_and_tempo(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    arguments = ("--loop", "--bpm", "180", "--bars", "1", "--beats", "3", "--steps", "1", "--seed", "1")
    code, _, err = run_cli("generate", "x", "-m", "demo", *arguments, "-o", path)
    assert code == 0, err
    chunks = _chunks(path.read_bytes())
    smpl = struct.unpack("<9I6I", chunks[b"smpl"])
    assert (smpl[2], smpl[3], smpl[7]) == (round(1e9 / RATE), 60, 1)  # nanoseconds a sample, middle C, one loop
    assert smpl[10:15] == (0, 0, RATE - 1, 0, 0)  # forward, all of it, for ever
    kind, _, _, _, beats, denominator, numerator, tempo = struct.unpack("<IHHfIHHf", chunks[b"acid"])
    assert (kind & 1, beats, numerator, denominator, tempo) == (0, 3, 3, 4, 180.0)
    info = soundfile.info(path)
    assert info.frames == RATE


def test_libsndfile_finds_the_loop_and_the_tempo(tmp_path: Path) -> None:
    tags = Tags(tempo=Tempo(124.0, 32, 4), loop=True)
    data, _ = encode_audio(np.zeros((2, 1000), np.float32), RATE, encoding_for("wav", "16"), tags)
    (tmp_path / "a.wav").write_bytes(data)
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        loop = soundfile._ffi.new("char[64]")
        get_loop_info = 0x10E0
        assert soundfile._snd.sf_command(file._file, get_loop_info, loop, 44)
        _, meter, mode, beats, tempo = struct.unpack("<hhiif", bytes(soundfile._ffi.buffer(loop, 16)))
        assert (meter, mode != 0, beats, tempo) == (4, True, 32, 124.0)


@pytest.mark.parametrize(("bpm", "said"), [(124.0, "124"), (80.75, "80.75"), (60.0, "60")])
def test_other_formats_carry_the_tempo_as_a_tag(bpm: float, said: str) -> None:
    import io

    audio = np.zeros((2, 9000), np.float32)
    for name in ("flac", "ogg", "opus", "mp3"):
        for marked in (True, False):
            tags = Tags(comment='{"date=~": "BPM=1"}' * 3, tempo=Tempo(bpm, 4), marked=marked)
            for patchable in (True, False):
                data = io.BytesIO()
                from sa3_edge.audio.encoding import AudioWriter

                with AudioWriter(data, RATE, 2, 9000, encoding_for(name, None), tags, patchable=patchable) as writer:
                    writer.write(audio)
                data.seek(0)
                read = mutagen.File(data)
                if name == "mp3":
                    assert read.tags["TBPM"].text == [str(round(bpm))]
                else:
                    assert read.tags["bpm"] == [said]
                    assert "date" not in read.tags
                    assert ("digitalsourcetype" in read.tags) is marked
                data.seek(0)
                assert len(soundfile.read(data)[0]) > 0


def test_a_loop_is_made_again_from_its_file(run_cli: RunCli, tmp_path: Path) -> None:
    first, again = tmp_path / "a.wav", tmp_path / "b.wav"
    arguments = ("--loop", "--bpm", "200", "--bars", "1", "--steps", "1", "--no-bpm-prompt")
    assert run_cli("generate", "x", "-m", "demo", *arguments, "-o", first)[0] == 0
    assert run_cli("regenerate", first, "-o", again)[0] == 0
    assert first.read_bytes() == again.read_bytes()
    code, out, _ = run_cli("info", first, "--json")
    recorded = json.loads(out)
    assert (code, recorded["mode"], recorded["prompt"]) == (0, "loop", "x")
    says = {name: recorded["options"][name] for name in ("loop", "bpm", "bars", "bpm_prompt", "seconds")}
    assert says == {"loop": True, "bpm": 200.0, "bars": 1, "bpm_prompt": False, "seconds": None}
    assert run_cli("regenerate", first, "--bars", "2", "-o", tmp_path / "c.wav")[0] == 0
    assert soundfile.info(tmp_path / "c.wav").frames == 2 * soundfile.info(first).frames


def test_lists_make_loops(run_cli: RunCli, tmp_path: Path) -> None:
    lines = [{"prompt": "a", "bars": 1}, {"prompt": "b", "bars": 2, "bpm": 240}]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ("--prompts", tmp_path / "l.jsonl", "--loop", "--bpm", "200", "--steps", "1", "-o", tmp_path / "out")
    code, out, _ = run_cli("generate", "-m", "demo", *arguments, "--json")
    assert code == 0
    assert [json.loads(line)["samples"] for line in out.splitlines()] == [52920, 88200]
    code, out, _ = run_cli("generate", "-m", "demo", *arguments, "--json")
    assert [json.loads(line).get("skipped") for line in out.splitlines()] == [True, True]


@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        (ClipOptions("house", bpm=124.0), "house, 124 BPM"),
        (ClipOptions("house at 90bpm", bpm=124.0), "house at 90bpm"),
        (ClipOptions("house", bpm=124.0, bpm_prompt=False), "house"),
        (ClipOptions("", bpm=80.5), "80.5 BPM"),
        (ClipOptions("house"), "house"),
    ],
)
def test_the_prompt_says_the_tempo_in_words(options: ClipOptions, prompt: str) -> None:
    assert build_piece(options).request.prompt == prompt


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bars", "4"), "--bars needs --bpm"),
        (("--bpm", "120", "--beats", "3"), "--beats needs --bars"),
        (("--bpm", "120", "--bars", "4", "--seconds", "3"), "--bars and --seconds do not go together"),
        (("--loop", "--bpm", "120"), "say how many: --bars"),
        (("--loop", "--fade-out", "1"), "--loop and --fade-out do not go together"),
        (("--loop", "--trim-silence"), "--loop and --trim-silence do not go together"),
        (("--loop", "--inpaint", "0:1", "--init-audio", "x.wav"), "--loop and --inpaint do not go together"),
        (("--loop", "--extend", "1", "--init-audio", "x.wav"), "--loop and --extend do not go together"),
        (("--loop", "--save-latents", "x.npy"), "--save-latents and --loop do not go together"),
        (("--bpm", "5"), "bpm must be from 20 to 400"),
        (("--bpm", "120", "--bars", "0"), "bars must be from 1 to"),
        (("--no-bpm-prompt",), "--no-bpm-prompt needs --bpm"),
        (("--loop", "--seconds", "0.2", "-m", "demo"), "a loop must be 0.5 seconds or more"),
        (("--loop", "--bpm", "60", "--bars", "100", "-m", "demo"), "400 seconds is more than demo"),
    ],
)
def test_invalid_loops_are_refused_in_one_line(run_cli: RunCli, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run_cli("generate", "x", "-m", "absent", *arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_a_variation_can_be_a_loop(demo: Pipeline, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (3 * RATE, 2))
    soundfile.write(tmp_path / "source.wav", noise, RATE)
    options = ClipOptions("x", init_audio=tmp_path / "source.wav", loop=True, noise_level=0.3)
    clip = sa3_edge.render(options, demo, FileOptions(tmp_path / "a.wav"))
    assert clip.samples == 3 * RATE
    joined = seam(soundfile.read(tmp_path / "a.wav", dtype="float32")[0].T)
    assert joined is not None
    assert joined.level <= joined.level_inside


def test_a_loop_streams_whole(demo: Pipeline) -> None:
    import io

    sink = io.BytesIO()
    clip = sa3_edge.render(ClipOptions("x", loop=True, seconds=1.0, **FAST), demo, sink=sink)
    assert soundfile.info(io.BytesIO(sink.getvalue())).frames == clip.samples == RATE
    with pytest.raises(RequestError):
        sa3_edge.render(ClipOptions("x", loop=True, fade_in=1.0), demo, sink=sink)
