"""Recordings: from within, from standard input, and those that need PyAV."""

import io
import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sa3_edge import AudioSource, RequestError
from sa3_edge.clips.record import read_record
from tests.conftest import RunCli

RATE = 44_100


def _sweep(seconds: float) -> NDArray[np.float32]:
    time = np.arange(int(seconds * RATE)) / RATE
    left = 0.5 * np.sin(2 * np.pi * (200 * time + 300 * time**2))
    return np.stack((left, 0.5 * left), axis=1).astype(np.float32)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_recording_from_within_is_the_rest_of_the_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, _sweep(2.0), RATE)
    whole = AudioSource.from_file(path)
    part = AudioSource.from_file(path, start=0.75)
    first = round(0.75 * RATE)
    assert part.frames == whole.frames - first
    expected = whole.load(whole.frames, RATE, 2)[0][:, first:]
    made = part.load(part.frames, RATE, 2)[0]
    assert np.abs(made - expected).max() < 1e-6
    assert part.sha256 == whole.sha256


def test_a_start_that_is_not_in_the_recording_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", _sweep(1.0), RATE)
    with pytest.raises(RequestError, match=r"a\.wav has 1\.00 s: nothing is left of it from 1 s on"):
        AudioSource.from_file(tmp_path / "a.wav", start=1.0)
    with pytest.raises(RequestError, match="`init_from` must be 0 or more seconds"):
        AudioSource.from_file(tmp_path / "a.wav", start=-1.0)


def test_from_begins_within_the_recording_and_is_recorded(run_cli: RunCli, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", _sweep(62.0), RATE)
    soundfile.write(tmp_path / "rest.wav", _sweep(62.0)[round(61.5 * RATE) :], RATE)
    arguments = ("generate", "x", "-m", "demo", "--seed", "1", "--steps", "1", "--noise-level", "0.5")
    made = {}
    for name, source in (("a", ("long.wav", "--from", "1:01.5")), ("b", ("rest.wav",))):
        path = tmp_path / f"{name}.wav"
        code, _, err = run_cli(*arguments, "--init-audio", tmp_path / source[0], *source[1:], "-o", path)
        assert code == 0, err
        made[name] = soundfile.read(path, dtype="int32")[0]
    assert np.array_equal(made["a"], made["b"])
    assert read_record(tmp_path / "a.wav").options["init_from"] == 61.5
    assert "init_from" not in read_record(tmp_path / "b.wav").options
    assert run_cli("regenerate", tmp_path / "a.wav", "-o", tmp_path / "again.wav")[0] == 0
    assert np.array_equal(soundfile.read(tmp_path / "again.wav", dtype="int32")[0], made["a"])
    code, _, err = run_cli(*arguments[:4], "--from", "3", "-o", tmp_path / "c.wav")
    assert (code, err) == (2, "error: --from needs --init-audio FILE\n")


def test_a_recording_comes_on_standard_input(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("song.flac", _sweep(0.5), RATE)
    arguments = ("generate", "x", "-m", "demo", "--seed", "1", "--steps", "1", "--init-audio")
    assert run_cli(*arguments, "song.flac", "-o", "a.wav")[0] == 0
    for content, code, said in (
        (Path("song.flac").read_bytes(), 0, ""),
        (b"", 2, "error: --init-audio -: standard input is empty\n"),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        done, _, err = run_cli(*arguments, "-", "-o", "b.wav", "--overwrite", "--quiet")
        assert (done, err) == (code, said)
    assert np.array_equal(*(soundfile.read(name, dtype="int32")[0] for name in ("a.wav", "b.wav")))
    assert read_record(Path("b.wav")).options["init_audio"] == "stdin.flac"
    # It is found by its hash, like any other recording.
    code, _, err = run_cli("regenerate", "b.wav", "-o", "c.wav")
    assert code == 0, err
    code, _, err = run_cli("generate", "--prompts", "-", "--init-audio", "-")
    assert (code, "do not go together" in err) == (2, True)


def _write_aac(path: Path, audio: NDArray[np.float32]) -> None:
    av: Any = import_module("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T), format="fltp", layout="stereo")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


@pytest.mark.parametrize("name", ["a.m4a", "a.mp4"])
def test_aac_is_read_with_pyav(run_cli: RunCli, tmp_path: Path, name: str) -> None:
    pytest.importorskip("av")
    path, audio = tmp_path / name, _sweep(1.5)
    _write_aac(path, audio)
    source = AudioSource.from_file(path)
    assert (source.rate, source.channels) == (RATE, 2)
    assert abs(source.frames - len(audio)) <= 2048  # an encoder's frame or two
    heard = source.load(source.frames, RATE, 2)[0]
    # The encoder's delay is known to within a frame: the best place says how alike they are.
    left = audio[RATE // 2 : RATE, 0]
    places = [heard[0, RATE // 2 + shift : RATE + shift] for shift in range(-1200, 1200)]
    assert max(float(np.corrcoef(left, each)[0, 1]) for each in places[::1]) > 0.99
    part = AudioSource.from_file(path, start=0.5)
    assert np.array_equal(part.load(part.frames, RATE, 2)[0], heard[:, RATE // 2 :])
    code, _, err = run_cli(
        "generate", "x", "-m", "demo", "--init-audio", path, "--steps", "1", "--seed", "1", "-o", tmp_path / "b.wav"
    )
    assert code == 0, err
    shutil.move(path, tmp_path / f"moved{path.suffix}")
    code, _, err = run_cli("regenerate", tmp_path / "b.wav", "-o", tmp_path / "c.wav")
    assert code == 0, err


def test_what_pyav_cannot_read_is_refused_in_a_line(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    pytest.importorskip("av")
    with pytest.raises(RequestError, match=r"a\.m4a cannot be read as audio: .*; convert it to wav or flac"):
        AudioSource.from_file(path)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    code, _, err = run_cli("generate", "x", "-m", "demo", "--init-audio", path, "--json")
    assert code == 2
    assert "PyAV, which is not installed" in json.dumps(err)
    assert "[m4a]" in err
