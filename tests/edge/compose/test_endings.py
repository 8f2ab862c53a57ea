"""A beginning and an end: fades, trimmed silence, loudness, and more composed than is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import soundfile

from sa3_edge import ClipOptions, Pipeline, RequestError
from sa3_edge.audio.limiter import true_peak
from sa3_edge.clips.request import build_piece
from sa3_edge.compose.endings import Endings, faded, normalized, sounding
from sa3_edge.compose.piece import stream_many
from sa3_edge.generation.lengths import plan_lengths
from tests.conftest import RunCli

RATE = 44100


@pytest.fixture(scope="module")
def demo() -> Pipeline:
    return Pipeline.load("demo", keep_loaded=True)


def _made(pipeline: Pipeline, **options: Any) -> Any:
    (stream,) = stream_many(pipeline, build_piece(ClipOptions("lofi piano", **options)), range(1, 2))
    return stream.whole()


def _noise(seconds: float, level: float = 0.1) -> Any:
    return (level * np.random.default_rng(0).standard_normal((2, int(seconds * RATE)))).astype(np.float32)


def test_fades_are_the_same_however_the_clip_is_cut() -> None:
    audio = np.ones((2, 1000), np.float32)
    endings = Endings(fade_in=200 / RATE, fade_out=300 / RATE)
    whole = np.concatenate(list(faded(iter([audio]), endings, 1000, RATE)), axis=1)
    cut = np.concatenate(
        list(faded(iter(np.split(audio, 7 * [0] + [150, 201, 699, 800], axis=1)), endings, 1000, RATE)), axis=1
    )
    assert np.array_equal(whole, cut)
    assert whole[0, 0] < 1e-3
    assert whole[0, -1] < 1e-3
    assert np.all(np.diff(whole[0, :200]) > 0)
    assert np.all(np.diff(whole[0, 700:]) < 0)
    assert np.all(whole[:, 200:700] == 1)


def test_a_faded_clip_is_the_clip_but_for_its_ends(demo: Pipeline) -> None:
    plain = _made(demo, seconds=4.0, steps=1)
    made = _made(demo, seconds=4.0, steps=1, fade_in=0.5, fade_out=1.0)
    assert np.array_equal(made.audio[:, RATE // 2 : 3 * RATE], plain.audio[:, RATE // 2 : 3 * RATE])
    assert np.abs(made.audio[:, -10:]).max() < 1e-3 * np.abs(plain.audio).max()


def test_silence_is_found_at_both_ends_only() -> None:
    audio = np.zeros((2, RATE), np.float32)
    audio[1, 10_000] = 0.1
    audio[0, 30_000] = -0.1
    assert sounding(audio, RATE) == (10_000 - 441, 30_001 + 441)
    assert sounding(np.zeros((2, 500), np.float32), RATE) == (0, 500)


def test_a_trimmed_clip_is_as_long_as_it_sounds(run_cli: RunCli, tmp_path: Path, demo: Pipeline) -> None:
    rising = ("--fade-in", "3", "--seconds", "4", "--seed", "1", "--steps", "2", "-m", "demo")
    path = tmp_path / "a.wav"
    assert run_cli("generate", "piano", *rising, "-o", tmp_path / "plain.wav")[0] == 0
    code, _, _ = run_cli("generate", "piano", "--trim-silence", "--normalize", "-20", *rising, "-o", path)
    assert code == 0
    assert soundfile.info(path).frames <= 4 * RATE
    assert run_cli("regenerate", path, "-o", tmp_path / "b.wav")[0] == 0
    assert path.read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("target", [-14.0, -30.0, -9.0])
def test_a_clip_is_as_loud_as_asked_and_keeps_below_the_peak(target: float) -> None:
    audio = _noise(3.0)
    audio[:, ::RATE] = 0.9
    made, note = normalized(audio, RATE, target, -1.0)
    assert pyloudnorm.Meter(RATE).integrated_loudness(made.T.astype(float)) == pytest.approx(target, abs=0.2)
    assert true_peak(made, RATE) <= 10 ** (-1 / 20)
    assert bool(note) is (target > -20)


def test_loudness_that_the_peak_limit_rules_out_is_reported() -> None:
    audio = np.zeros((2, 2 * RATE), np.float32)
    audio[:, ::5000] = 0.5
    made, note = normalized(audio, RATE, -5.0, -1.0)
    assert true_peak(made, RATE) <= 10 ** (-1 / 20)
    assert note is not None
    assert "LUFS, not -5" in note


def test_silence_stays_silence() -> None:
    silence = np.zeros((2, RATE), np.float32)
    made, note = normalized(silence, RATE, -14, -1)
    assert np.array_equal(made, silence)
    assert note is not None
    assert "silent" in note


def test_the_file_has_the_loudness(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    arguments = ("-m", "demo", "-s", "4", "--seed", "1", "--steps", "2")
    assert run_cli("generate", "techno", *arguments, "--normalize", "-16", "--peak", "-2", "-o", path)[0] == 0
    audio, rate = soundfile.read(path)
    assert pyloudnorm.Meter(rate).integrated_loudness(audio) == pytest.approx(-16, abs=0.2)
    assert true_peak(audio.T.astype(np.float32), rate) <= 10 ** (-2 / 20) * 1.001


def test_more_is_composed_than_is_kept(demo: Pipeline) -> None:
    made = _made(demo, seconds=1.0, steps=1, min_compose=23.8)
    assert made.audio.shape[1] == RATE
    assert made.latents.shape[-1] == 257
    assert _made(demo, seconds=1.0, steps=1).latents.shape[-1] == 75
    manifest = demo.bundle.manifest
    for seconds in (0.1, 5.0, 23.8, 30.0, 119.9):
        assert plan_lengths(seconds, 6.0, manifest, 0.0) == plan_lengths(seconds, 6.0, manifest)
        assert plan_lengths(seconds, 0.0, manifest, 500.0).valid == int(120 * RATE / 4096) + 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"peak": -1.0}, "`peak` needs `normalize`"),
        ({"fade_in": -1.0}, "`fade_in` must be 0 or more"),
        ({"fade_out": float("nan")}, "`fade_out` must be 0 or more"),
        ({"normalize": 3.0}, "`normalize` must be from -40 to -5"),
        ({"normalize": -14.0, "peak": 3.0}, "`peak` must be from -20 to 0"),
        ({"fade_in": 1.0, "fade_out": 1.0, "seconds": 1.5}, "longer than the clip's 1.5 s"),
        ({"min_compose": -1.0, "seconds": 0.5}, "min_compose must be 0 or more"),
    ],
)
def test_invalid_endings_are_refused(demo: Pipeline, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        _made(demo, steps=1, **options)
