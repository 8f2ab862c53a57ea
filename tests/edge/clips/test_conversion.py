"""A clip's file at another rate, in one channel, under a name by a template."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sa3_edge import ClipOptions, FileOptions, RequestError
from sa3_edge.audio.conversion import mixed_to_mono, resampled, resampled_loop, samples_at
from sa3_edge.audio.measure import seam
from sa3_edge.clips.files import named_by, settle_files
from tests.conftest import RunCli


@pytest.mark.parametrize("other", [8_000, 48_000, 96_000, 44_099])
@pytest.mark.parametrize("step", [1000, 44_100, 100_000])
def test_a_clip_at_another_rate_is_as_long_to_the_sample(other: int, step: int) -> None:
    time = np.arange(44_100 * 2 + 7) / 44_100
    audio = np.stack((np.sin(2 * np.pi * 440 * time), np.cos(2 * np.pi * 440 * time))).astype(np.float32)
    pieces = (audio[:, start : start + step] for start in range(0, audio.shape[-1], step))
    made = np.concatenate(list(resampled(pieces, audio.shape[-1], 44_100, other)), axis=1)
    assert made.shape == (2, round(audio.shape[-1] * other / 44_100))
    there = np.arange(made.shape[1]) / other
    inside = slice(other // 10, -other // 10)  # the filter sees silence beyond the ends
    assert np.abs(made[0] - np.sin(2 * np.pi * 440 * there))[inside].max() < 1e-3


def test_samples_at_another_rate_are_rounded_to_the_nearest() -> None:
    assert samples_at(44_100 * 30, 44_100, 48_000) == 48_000 * 30
    assert (samples_at(1, 44_100, 48_000), samples_at(3, 2, 1)) == (1, 2)


def test_a_loop_stays_one_at_another_rate() -> None:
    # Three whole periods in a length that another rate does not divide.
    audio = np.sin(2 * np.pi * 3 * np.arange(44_101 * 2) / 44_101 / 2)[None].astype(np.float32)
    made = resampled_loop(audio, 44_100, 48_000)
    assert made.shape == (1, samples_at(44_101 * 2, 44_100, 48_000))
    joined = seam(np.repeat(made, 2, axis=0))
    assert joined is not None
    assert joined.level <= joined.level_inside * 1.01


def test_one_channel_is_the_mean() -> None:
    (made,) = mixed_to_mono([np.array([[0.5, 1.0], [-0.5, 0.0]], np.float32)])
    assert made.tolist() == [[0.0, 0.5]]


def test_rate_and_mono_of_a_file_and_of_its_regeneration(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    arguments = ("generate", "x", "-m", "demo", "-s", "0.75", "--seed", "1")
    code, out, err = run_cli(*arguments, "--rate", "48000", "--mono", "-o", path, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["sample_rate"], report["samples"], report["seconds"]) == (48_000, 36_000, 0.75)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.frames) == (48_000, 1, 36_000)
    assert run_cli("regenerate", path, "-o", tmp_path / "b.wav")[0] == 0
    assert path.read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert run_cli("regenerate", path, "--rate", "44100", "-o", tmp_path / "c.flac")[0] == 0
    assert soundfile.info(tmp_path / "c.flac").samplerate == 44_100


def test_a_loop_has_its_points_at_the_rate_of_the_file(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    code, out, err = run_cli(
        "generate", "x", "-m", "demo", "--loop", "--bpm", "120", "--bars", "1", "--steps", "1", "--rate", "48000",
        "-o", path, "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["samples"] == 96_000
    data = path.read_bytes()
    chunk = data.index(b"smpl") + 8
    start, end = np.frombuffer(data[chunk + 44 : chunk + 52], "<u4")
    assert (start, end) == (0, 95_999)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (FileOptions(rate=100), "`rate` must be from 8000 to 192000 Hz, got 100"),
        (FileOptions(rate=44_100, format="opus"), "opus is always at 48000 Hz"),
        (FileOptions(rate=96_000, format="mp3"), "mp3 cannot have 96000 Hz"),
        (FileOptions(name="{seed"), "`name` cannot be '{seed'"),
        (FileOptions(name="{prompt}"), "`name` cannot say {prompt}; choose {slug}, {seed}, {bpm}"),
        (FileOptions(name="{seed!r}"), "`name` cannot say {seed}"),
        (FileOptions(name="{seed.real}"), "`name` cannot say {seed.real}"),
        (FileOptions(name="{slug}_{bpm}"), "`name` says {bpm}, which this clip does not: give `bpm`"),
        (FileOptions(name="a/{seed}"), "which is no file's name"),
        (FileOptions(name=".."), "which is no file's name"),
        (FileOptions(name="{seed}", output=Path("a.wav")), "with `name` the output is a folder, got a.wav"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(files: FileOptions, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        settle_files(files, ClipOptions("x"), range(1, 2))
    assert said in str(caught.value)


def test_names_by_a_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ClipOptions("Techno drums!", bpm=127.5, bars=8)
    assert named_by("{slug}_{bpm}bpm_{seed}", options, 7) == "techno-drums_127.5bpm_7"
    assert named_by("{{x}} {bars} {mode}", options, 7) == "{x} 8 text"
    monkeypatch.chdir(tmp_path)
    files = FileOptions(output=tmp_path, name="{slug}_{bpm}", format="ogg", sidecar=True)
    assert [each.audio for each in settle_files(files, options, range(7, 8))] == [tmp_path / "techno-drums_127.5.ogg"]
    names = [each.audio.name for each in settle_files(files, options, range(7, 9)) if each.audio]
    assert names == ["techno-drums_127.5-7.ogg", "techno-drums_127.5-8.ogg"]
    # What is there is kept, as of every name that is chosen here.
    (tmp_path / "techno-drums_127.5.ogg").touch()
    (clip,) = settle_files(files, options, range(7, 8))
    assert [path.name for path in clip.all()] == ["techno-drums_127.5-2.ogg", "techno-drums_127.5-2.ogg.json"]


def test_takes_of_a_template(run_cli: RunCli, tmp_path: Path) -> None:
    arguments = ("generate", "x", "-m", "demo", "-s", "0.2", "--steps", "1", "--seed", "3", "--takes", "2")
    code, _, err = run_cli(*arguments, "--name", "take {seed}", "-o", tmp_path / "out")
    assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "take 3.wav", "take 4.wav"]
