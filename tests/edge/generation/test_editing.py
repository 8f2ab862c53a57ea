"""Editing a recording: variations, inpainting, continuation, guidance."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sa3_edge import (
    AudioSource,
    Continuation,
    GenerationRequest,
    Inpainting,
    Pipeline,
    Region,
    RequestError,
    Variation,
)
from sa3_edge.clips.record import read_record
from sa3_edge.generation.editing import seconds_of
from sa3_edge.generation.sampling import schedule
from tests.conftest import Golden, RunCli, relative_error

RATE = 44100
FADE = round(0.03 * RATE)
WriteAudio = Callable[..., Path]


@pytest.fixture(scope="module")
def source(golden: Golden) -> AudioSource:
    return AudioSource.from_array(golden["input.audio_3s"], RATE)


@pytest.fixture
def write_audio(tmp_path: Path) -> WriteAudio:
    """Noise of some seconds in a file -> its path."""

    def write(
        seconds: float = 1.0, *, rate: int = RATE, channels: int = 2, name: str = "source.wav", subtype: str = "PCM_24"
    ) -> Path:
        audio = np.random.default_rng(1).uniform(-0.5, 0.5, (int(seconds * rate), channels))
        path = tmp_path / name
        soundfile.write(path, audio, rate, subtype=subtype)
        return path

    return write


def _as_list(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(
    "name", ["a2a", "a2a_0.3_2steps", "inpaint", "inpaint_multi", "continuation", "cfg3_negative", "cfg3_noneg"]
)
def test_runs_equal_the_reference(
    run_cli: RunCli, tiny_bundle: Path, tmp_path: Path, golden: Golden, golden_arguments: dict[str, Any], name: str
) -> None:
    (run,) = [run for run in golden_arguments["runs"] if run["name"] == name]
    recording, latents_file = tmp_path / "source.wav", tmp_path / "latents.npy"
    soundfile.write(recording, golden["input.audio_3s"].T, RATE, subtype="FLOAT")
    options: list[object] = ["--seed", run["seed"], "--cfg", run.get("cfg_scale", 1)]
    if name == "continuation":
        options += ["--init-audio", recording, "--extend", 3]
    else:
        options += ["--seconds", run["duration"]]
    if "steps" in run:
        options += ["--steps", run["steps"]]
    if name.startswith("a2a"):
        options += ["--init-audio", recording, "--noise-level", run["init_noise_level"], "--schedule", "reference"]
    if name.startswith("inpaint"):
        options += ["--init-audio", recording, "--no-splice"]
        starts, ends = _as_list(run["inpaint_mask_start_seconds"]), _as_list(run["inpaint_mask_end_seconds"])
        for start, end in zip(starts, ends, strict=True):
            options += ["--inpaint", f"{start}:{end}"]
    if "negative_prompt" in run:
        options += ["--negative-prompt", run["negative_prompt"]]
    if "apg_scale" in run:
        options += ["--apg", run["apg_scale"]]
    wav = tmp_path / "out.wav"
    code, _, err = run_cli(
        "generate", run["prompt"], "--model", tiny_bundle, "-o", wav, "--save-latents", latents_file, *options
    )
    assert code == 0, err
    latents = np.load(latents_file)
    assert relative_error(latents, golden[f"run.{name}.latents"][:, :, : latents.shape[-1]]) < 1e-3
    audio = soundfile.read(wav)[0].T
    assert audio.shape[-1] == int(run["duration"] * RATE)
    if f"run.{name}.audio" in golden:
        # Relative, not PSNR: peaks are low, and 60 dB of them would pass a decoder that is wrong.
        assert relative_error(audio, golden[f"run.{name}.audio"][0]) < 1e-3


def test_the_monotonic_schedule_never_rises_above_the_noise_level(pipeline: Pipeline, source: AudioSource) -> None:
    for name, rises in (("monotonic", False), ("reference", True)):
        levels: list[float] = []
        real = pipeline.graphs.run

        def watch(graph: Any, inputs: Any, *rest: Any, levels: list[float] = levels, real: Any = real) -> Any:
            if graph == "denoiser":
                levels.append(float(inputs["t"][0]))
            return real(graph, inputs, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline.graphs, "run", watch)
            edit = Variation(source, 0.5, name)  # type: ignore[arg-type]
            pipeline.generate(GenerationRequest("x", 0.5, seed=1, edit=edit))
        assert levels[0] == 0.5
        assert (max(levels) > 0.5) is rises
        assert bool(np.all(np.diff(levels) < 0)) is not rises


def test_a_low_noise_level_stays_near_the_recording(pipeline: Pipeline, source: AudioSource) -> None:
    def made(level: float) -> NDArray[np.float32]:
        return pipeline.generate(GenerationRequest("x", 1.0, seed=1, edit=Variation(source, level))).latents

    init = made(0.01)
    assert relative_error(made(0.02), init) < 0.5 < 2 < relative_error(made(0.9), init)


@pytest.mark.parametrize(
    ("subtype", "channels", "written"),
    [
        ("PCM_16", 2, ("out.wav",)),
        ("PCM_24", 2, ("out.wav",)),
        ("PCM_16", 1, ("out.flac", "--bits", "16")),
        ("PCM_24", 1, ("out.wav", "--bits", "float")),
        ("PCM_24", 2, ("out.flac",)),
    ],
)
def test_kept_audio_is_the_source_bit_for_bit(
    run_cli: RunCli, write_audio: WriteAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    subtype: str, channels: int, written: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    recording, out = write_audio(2.0, subtype=subtype, channels=channels), Path(written[0])
    code, _, err = run_cli(
        "generate", "fill", "--model", "demo", "--seed", 1, "--init-audio", recording, "-o", *written,
        "--inpaint", "0.5:0.9", "--inpaint", "1.7:",
    )  # fmt: skip
    assert code == 0, err
    before, after = (soundfile.read(path, dtype="float64", always_2d=True)[0] for path in (recording, out))
    assert after.shape == (len(before), 2)
    same = np.all(before == after, axis=1)
    expected = np.ones(len(before), bool)
    for start, end in ((0.5, 0.9), (1.7, 2.0)):
        expected[int(start * RATE) - FADE : int(end * RATE) + FADE] = False
    assert same[expected].all()
    assert same[~expected].mean() < 0.05


@pytest.mark.parametrize("region", [Region(math.inf, None), Region(0.2, math.inf), Region(math.nan, 0.3)])
def test_a_region_ends_somewhere(pipeline: Pipeline, region: Region) -> None:
    source = AudioSource.from_array(np.zeros((2, RATE), np.float32), RATE)
    with pytest.raises(RequestError, match="must lie within the clip"):
        pipeline.generate(GenerationRequest("x", seed=1, edit=Inpainting(source, (region,))))


def test_the_crossfade_lies_beside_the_region_and_has_no_step(pipeline: Pipeline) -> None:
    audio = np.full((2, RATE), 0.25, np.float32)
    edit = Inpainting(AudioSource.from_array(audio, RATE), (Region(0.4, 0.6),))
    spliced = pipeline.generate(GenerationRequest("x", seed=1, edit=edit)).audio
    raw = pipeline.generate(
        GenerationRequest("x", seed=1, edit=Inpainting(edit.source, edit.regions, splice=False))
    ).audio
    start, end = int(0.4 * RATE), int(0.6 * RATE)
    assert np.array_equal(spliced[:, start:end], raw[:, start:end])
    share = (spliced - raw) / (audio - raw)
    fade_in = share[0, end : end + FADE]
    assert fade_in[0] < 0.01
    assert fade_in[-1] > 0.99
    assert np.abs(np.diff(fade_in)).max() < 0.01


@pytest.mark.parametrize(("extend", "prepend"), [(0.7, 0.0), (0.0, 0.3), (0.5, 0.25)])
def test_continuation_keeps_the_recording_and_adds_exactly_what_was_asked(
    pipeline: Pipeline, source: AudioSource, golden: Golden, extend: float, prepend: float
) -> None:
    made = pipeline.generate(GenerationRequest("x", seed=1, edit=Continuation(source, extend, prepend)))
    recording = golden["input.audio_3s"]
    before, after = int(prepend * RATE), int(extend * RATE)
    assert made.audio.shape[-1] == before + recording.shape[-1] + after
    first, last = before + (FADE if before else 0), before + recording.shape[-1] - (FADE if after else 0)
    assert np.array_equal(made.audio[:, first:last], recording[:, first - before : last - before])
    assert made.seconds == pytest.approx(3.0 + extend + prepend, abs=1e-4)


@pytest.mark.parametrize(
    ("recording", "files"),
    [
        ("song.wav", ("-o", "song.wav")),
        ("song.wav", ("-o", "./folder/../song.wav")),
        ("song.wav", ("-o", "link.wav")),
        ("song.npy", ("-o", "new.wav", "--save-latents", "song.npy")),
        ("new.wav.json", ("-o", "new.wav", "--sidecar")),
    ],
)
def test_the_recording_is_never_replaced(
    run_cli: RunCli, write_audio: WriteAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    recording: str, files: tuple[str, ...],
) -> None:  # fmt: skip
    path = write_audio(0.5).rename(tmp_path / recording)
    before = path.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.wav").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    # A model that is not there: the files are looked at before.
    code, _, err = run_cli("generate", "x", "-m", "absent", "--init-audio", recording, *files)
    assert (code, "is the recording that is edited" in err) == (2, True)
    assert path.read_bytes() == before


def test_the_recording_is_not_replaced_by_one_of_several_clips(
    run_cli: RunCli, write_audio: WriteAudio, tmp_path: Path
) -> None:
    path = write_audio(0.5, name="song-8.wav")
    before, prompts = path.read_bytes(), tmp_path / "list.jsonl"
    arguments = ("generate", "x", "-m", "demo", "--init-audio", path, "--seed", "7", "--count", "2")
    code, _, err = run_cli(*arguments, "-o", tmp_path / "song.wav")
    assert (code, "song-8.wav is the recording" in " ".join(err.split())) == (2, True)
    assert not (tmp_path / "song-7.wav").exists()  # nothing is made before all names are settled
    clip = path.rename(tmp_path / "0001-x.wav")
    prompts.write_text('{"prompt": "x", "init_audio": "0001-x.wav"}')
    code, out, _ = run_cli("generate", "--prompts", prompts, "-m", "demo", "-o", tmp_path, "--json")
    assert (code, "is the recording that is edited" in out) == (1, True)
    assert clip.read_bytes() == before
    # Its own name is free for clips that are called after their seeds.
    clip.rename(path)
    assert run_cli(*arguments, "-o", path)[0] == 0


def test_a_file_can_be_continued_again_and_again(run_cli: RunCli, write_audio: WriteAudio, tmp_path: Path) -> None:
    path = write_audio(0.7)
    first = soundfile.read(path, dtype="int32")[0]
    for turn in range(3):
        out = tmp_path / f"{turn}.wav"
        code, _, err = run_cli("generate", "x", "-m", "demo", "--init-audio", path, "--extend", "0.3", "-o", out)
        assert code == 0, err
        path = out
    last = soundfile.read(path, dtype="int32")[0]
    assert len(last) == len(first) + 3 * int(0.3 * RATE)
    assert np.array_equal(last[: len(first) - FADE], first[:-FADE])


@pytest.mark.parametrize("samples", [4410, 132300, 132301, 1234567, 5291999])
def test_seconds_of_is_exact(samples: int) -> None:
    assert int(seconds_of(samples, RATE) * RATE) == samples


@pytest.mark.parametrize(
    ("rate", "channels", "name"),
    [(48000, 2, "a.wav"), (22050, 1, "a.flac"), (44100, 6, "a.wav"), (96000, 1, "a.wav"), (48000, 2, "a.ogg")],
)
def test_any_rate_and_number_of_channels(
    run_cli: RunCli, write_audio: WriteAudio, tmp_path: Path, rate: int, channels: int, name: str
) -> None:
    subtype = "VORBIS" if name.endswith("ogg") else "PCM_24"
    recording = write_audio(1.0, rate=rate, channels=channels, name=name, subtype=subtype)
    out = tmp_path / "out.wav"
    code, _, err = run_cli("generate", "x", "-m", "demo", "--init-audio", recording, "-o", out, "--inpaint", "0.5:0.6")
    assert code == 0, err
    assert soundfile.info(out).frames == RATE
    assert ("they are mixed to 2" in err) is (channels > 2)


def test_resampling_keeps_pitch_and_mono_becomes_both_channels() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(48000) / 48000).astype(np.float32)[None]
    loaded, _ = AudioSource.from_array(tone, 48000).load(RATE, RATE, 2)
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert loaded.shape == (2, RATE)
    assert np.array_equal(loaded[0], loaded[1])
    assert np.abs(loaded[0, 2000:-2000] - expected[2000:-2000]).max() < 1e-4


_CHANNELS = {
    3: ("L", "R", "C"),
    4: ("L", "R", "Ls", "Rs"),
    5: ("L", "R", "C", "Ls", "Rs"),
    6: ("L", "R", "C", "LFE", "Ls", "Rs"),
    7: ("L", "R", "C", "LFE", "Cs", "Ls", "Rs"),
    8: ("L", "R", "C", "LFE", "Lb", "Rb", "Ls", "Rs"),
}
_IN_LEFT_AND_RIGHT = {"L": (1, 0), "R": (0, 1), "C": (0.707, 0.707), "LFE": (0, 0), "Cs": (0.5, 0.5)}
_IN_LEFT_AND_RIGHT |= {"Ls": (0.707, 0), "Lb": (0.707, 0), "Rs": (0, 0.707), "Rb": (0, 0.707)}


@pytest.mark.parametrize("count", _CHANNELS)
def test_surround_is_mixed_to_stereo(count: int) -> None:
    for place, name in enumerate(_CHANNELS[count]):
        audio = np.zeros((count, 100), np.float32)
        audio[place] = 0.5
        mixed, notes = AudioSource.from_array(audio, RATE, "film").load(100, RATE, 2)
        assert mixed[:, 50] == pytest.approx(np.multiply(0.5, _IN_LEFT_AND_RIGHT[name]), abs=1e-4), name
        silent = ["film is silent where it is used"] if name == "LFE" else []
        assert notes == (f"film has {count} channels; they are mixed to 2", *silent)


def test_the_centre_of_an_ogg_file_is_its_second_channel(tmp_path: Path) -> None:
    audio = np.zeros((RATE, 6))
    audio[:, 1] = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    soundfile.write(tmp_path / "film.ogg", audio, RATE)
    (left, right), _ = AudioSource.from_file(tmp_path / "film.ogg").load(RATE, RATE, 2)
    assert left.std() == pytest.approx(0.25, rel=0.05)
    assert right.std() == pytest.approx(0.25, rel=0.05)


def test_a_mix_is_turned_down_only_where_it_would_clip() -> None:
    loud, notes = AudioSource.from_array(np.ones((6, 100), np.float32), RATE, "film").load(100, RATE, 2)
    assert np.abs(loud).max() == pytest.approx(1.0)
    assert notes == ("film has 6 channels; they are mixed to 2, 7.7 dB quieter so that none clips",)


def test_other_numbers_of_channels_are_mixed_equally_and_one_is_the_mean() -> None:
    audio = np.stack([np.full(100, level, np.float32) for level in np.arange(10) / 10])
    assert AudioSource.from_array(audio, RATE).load(100, RATE, 2)[0][:, 50] == pytest.approx([0.45, 0.45])
    assert AudioSource.from_array(audio[4:6], RATE).load(100, RATE, 1)[0][:, 50] == pytest.approx([0.45])


def test_only_the_part_that_is_needed_is_read(write_audio: WriteAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    source = AudioSource.from_file(write_audio(20.0))
    asked: list[int] = []
    real = soundfile.read

    def watch(*arguments: Any, **options: Any) -> Any:
        asked.append(options["frames"])
        return real(*arguments, **options)

    monkeypatch.setattr(soundfile, "read", watch)
    source.load(RATE, RATE, 2)
    assert asked == [RATE]


def test_unusable_files_are_refused(tmp_path: Path, write_audio: WriteAudio) -> None:
    with pytest.raises(RequestError, match="does not exist"):
        AudioSource.from_file(tmp_path / "absent.wav")
    with pytest.raises(RequestError, match="is empty"):
        AudioSource.from_file(write_audio(0.0, name="empty.wav"))
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(RequestError, match="is a text, not a recording"):
        AudioSource.from_file(tmp_path / "text.wav")
    for name, content in (("song.m4a", b"\0\0\0\x20ftypM4A " + bytes(1000)), ("song.raw", bytes(1000))):
        (tmp_path / name).write_bytes(content)
        for read in (AudioSource.from_file, read_record):
            with pytest.raises(RequestError, match=rf"{name} cannot be read .* convert it to wav or flac"):
                read(tmp_path / name)
    cut = write_audio(2.0, name="cut.flac")
    cut.write_bytes(cut.read_bytes()[:100_000])
    with pytest.raises(RequestError, match=r"cut\.flac (is damaged|cannot be read)"):
        AudioSource.from_file(cut).load(2 * RATE, RATE, 2)
    nan = np.zeros((RATE, 2), np.float32)
    nan[5] = math.nan
    soundfile.write(tmp_path / "nan.wav", nan, RATE, subtype="FLOAT")
    with pytest.raises(RequestError, match="NaN"):
        AudioSource.from_file(tmp_path / "nan.wav").load(RATE, RATE, 2)
    _, notes = AudioSource.from_array(np.zeros((2, 100), np.float32), RATE, "quiet").load(100, RATE, 2)
    assert notes == ("quiet is silent where it is used",)


def _without_total(path: Path) -> None:
    """Zero the count of samples in a FLAC file's STREAMINFO, as encoders that write to a pipe leave it."""
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)


