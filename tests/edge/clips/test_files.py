"""Files: formats, bit depths, the limiter, and the request inside."""

import io
import json
import subprocess
import sys
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sa3_edge.audio.encoding import Tags, write_audio
from sa3_edge.audio.formats import FORMATS, Encoding, encoding_for
from sa3_edge.audio.limiter import CEILING, limit
from sa3_edge.clips.record import encode_record, read_record
from sa3_edge.errors import RequestError, Sa3Error
from tests.conftest import RunCli

RATE = 44100
TAGS = Tags("title", "sa3-edge", "{}")
LOSSLESS = [("wav", "16"), ("wav", "24"), ("wav", "float"), ("flac", "16"), ("flac", "24")]
PROMPT = 'naïve "lofi" 🎹'


def _noise(seconds: float = 0.5, peak: float = 0.5) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-peak, peak, (2, int(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize(("format_name", "bits"), LOSSLESS)
def test_lossless_files_are_as_exact_as_their_bits(tmp_path: Path, format_name: str, bits: str) -> None:
    audio, path = _noise(), tmp_path / f"a.{format_name}"
    assert write_audio(path, audio, RATE, Encoding(format_name, bits), TAGS) == 0
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.frames) == (RATE, 2, audio.shape[1])
    step = {"16": 2**-15, "24": 2**-23, "float": 0.0}[bits]
    error = np.abs(soundfile.read(path, dtype="float64")[0].T - audio).max()
    assert error <= (1.5 if bits == "16" else 0.5) * step


@pytest.mark.parametrize("format_name", ["ogg", "opus", "mp3"])
def test_lossy_files_hold_the_clip(tmp_path: Path, format_name: str) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE * 3) / RATE).astype(np.float32)
    path = tmp_path / f"a.{format_name}"
    write_audio(path, np.stack((tone, tone)) * 0.5, RATE, Encoding(format_name, ""), TAGS)
    audio, rate = soundfile.read(path)
    assert rate == (48000 if format_name == "opus" else RATE)
    assert abs(len(audio) / rate - 3) < 0.06
    spectrum = np.abs(np.fft.rfft(audio[: rate * 2, 0]))
    assert np.argmax(spectrum) / 2 == pytest.approx(440, abs=1)


def test_samples_of_a_16_bit_file_are_written_back_bit_for_bit(tmp_path: Path) -> None:
    integers = np.random.default_rng(1).integers(-(2**15), 2**15, (2, 5000))
    audio = (integers / 2**15).astype(np.float32)
    for bits in ("16", "24"):
        write_audio(tmp_path / "a.wav", audio, RATE, Encoding("wav", bits), TAGS)
        assert np.array_equal(soundfile.read(tmp_path / "a.wav", dtype="int16")[0].T, integers)


def test_16_bits_are_dithered() -> None:
    """A tone below half a step would vanish by rounding; with dither it is there, under noise."""
    quiet = (0.4 * 2**-15 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)[None]
    buffer = io.BytesIO()
    from sa3_edge.audio.encoding import encode_audio

    buffer.write(encode_audio(quiet, RATE, Encoding("wav", "16"), TAGS)[0])
    buffer.seek(0)
    spectrum = np.abs(np.fft.rfft(soundfile.read(buffer)[0]))
    assert np.argmax(spectrum[1:]) + 1 == 1000


def test_clipped_samples_are_counted(tmp_path: Path) -> None:
    audio = np.array([[0.0, 1.5, -2.0, 0.5]], np.float32)
    assert write_audio(tmp_path / "a.wav", audio, RATE, Encoding("wav", "24"), TAGS) == 2
    assert soundfile.read(tmp_path / "a.wav")[0].tolist() == [0.0, 1 - 2**-23, -1.0, 0.5]
    assert write_audio(tmp_path / "f.wav", audio, RATE, Encoding("wav", "float"), TAGS) == 0


@pytest.mark.parametrize("full_at", ["a.wav", "a.npy"])
def test_a_full_disk_is_said_and_leaves_the_old_file(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    old, wanted = tmp_path / full_at, tmp_path / "wanted.wav"
    old.write_bytes(b"old")
    output = {"a.wav": ("-o", old), "a.npy": ("-o", wanted, "--save-latents", old)}[full_at]

    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    place = {"a.wav": "sa3_edge.audio.encoding._WavFile.write", "a.npy": "pathlib.Path.write_bytes"}[full_at]
    monkeypatch.setattr(place, full)
    code, _, err = run_cli("generate", "x", "-m", "demo", "-s", "0.2", "--overwrite", *output)
    assert (code, " ".join(err.split()).endswith(f"{full_at} cannot be written: No space left on device")) == (1, True)
    assert old.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} - {"wanted.wav"} == {full_at}


def test_a_temporary_file_that_cannot_be_made_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sa3_edge.files.create", full)
    with pytest.raises(Sa3Error, match=r"a\.wav cannot be written: No space left on device"):
        write_audio(tmp_path / "a.wav", _noise(), RATE, Encoding("wav", "24"), TAGS)


def test_any_name_that_the_file_system_takes_is_fine(run_cli: RunCli, tmp_path: Path) -> None:
    longest = tmp_path / f"{'n' * 251}.wav"
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.2", "-o", longest)[0] == 0
    assert list(tmp_path.iterdir()) == [longest]
    # A model that is not there: names are looked at before.
    for arguments in (("-o", tmp_path / f"{'n' * 252}.wav"), ("-o", longest, "--sidecar")):
        code, _, err = run_cli("generate", "x", "-m", "absent", *arguments)
        assert (code, "cannot be written: File name too long" in " ".join(err.split())) == (2, True)


@pytest.mark.parametrize(
    ("suffix", "bits", "said"),
    [(".xyz", None, "no known format"), (".flac", "float", "16"), (".mp3", "16", "lossy"), (".wav", "8", "8 bits")],
)
def test_invalid_formats_are_refused(suffix: str, bits: str | None, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        encoding_for(suffix, bits)


def test_the_limiter_leaves_quiet_audio_as_it_is() -> None:
    audio = _noise(peak=0.4)
    assert limit(audio, RATE) is audio


def test_the_limiter_turns_peaks_down_in_time_and_nothing_else() -> None:
    time = np.arange(2 * RATE) / RATE
    audio = np.stack([0.3 * np.sin(2 * np.pi * 220 * time), 0.2 * np.sin(2 * np.pi * 330 * time)]).astype(np.float32)
    audio[:, RATE : RATE + 200] *= 8
    limited = limit(audio, RATE)
    assert np.abs(limited).max() <= CEILING + 1e-6
    near = int(0.007 * RATE)
    untouched = np.r_[0 : RATE - near, RATE + 200 + near : 2 * RATE]
    assert np.array_equal(limited[:, untouched], audio[:, untouched])
    gain = limited[0] / np.where(np.abs(audio[0]) > 1e-3, audio[0], np.nan)
    assert np.nanmax(np.abs(np.diff(gain))) < 0.02  # no steps
    balance = limited[0, RATE + 50] / limited[1, RATE + 50]
    assert balance == pytest.approx(audio[0, RATE + 50] / audio[1, RATE + 50], rel=1e-5)


_TIME = np.arange(RATE) / RATE
_RANDOM = np.random.default_rng(0)
_HARD_TO_LIMIT = {
    # A quarter of the rate, sampled beside its peaks: samples at 0.92, the wave at 1.3.
    "tone": 1.3 * np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4),
    "tones": 0.2 * np.sin(2 * np.pi * _RANDOM.uniform(50, 16000, (20, 1)) * _TIME).sum(axis=0),
    "noise": 0.7 * _RANDOM.standard_normal(RATE),
}