def test_a_flac_file_that_does_not_say_its_length_is_whole(write_audio: WriteAudio) -> None:
    path = write_audio(3.0, name="a.flac", subtype="PCM_16")
    samples = soundfile.read(path, dtype="float32")[0].T
    _without_total(path)
    source = AudioSource.from_file(path)
    assert source.frames == 3 * RATE
    assert np.array_equal(source.load(3 * RATE, RATE, 2)[0], samples)
    assert np.array_equal(source.load(RATE, RATE, 2)[0], samples[:, :RATE])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RequestError, match="cannot be read as audio"):
        AudioSource.from_file(path)


def _write_mp3(path: Path, loud_first: bool) -> tuple[bytes, int]:
    """A VBR MP3 of noise and near silence, 3 s -> its bytes and the size of its Xing frame."""
    audio = np.random.default_rng(1).uniform(-0.5, 0.5, (3 * RATE, 2))
    audio[slice(RATE, None) if loud_first else slice(2 * RATE)] *= 1e-3
    soundfile.write(path, audio, RATE, bitrate_mode="VARIABLE", compression_level=0.5)
    data = path.read_bytes()
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    return data, 144_000 * rates[data[2] >> 4] // RATE + (data[2] >> 1 & 1)


@pytest.mark.parametrize("loud_first", [True, False])
def test_an_mp3_file_without_a_xing_header_is_whole(tmp_path: Path, loud_first: bool) -> None:
    path, plain = tmp_path / "a.mp3", tmp_path / "plain.mp3"
    data, header = _write_mp3(path, loud_first)
    tag = b"ID3\3\0\0\0\0\1\0" + bytes(128)
    plain.write_bytes(tag + data[header:])
    source = AudioSource.from_file(plain)
    assert 3 * RATE <= source.frames <= 3 * RATE + 2 * 1152  # with the silence that a Xing header would cut off
    loaded, _ = source.load(source.frames, RATE, 2)
    assert np.abs(loaded[:, (0 if loud_first else 2 * RATE) :][:, :RATE]).mean() > 0.1
    # The end of a stream may be within a frame.
    plain.write_bytes(data[header:-100])
    ended = AudioSource.from_file(plain)
    assert 0 <= source.frames - ended.frames <= 2 * 1152
    assert np.array_equal(ended.load(RATE, RATE, 2)[0], loaded[:, :RATE])
    # With the header, an end that comes early is damage.
    for head in (b"", tag):
        path.write_bytes(head + data)
        assert AudioSource.from_file(path).frames == 3 * RATE
        path.write_bytes(head + data[: len(data) // 2])
        with pytest.raises(RequestError, match="is damaged"):
            AudioSource.from_file(path).load(3 * RATE, RATE, 2)


def test_a_recording_of_another_length_than_the_clip_is_said(pipeline: Pipeline, source: AudioSource) -> None:
    for seconds, said in ((2.0, "what comes later is not used"), (4.0, "the rest is silence")):
        made = pipeline.generate(GenerationRequest("x", seconds, seed=1, steps=1, edit=Variation(source, 0.5)))
        assert any(said in note for note in made.notes)
        assert made.audio.shape[-1] == int(seconds * RATE)


def test_a_recording_longer_than_a_pass_says_what_is_possible(pipeline: Pipeline) -> None:
    long = AudioSource.from_array(np.zeros((1, 130 * 1000), np.float32), 1000)
    with pytest.raises(RequestError, match="at most 120"):
        pipeline.generate(GenerationRequest("x", edit=Variation(long)))
    with pytest.raises(RequestError, match="nothing can be added"):
        pipeline.generate(GenerationRequest("x", edit=Continuation(long, extend=1.0)))
    shorter = AudioSource.from_array(np.zeros((1, 100 * 1000), np.float32), 1000)
    with pytest.raises(RequestError, match=r"at most 20\.00 s can be added, 30 s were asked for"):
        pipeline.generate(GenerationRequest("x", edit=Continuation(shorter, extend=30.0)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--inpaint", "0.2:0.4"), "--inpaint needs a recording"),
        (("--extend", "1"), "--extend or --prepend needs a recording"),
        (("--noise-level", "0.5"), "needs a recording"),
        (("--no-splice",), "--no-splice needs"),
        (("--init-audio", "{source}", "--no-splice"), "--no-splice needs"),
        (("--init-audio", "absent.wav"), "absent.wav does not exist"),
        (("--init-audio", "{source}", "--noise-level", "0"), "noise level must be from 0.01 to 1, got 0"),
        (("--init-audio", "{source}", "--noise-level", "1.5"), "noise level must be"),
        (("--init-audio", "{source}", "--noise-level", "nan"), "noise level must be"),
        (("--init-audio", "{source}", "--schedule", "steep"), "unknown schedule 'steep'"),
        (("--init-audio", "{source}", "--inpaint", "0.2:0.4", "--noise-level", "0.5"), "do not go together"),
        (("--init-audio", "{source}", "--inpaint", "0.2:0.4", "--extend", "1"), "do not go together"),
        (("--init-audio", "{source}", "--inpaint", "0.4:0.2"), "ends before it starts"),
        (("--init-audio", "{source}", "--inpaint", "0.4:0.4"), "is empty"),
        (("--init-audio", "{source}", "--inpaint", "0.1:0.5", "--inpaint", "0.4:0.6"), "regions overlap at 0.4 s"),
        (("--init-audio", "{source}", "--inpaint", "0.5:9"), "reaches beyond the clip's 1.00 s"),
        (("--init-audio", "{source}", "--inpaint", "2:"), "reaches beyond the clip's 1.00 s"),
        (("--init-audio", "{source}", "--inpaint", "later"), "is no region"),
        (("--init-audio", "{source}", "--inpaint", ":"), "is no region"),
        (("--init-audio", "{source}", "--inpaint", "0:20:40"), "is no region"),
        (("--init-audio", "{source}", "--inpaint", "a:b"), "'a' is no time"),
        (("--init-audio", "{source}", "--inpaint", "0:75-2"), "more than 59 seconds"),
        (("--init-audio", "{source}", "--inpaint", "0.2:0.4", "--seconds", "3"), "extend it"),
        (("--init-audio", "{source}", "--extend", "0"), "by how many seconds"),
        (("--init-audio", "{source}", "--extend", "-1"), "extend must be"),
        (("--init-audio", "{source}", "--extend", "0.01"), "extend must be"),
        (("--init-audio", "{source}", "--prepend", "nan"), "prepend must be"),
        (("--init-audio", "{source}", "--extend", "1", "--seconds", "5"), "leave it out"),
        (("--init-audio", "{source}", "--extend", "120"), "at most 119.00 s can be added"),
        (("--negative-prompt", "drums"), "no effect without guidance"),
        (("--cfg", "-1"), "cfg must be 0 or more"),
        (("--cfg", "nan"), "cfg must be 0 or more"),
        (("--cfg", "3", "--apg", "2"), "apg must be from 0 to 1"),
        (("--count", "0"), "count must be 1 or more"),
        (("--count", "2", "--seed", "4294967295"), "and the 1 after it"),
    ],
)
def test_wrong_options_say_why_and_leave_nothing(
    run_cli: RunCli, write_audio: WriteAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    source = write_audio(1.0)
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("generate", "x", "-m", "demo", *(option.format(source=source) for option in options))
    assert code == 2, err
    assert said in err
    assert out == ""
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("4:8", 4, 8),
        ("4:", 4, None),
        (":8", None, 8),
        ("1:30:1:45", 90, 105),
        ("1:30:", 90, None),
        (":1:30", None, 90),
        ("1:30-1:45", 90, 105),
        ("50-1:10.5", 50, 70.5),
        ("-8", None, 8),
    ],
)
def test_regions(text: str, start: float | None, end: float | None) -> None:
    from sa3_edge.clips.request import parse_region

    assert parse_region(text) == Region(start, end)


def test_guidance_of_one_runs_the_denoiser_once_a_step(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = pipeline.graphs.run

    def watch(graph: Any, *rest: Any) -> Any:
        calls.append(graph)
        return real(graph, *rest)

    monkeypatch.setattr(pipeline.graphs, "run", watch)
    for scale, expected in ((1.0, 8), (3.0, 16)):
        calls.clear()
        pipeline.generate(GenerationRequest("x", 0.5, seed=1, cfg=scale))
        assert calls.count("denoiser") == expected


def test_apg_takes_out_what_points_along_the_prediction() -> None:
    from sa3_edge.generation.guidance import guided

    rng = np.random.default_rng(0)
    x, c, u = (rng.standard_normal((1, 4, 6)).astype(np.float32) for _ in range(3))
    t = 0.5

    def combined(apg: float) -> NDArray[np.float64]:
        velocity = guided(lambda x, t: (x - c) / t, lambda x, t: (x - u) / t, 3.0, apg)(x, t)
        return (x - t * velocity - c).astype(np.float64)

    assert np.allclose(combined(0.0), 2 * (c - u), atol=1e-5)
    assert abs(np.sum(combined(1.0) * c)) < 1e-4
    assert np.allclose(combined(0.5), (combined(0.0) + combined(1.0)) / 2, atol=1e-5)


def test_a_base_model_samples_by_euler_with_its_own_defaults(
    pipeline: Pipeline, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    base = Pipeline.load(tiny_bundle, keep_loaded=True)
    sampler = msgspec.structs.replace(base.bundle.manifest.sampler, objective="rectified_flow", steps=50, cfg=7.0)
    manifest = msgspec.structs.replace(base.bundle.manifest, sampler=sampler)
    monkeypatch.setattr(base.bundle, "manifest", manifest)
    made = base.generate(GenerationRequest("x", 0.5, seed=1))
    assert (made.steps, made.cfg) == (50, 7.0)
    # By hand: the same velocities along the same schedule.
    made = base.generate(GenerationRequest("x", 0.5, seed=1, steps=3, cfg=1.0))
    prepared = base._prepare(GenerationRequest("x", 0.5, seed=1, steps=3, cfg=1.0), lambda *_: None)
    from sa3_edge.generation.sampling import LatentNoise

    lengths = prepared.plan.lengths
    x = LatentNoise(1, 16, lengths.allocated, lengths.valid)()
    timesteps = schedule(3, -6.2, 2.0)
    for t, t_next in itertools.pairwise(timesteps):
        x = x + (t_next - t) * base._velocity(prepared.prompts[0].conditioning)(x, float(t))
    assert np.allclose(made.latents, x, atol=1e-6)


def test_a_clip_goes_on_from_latents_as_from_the_recording_that_they_are_of(pipeline: Pipeline) -> None:
    rate, frame = 44100, pipeline.bundle.manifest.audio.samples_per_frame
    given = 20 * frame
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, (2, given)).astype(np.float32)
    seconds = 3.0
    edit = Continuation(AudioSource.from_array(audio, rate), extend=seconds - given / rate, splice=False)
    fixed: dict[str, Any] = {"seed": 1, "steps": 2, "headroom": 0.0}
    by_audio = pipeline.generate(GenerationRequest("x", edit=edit, **fixed))
    prepared: list[Any] = []
    real = pipeline.graphs.run

    def spy(graph: Any, inputs: Any, *rest: Any) -> Any:
        if graph == "conditioner":
            prepared.append(inputs)
        return real(graph, inputs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.graphs, "run", spy)
        pipeline.generate(GenerationRequest("x", edit=edit, **fixed))
    latents = prepared[0]["inpaint_masked_input"][:, :, :20]
    by_latents = pipeline.generate(GenerationRequest("x", seconds=by_audio.seconds, after=latents, **fixed))
    assert np.array_equal(by_latents.latents, by_audio.latents)
    with pytest.raises(RequestError, match="no more than"):
        pipeline.generate(GenerationRequest("x", seconds=0.5, after=latents, **fixed))
    with pytest.raises(RequestError, match="latents must be"):
        pipeline.generate(GenerationRequest("x", seconds=3.0, after=latents[:, :3], **fixed))