@pytest.mark.parametrize("kind", _HARD_TO_LIMIT)
def test_the_limiter_sees_peaks_between_samples(kind: str) -> None:
    import soxr

    limited = limit(_HARD_TO_LIMIT[kind].astype(np.float32)[None], RATE)
    reconstructed = soxr.resample(limited[0], RATE, 16 * RATE, quality="VHQ")
    # Without the ends, where a resampler supposes silence beyond.
    assert 0.9 < np.abs(reconstructed[8000:-8000]).max() <= CEILING


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": "abc"}, "seed cannot be 'abc'"),
        ({"inpaint": 3}, "inpaint cannot be 3"),
        ({"tempo": 90}, "unknown option 'tempo'"),
    ],
)
def test_tags_that_someone_else_wrote_are_refused(
    run_cli: RunCli, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    path = tmp_path / "clip.wav"
    assert run_cli("generate", PROMPT, "-m", "demo", "-s", "0.2", "-o", path)[0] == 0
    record = msgspec.structs.replace(read_record(path), options=options, engine_version="[/dim] 9")
    samples, rate = soundfile.read(path, always_2d=True)
    write_audio(path, samples.T, rate, encoding_for(".wav", None), Tags("x", "x", encode_record(record)))
    code, _, err = run_cli("regenerate", path, "-o", tmp_path / "again.wav")
    assert code == 2
    assert said in err
    # Text from a tag is text, whatever brackets are in it.
    good = msgspec.structs.replace(record, options={"seconds": 0.2, "seed": 1})
    write_audio(path, samples.T, rate, encoding_for(".wav", None), Tags("x", "x", encode_record(good)))
    code, _, err = run_cli("regenerate", path, "-o", tmp_path / "again.wav")
    assert (code, "the original's was [/dim] 9" in " ".join(err.split())) == (0, True)


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_request_survives_in_the_tags(run_cli: RunCli, tmp_path: Path, format_name: str) -> None:
    path = tmp_path / f"clip.{format_name}"
    code, _, err = run_cli(
        "generate", PROMPT, "-m", "demo", "-s", "0.5", "--seed", "3", "--cfg", "2", "--negative-prompt", "drums",
        "-o", path,
    )  # fmt: skip
    assert code == 0, err
    record = read_record(path)
    assert (record.prompt, record.mode, record.model, record.synthetic) == (PROMPT, "text", "demo", False)
    expected = {"seed": 3, "seconds": 0.5, "steps": 8, "cfg": 2.0, "negative_prompt": "drums", "headroom": 6.0}
    assert {key: record.options[key] for key in expected} == expected
    code, out, _ = run_cli("info", path)
    assert code == 0
    for part in (PROMPT, "seed", "drums", "onnxruntime"):
        assert part in out
    assert json.loads(run_cli("info", path, "--json")[1])["options"]["seed"] == 3


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_long_request_survives_in_the_tags(run_cli: RunCli, tmp_path: Path, format_name: str) -> None:
    prompt = "lofi piano, " * 1700
    first, again = (tmp_path / f"{name}.{format_name}" for name in ("first", "again"))
    assert run_cli("generate", prompt, "-m", "demo", "-s", "0.2", "--seed", "3", "-o", first)[0] == 0
    assert read_record(first).prompt == prompt
    with soundfile.SoundFile(first) as file:
        assert file.title == f"{prompt[:97]}..."
    code, out, _ = run_cli("info", first)
    assert (code, prompt in out) == (0, True)
    assert run_cli("regenerate", first, "-o", again)[0] == 0
    assert read_record(again) == read_record(first)
    samples, same = (soundfile.read(path, dtype="int32")[0] for path in (first, again))
    assert np.array_equal(samples, same)


@pytest.mark.parametrize("bits", ["16", "24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_other_readers_find_audio_and_tags_in_a_wav_file(tmp_path: Path, bits: str, channels: int) -> None:
    path, audio = tmp_path / "a.wav", _noise()[:channels, :10001]  # 24 bits: an odd number of bytes
    write_audio(path, audio, RATE, Encoding("wav", bits), Tags("naïve", "sa3-edge", "x" * 20_000))
    with wave.open(str(path)) as file:
        assert (file.getnframes(), file.getnchannels(), file.getsampwidth()) == (10001, channels, int(bits) // 8)
    assert soundfile.info(path).frames == 10001
    with soundfile.SoundFile(path) as file:
        assert (file.title, file.software) == ("naïve", "sa3-edge")
    riff_size = int.from_bytes(path.read_bytes()[4:8], "little")
    assert riff_size == path.stat().st_size - 8
    assert riff_size % 2 == 0


def test_a_short_comment_in_a_wav_file_is_where_libsndfile_looks(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", _noise(), RATE, Encoding("wav", "24"), Tags("", "sa3-edge", "{}"))
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert (file.title, file.comment) == ("", "{}")


def test_a_record_that_libsndfile_wrote_is_read(run_cli: RunCli, tmp_path: Path) -> None:
    path, older = tmp_path / "a.wav", tmp_path / "older.wav"
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.2", "-o", path)[0] == 0
    record = read_record(path)
    with soundfile.SoundFile(older, "w", RATE, 2) as file:
        file.comment = encode_record(record)
        file.write(_noise().T)
    assert read_record(older) == record


def test_a_request_too_long_for_its_format_is_refused_before_any_work(run_cli: RunCli, tmp_path: Path) -> None:
    prompts = tmp_path / "list.txt"
    prompts.write_text("🎹" * 5000, encoding="utf-8")
    said = "too long for the tags of a .opus file"
    code, _, err = run_cli("generate", "🎹" * 5000, "-m", "absent", "-o", tmp_path / "a.opus")
    assert (code, said in err) == (2, True)
    arguments = ("--prompts", prompts, "-m", "demo", "--format", "opus", "-o", tmp_path / "clips")
    code, _, err = run_cli("generate", *arguments)
    assert (code, said in err) == (1, True)
    with pytest.raises(RequestError, match=said):
        write_audio(tmp_path / "a.opus", _noise(), RATE, Encoding("opus", ""), Tags("x", "x", "x" * 60_000))
    assert run_cli("generate", "🎹" * 5000, "-m", "demo", "-s", "0.2", "-o", tmp_path / "a.ogg")[0] == 0
    assert read_record(tmp_path / "a.ogg").prompt == "🎹" * 5000


@pytest.mark.parametrize(("format_name", "bits"), LOSSLESS)
def test_regenerating_gives_the_same_samples(run_cli: RunCli, tmp_path: Path, format_name: str, bits: str) -> None:
    first, again, other = (tmp_path / f"{name}.{format_name}" for name in ("first", "again", "other"))
    arguments = ("generate", PROMPT, "-m", "demo", "-s", "0.5", "--bits", bits, "-o", first)
    assert run_cli(*arguments)[0] == 0
    code, _, err = run_cli("regenerate", first, "-o", again)
    assert code == 0, err
    assert "differs" not in err
    assert soundfile.info(again).subtype == soundfile.info(first).subtype
    assert np.array_equal(*(soundfile.read(path, dtype="int32")[0] for path in (first, again)))
    assert read_record(first) == read_record(again)
    code, _, _ = run_cli("regenerate", first, "--seed", "9", "--prompt", "rain", "--seconds", "0.7", "-o", other)
    changed = read_record(other)
    assert (changed.prompt, changed.options["seed"], changed.options["seconds"]) == ("rain", 9, 0.7)


@pytest.mark.parametrize("format_name", ["mp3", "ogg", "opus"])
def test_regenerating_a_lossy_file_makes_the_same_request(run_cli: RunCli, tmp_path: Path, format_name: str) -> None:
    first, again = (tmp_path / f"{name}.{format_name}" for name in ("first", "again"))
    assert run_cli("generate", PROMPT, "-m", "demo", "-s", "0.5", "-o", first)[0] == 0
    assert run_cli("regenerate", first, "-o", again)[0] == 0
    assert read_record(first) == read_record(again)


@pytest.mark.parametrize(
    "edit", [("--noise-level", "0.5"), ("--inpaint", "0.2:0.4", "--no-splice"), ("--extend", "0.3")]
)
def test_edits_are_regenerated_from_their_recording(run_cli: RunCli, tmp_path: Path, edit: tuple[str, ...]) -> None:
    source, first, again = (tmp_path / f"{name}.wav" for name in ("source", "first", "again"))
    soundfile.write(source, _noise().T, RATE, subtype="PCM_24")
    code, _, err = run_cli("generate", "x", "-m", "demo", "--init-audio", source, *edit, "-o", first)
    assert code == 0, err
    code, _, err = run_cli("regenerate", first, "-o", again)
    assert code == 0, err
    assert np.array_equal(*(soundfile.read(path, dtype="int32")[0] for path in (first, again)))
    source.write_bytes(source.read_bytes() + b"\0")
    code, _, err = run_cli("regenerate", first, "-o", again)
    assert (code, "has changed since" in err) == (2, True)
    source.unlink()
    code, _, err = run_cli("regenerate", first, "-o", again)
    assert (code, "is not there any more" in err) == (2, True)


def test_another_model_is_reported(run_cli: RunCli, tmp_path: Path, tiny_bundle: Path) -> None:
    first = tmp_path / "first.wav"
    assert run_cli("generate", "x", "-m", tiny_bundle, "-s", "0.3", "-o", first)[0] == 0
    assert read_record(first).model == ""  # no folder of this machine
    code, _, err = run_cli("regenerate", first, "-m", "demo", "-o", tmp_path / "again.wav")
    assert code == 0
    assert "the model differs: demo" in err


def test_files_without_a_record_are_reported(run_cli: RunCli, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "plain.wav", _noise().T, RATE)
    for path, said in (("plain.wav", "has no record"), ("absent.wav", "does not exist")):
        for command in ("info", "regenerate"):
            code, _, err = run_cli(command, tmp_path / path)
            assert code == 2
            assert said in err


def test_a_sidecar_says_what_the_tags_say(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    assert run_cli("generate", PROMPT, "-m", "demo", "-s", "0.3", "-o", path, "--sidecar")[0] == 0
    sidecar = json.loads((tmp_path / "clip.flac.json").read_text(encoding="utf-8"))
    record = read_record(path)
    assert (sidecar["prompt"], sidecar["options"]) == (PROMPT, record.options)
    assert sidecar["timings"]["total"] > 0


@pytest.mark.parametrize("format_name", ["wav", "flac"])
def test_standard_output_is_the_file(tmp_path: Path, format_name: str) -> None:
    prompt = "lofi piano, " * 1700
    command = [sys.executable, "-m", "sa3_edge", "generate", prompt, "-m", "demo", "-s", "0.3", "-o", "-"]
    arguments = [*command, "--seed", "1", "--format", format_name]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, check=True)
    audio, rate = soundfile.read(io.BytesIO(done.stdout))
    assert (audio.shape, rate) == ((int(0.3 * RATE), 2), RATE)
    assert b"seed 1" in done.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "clip").write_bytes(done.stdout)
    assert read_record(tmp_path / "clip").prompt == prompt


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's full disk")
@pytest.mark.parametrize("arguments", [("-o", "-"), ("-o", "x.wav"), ("-o", "x.wav", "--json")])
def test_a_full_standard_output_is_reported_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "sa3_edge", "generate", "x", "-m", "demo", "-s", "0.2", *arguments]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: standard output cannot be written: No space left on device"
    assert "Exception" not in done.stderr


def test_a_clip_without_a_name_needs_a_writable_folder_first(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise RequestError(f"the directory {path.parent} is not writable")

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("sa3_edge.files.check_destination", refuse)
    monkeypatch.setattr("sa3_edge.cli.generate.Pipeline.load", never)
    code, _, err = run_cli("generate", "x", "-m", "demo", "-s", "0.2")
    assert (code, err) == (2, "error: the directory . is not writable\n")


@pytest.mark.parametrize("letters", [252, 300])
def test_a_name_that_the_system_refuses_is_said_before_any_work(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, letters: int
) -> None:
    monkeypatch.setattr("sa3_edge.cli.generate.Pipeline.load", None)
    code, _, err = run_cli("generate", "x", "-m", "demo", "-s", "0.2", "-o", tmp_path / f"{'x' * letters}.wav")
    assert (code, err.count("\n")) == (2, 1)
    assert "File name too long" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "a.flac", "--format", "wav"), "no wav file"),
        (("-o", "a.flac", "--bits", "float"), "cannot store float"),
        (("--format", "aiff"), "no known format"),
        (("-o", "-", "--json"), "standard output"),
        (("-o", "-", "--count", "2"), "standard output"),
        (("-o", "-", "--sidecar"), "--sidecar needs a file"),
    ],
)
def test_wrong_file_options(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli("generate", "x", "-m", "demo", "-s", "0.3", *arguments)
    assert code == 2
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_quiet_prints_nothing(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.3", "-q", "-o", tmp_path / "a.wav") == (0, "", "")


def test_play_plays_the_clip(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[Any] = []

    class Device:
        def __init__(self, **options: Any) -> None:
            played.append(options)

        def __enter__(self) -> "Device":
            return self

        def __exit__(self, *error: object) -> None:
            played.append("ended")

        def write(self, audio: NDArray[np.float32]) -> None:
            played.append(audio.shape)

    library = ModuleType("sounddevice")
    vars(library).update(PortAudioError=OSError, query_devices=lambda kind: {}, OutputStream=Device)
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    code, _, err = run_cli("generate", "x", "-m", "demo", "-s", "0.3", "--play", "-v", "-o", tmp_path / "a.wav")
    assert code == 0, err
    stream = {"samplerate": RATE, "channels": 2, "dtype": "float32"}
    assert played == [stream, (int(0.3 * RATE), 2), "ended"]
    assert "denoiser.run" in err


def test_play_without_its_extra_says_how_to_get_it(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, _, err = run_cli("generate", "x", "-m", "demo", "--play", "-o", tmp_path / "a.wav")
    assert code == 1
    assert "pip install" in err
    assert "[play]" in err
    assert list(tmp_path.iterdir()) == []
