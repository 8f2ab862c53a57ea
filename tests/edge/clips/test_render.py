"""From options to a file without the command line: the same file, all settled before any work, no folder named."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

import sa3_edge
from sa3_edge import (
    AudioSource,
    ClipOptions,
    FileOptions,
    GenerationRequest,
    Pipeline,
    RequestError,
    Sa3Error,
    Variation,
)
from sa3_edge.audio.encoding import Tags, write_audio
from sa3_edge.audio.formats import encoding_for
from sa3_edge.audio.levels import Levels
from sa3_edge.bundle import Bundle
from sa3_edge.clips.files import settle_files
from sa3_edge.clips.record import encode_record, read_record
from sa3_edge.clips.render import prepare
from sa3_edge.engines import Engine, create_engine, runner
from tests.conftest import RunCli

RATE = 44100


@pytest.fixture(scope="module")
def demo() -> Pipeline:
    return Pipeline.load("demo", keep_loaded=True)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "source.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (RATE // 2, 2)), RATE, subtype="PCM_24")
    return path


@pytest.mark.parametrize("name", ["clip.wav", "clip.flac", "clip.mp3"])
def test_rendering_writes_the_file_that_the_command_writes(
    run_cli: RunCli, demo: Pipeline, tmp_path: Path, recording: Path, name: str
) -> None:
    by_command, by_library = tmp_path / "command" / name, tmp_path / "library" / name
    for path in (by_command, by_library):
        path.parent.mkdir()
    arguments = ("-m", "demo", "--seed", "5", "--init-audio", recording, "--noise-level", "0.5", "--steps", "2")
    code, out, err = run_cli("generate", "rain", *arguments, "-o", by_command, "--json")
    assert code == 0, err
    options = ClipOptions("rain", seed=5, init_audio=recording, noise_level=0.5, steps=2)
    clip = sa3_edge.render(options, demo, FileOptions(by_library))
    assert by_library.read_bytes() == by_command.read_bytes()
    assert clip.files.audio == by_library
    said, report = json.loads(out), dict(clip.report)
    for each in (said, report):
        for key in ("file", "timings", "realtime_factor", "seconds_to_first_sound"):
            del each[key]
    assert said == report


def test_a_sink_gets_the_bytes_of_the_file(demo: Pipeline, tmp_path: Path) -> None:
    options, sink = ClipOptions("rain", seconds=0.2, seed=1), io.BytesIO()
    clip = sa3_edge.render(options, demo, FileOptions(format="flac"), sink=sink)
    assert (clip.files.audio, clip.report["file"]) == (None, "-")
    sa3_edge.render(options, demo, FileOptions(tmp_path / "a.flac"))
    streamed, _ = soundfile.read(io.BytesIO(sink.getvalue()), dtype="int32")
    assert np.array_equal(streamed, soundfile.read(tmp_path / "a.flac", dtype="int32")[0])


def test_what_stops_a_run_leaves_no_file(demo: Pipeline, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "decode":
            raise StoppedError

    with pytest.raises(StoppedError):
        sa3_edge.render(ClipOptions("rain", seconds=0.2), demo, FileOptions(tmp_path / "a.wav"), stop)
    assert list(tmp_path.iterdir()) == []


def test_clips_import_nothing_of_the_command_line() -> None:
    script = "import sys, sa3_edge.clips.render, sa3_edge.clips.list_file, sa3_edge.clips.prompt_list\n"
    script += "print([name for name in sys.modules if name.split('.')[:2] == ['sa3_edge', 'cli'] or name == 'rich'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "options",
    [
        {"inpaint": ["0:1"]},
        {"extend": 1.0},
        {"splice": False},
        {"inpaint": ["0:1"], "extend": 1.0, "init_audio": Path("x.wav")},
    ],
)
def test_no_message_of_the_library_speaks_of_command_line_options(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        prepare(ClipOptions("x", **options))
    assert not re.search(r"--\w", str(caught.value))
    assert re.search(r"`\w+", str(caught.value))


# What is settled before any work


def test_every_name_of_several_clips_is_settled_before_the_first_is_made(run_cli: RunCli, tmp_path: Path) -> None:
    name = tmp_path / f"{'n' * 249}.wav"  # seed 9 fits in a name, seed 10 does not
    code, out, err = run_cli("generate", "x", "-m", "absent", "--seed", "9", "--count", "2", "-o", name)
    assert (code, out, "File name too long" in " ".join(err.split())) == (2, "", True)
    assert list(tmp_path.iterdir()) == []


def test_the_seed_is_drawn_once_for_names_and_clips(demo: Pipeline, tmp_path: Path) -> None:
    job = prepare(ClipOptions("rain", seconds=0.2), FileOptions(tmp_path / "a.wav"), 2)
    clips = list(job.run(demo))
    assert [clip.seed for clip in clips] == list(job.seeds)
    assert [clip.files.audio for clip in clips] == [tmp_path / f"a-{seed}.wav" for seed in job.seeds]
    assert [read_record(tmp_path / f"a-{seed}.wav").options["seed"] for seed in job.seeds] == list(job.seeds)


def test_a_name_that_is_taken_meanwhile_is_not_taken_from_it(
    demo: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = prepare(ClipOptions("rain", seconds=0.2, seed=3))
    Path("rain-3.wav").write_text("another's")
    (clip,) = job.run(demo)
    assert clip.files.audio == Path("rain-3-2.wav")
    assert Path("rain-3.wav").read_text() == "another's"


def test_more_clips_than_can_be_named_are_refused() -> None:
    with pytest.raises(RequestError, match="count must be at most"):
        prepare(ClipOptions("x"), count=2**31)


# Recordings: by their content, not by where they lay


def _edit(run_cli: RunCli, recording: Path, clip: Path, *options: str) -> None:
    code, _, err = run_cli(
        "generate", "x", "-m", "demo", "--seed", "1", "--init-audio", recording, "-o", clip, *options
    )
    assert code == 0, err


@pytest.mark.parametrize(
    ("lies", "recorded"),
    [("source.wav", "source.wav"), ("takes/source.wav", "takes/source.wav"), ("../source.wav", "../source.wav"),
     ("../ann/music/source.wav", "source.wav")],
)  # fmt: skip
def test_a_clip_names_no_folder_of_its_maker(
    run_cli: RunCli, tmp_path: Path, recording: Path, lies: str, recorded: str
) -> None:
    folder = tmp_path / "project"
    source = folder / lies
    folder.mkdir()
    source.parent.mkdir(parents=True, exist_ok=True)
    recording.rename(tmp_path / "moving")
    (tmp_path / "moving").rename(source)
    _edit(run_cli, source, folder / "clip.flac", "--sidecar")
    assert read_record(folder / "clip.flac").options["init_audio"] == recorded
    for path in (folder / "clip.flac", folder / "clip.flac.json"):
        rest = path.read_bytes().replace(str(folder / "clip.flac").encode(), b"")  # what --json says of this machine
        assert str(tmp_path).encode() not in rest


@pytest.mark.parametrize("now", ["source.wav", "renamed.wav"])
def test_a_recording_that_moved_with_its_clip_is_found_by_its_content(
    run_cli: RunCli, tmp_path: Path, recording: Path, now: str
) -> None:
    _edit(run_cli, recording, tmp_path / "clip.wav", "--noise-level", "0.5")
    moved = tmp_path / "moved"
    moved.mkdir()
    clip = (tmp_path / "clip.wav").rename(moved / "clip.wav")
    soundfile.write(moved / "another.wav", np.zeros((100, 2)), RATE)
    recording.rename(moved / now)
    code, _, err = run_cli("regenerate", clip, "-o", moved / "again.wav")
    assert code == 0, err
    assert np.array_equal(*(soundfile.read(moved / name, dtype="int32")[0] for name in ("clip.wav", "again.wav")))
    # In its place is another file of its name: that is not it.
    (moved / now).unlink()
    soundfile.write(moved / "source.wav", np.zeros((100, 2)), RATE)
    code, _, err = run_cli("regenerate", clip, "-o", moved / "never.wav")
    assert (code, "has changed since" in err) == (2, True)
    # A recording that is named is taken.
    code, _, err = run_cli("regenerate", clip, "--init-audio", moved / "source.wav", "-o", moved / "other.wav")
    assert code == 0, err


@pytest.mark.parametrize("said", ["{0}/source.wav", "../source.wav", "//server/share/source.wav"])
def test_a_recording_that_a_clip_names_elsewhere_is_not_opened(
    run_cli: RunCli, tmp_path: Path, recording: Path, said: str
) -> None:
    """Older clips name it by an absolute path; anyone may have written one."""
    clip = tmp_path / "clip.wav"
    _edit(run_cli, recording, clip)
    record = read_record(clip)
    older = msgspec.structs.replace(record, options={**record.options, "init_audio": said.format(tmp_path)})
    samples, rate = soundfile.read(clip, always_2d=True)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "older.wav"
    write_audio(copy, samples.T, rate, encoding_for(".wav", None), Tags("x", "x", encode_record(older)))
    code, _, err = run_cli("regenerate", copy, "-o", tmp_path / "never.wav")
    assert (code, "name it: --init-audio" in " ".join(err.split())) == (2, True)
    recording.rename(tmp_path / "elsewhere" / "source.wav")
    assert run_cli("regenerate", copy, "-o", tmp_path / "again.wav")[0] == 0


def _rewritten(clip: Path, **changes: Any) -> None:
    """Give a clip another record."""
    record = msgspec.structs.replace(read_record(clip), **changes)
    samples, rate = soundfile.read(clip, always_2d=True)
    write_audio(clip, samples.T, rate, encoding_for(".wav", None), Tags("x", "x", encode_record(record)))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and sparse files")
@pytest.mark.parametrize("beside", ["/proc/self/pagemap", "/dev/zero", "sparse", "fifo"])
def test_files_that_are_not_recordings_are_not_hashed(
    run_cli: RunCli, tmp_path: Path, recording: Path, beside: str
) -> None:
    clip = tmp_path / "clip.wav"
    _edit(run_cli, recording, clip)
    recording.unlink()
    if beside == "sparse":
        with recording.open("wb") as file:
            file.truncate(3 << 40)
    elif beside == "fifo":
        os.mkfifo(recording)
    else:
        recording.symlink_to(beside)
    code, _, err = run_cli("regenerate", clip, "-o", tmp_path / "never.wav")
    assert (code, "was made from" in err) == (2, True)


def test_a_clip_chooses_neither_engine_nor_folder_nor_hours_of_work(
    run_cli: RunCli, tmp_path: Path, tiny_bundle: Path
) -> None:
    clip, again = tmp_path / "clip.wav", ("-o", tmp_path / "again.wav", "--overwrite")
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.2", "--steps", "1", "-o", clip)[0] == 0
    _rewritten(clip, engine="openvino", engine_version="openvino 1")
    code, _, err = run_cli("regenerate", clip, *again)
    assert (code, "--engine chooses openvino" in " ".join(err.split())) == (0, True)
    _rewritten(clip, model=str(tiny_bundle), bundle="0" * 64)
    code, _, err = run_cli("regenerate", clip, *again)
    assert (code, "name its folder: --model" in " ".join(err.split())) == (2, True)
    _rewritten(clip, model="demo", options={**read_record(clip).options, "steps": 10_000, "seconds": 100})
    code, _, err = run_cli("regenerate", clip, *again)
    assert (code, "if they are meant, say so: --steps" in " ".join(err.split())) == (2, True)


def test_a_recording_is_hashed_as_it_was_read(demo: Pipeline, tmp_path: Path, recording: Path) -> None:
    before = recording.read_bytes()

    def save_over(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("denoise", 0):
            recording.write_bytes(b"saved meanwhile")

    clip = sa3_edge.render(ClipOptions("x", init_audio=recording), demo, FileOptions(tmp_path / "a.wav"), save_over)
    recording.write_bytes(before)
    from sa3_edge.files import sha256_of

    assert clip.record.source_sha256 == sha256_of(recording)


def test_a_recording_that_changes_while_it_is_read_is_refused(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = AudioSource.from_file(recording)
    real = soundfile.read

    def save_over(path: Path, **options: Any) -> Any:
        audio = real(path, **options)
        path.write_bytes(path.read_bytes() + b"more")
        return audio

    monkeypatch.setattr(soundfile, "read", save_over)
    with pytest.raises(RequestError, match="was changed while it was read"):
        source.load(100, RATE, 2)


# Making again


@pytest.mark.parametrize(("name", "bits"), [("a.flac", "16"), ("a.wav", "float")])
def test_making_again_to_standard_output_keeps_format_and_depth(
    run_cli: RunCli, tmp_path: Path, name: str, bits: str
) -> None:
    clip = tmp_path / name
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.2", "--bits", bits, "-o", clip)[0] == 0
    command = [sys.executable, "-m", "sa3_edge", "regenerate", str(clip), "-o", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    again, first = soundfile.info(io.BytesIO(done.stdout)), soundfile.info(clip)
    assert (again.format, again.subtype) == (first.format, first.subtype)
    samples = [soundfile.read(each, dtype="float64")[0] for each in (io.BytesIO(done.stdout), clip)]
    assert np.array_equal(*samples)


def test_clips_of_the_first_versions_are_made_again(run_cli: RunCli, tmp_path: Path) -> None:
    options = {"seconds": 0.5, "seed": 3, "steps": 8, "headroom": 6.0, "cfg": 1.0, "apg": 1.0, "negative_prompt": ""}
    options |= dict.fromkeys(("init_audio", "noise_level", "schedule", "extend", "prepend"))
    options |= {"inpaint": [], "splice": True, "limiter": False}
    record = {
        "version": "0.1.0",
        "mode": "text",
        "prompt": "old rain",
        "options": options,
        "model": "demo",
        "model_name": "demo",
        "revision": f"sha256:{'0' * 64}",
        "bundle": "1" * 64,
        "precision": "fp32",
        "engine": "onnxruntime",
        "engine_version": "onnxruntime 1.24.4 on the CPU",
        "synthetic": True,
        "source_sha256": None,
    }
    clip, again = tmp_path / "clip.wav", tmp_path / "again.wav"
    tags = Tags("old rain", "sa3-edge 0.1.0", json.dumps({"sa3-edge": record}))
    write_audio(clip, np.zeros((2, 100), np.float32), RATE, encoding_for(".wav", None), tags)
    code, _, err = run_cli("regenerate", clip, "-o", again)
    assert code == 0, err
    assert "the model differs" in err
    made = read_record(again)
    assert (made.prompt, made.options) == ("old rain", options)
    assert soundfile.info(again).frames == RATE // 2


def test_making_again_opens_the_model_once(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "clip.wav"
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.2", "-o", clip)[0] == 0
    opened: list[object] = []
    load = Bundle.load

    def loading(*arguments: Any, **options: Any) -> Bundle:
        opened.append("bundle")
        return load(*arguments, **options)

    def creating(*arguments: Any) -> Engine:
        opened.append("engine")
        return create_engine(*arguments)

    monkeypatch.setattr(Bundle, "load", loading)
    monkeypatch.setattr(runner, "create_engine", creating)
    assert run_cli("regenerate", clip, "-o", tmp_path / "again.wav")[0] == 0
    assert opened == ["bundle", "engine"]


def test_a_bundle_in_a_folder_is_named_to_make_its_clips_again(
    run_cli: RunCli, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "clip.wav"
    assert run_cli("generate", "x", "-m", tiny_bundle, "-s", "0.2", "--steps", "1", "-o", clip)[0] == 0
    code, _, err = run_cli("regenerate", clip, "-o", tmp_path / "again.wav")
    assert (code, "name its folder: --model" in " ".join(err.split())) == (2, True)
    code, _, err = run_cli("regenerate", clip, "-m", tiny_bundle, "-o", tmp_path / "again.wav")
    assert (code, "differs" in err) == (0, False)
    # What a clip names runs only if it is installed: anyone may have put a folder beside the clip.
    record = msgspec.structs.replace(read_record(clip), model="evil")
    samples, rate = soundfile.read(clip, always_2d=True)
    write_audio(clip, samples.T, rate, encoding_for(".wav", None), Tags("x", "x", encode_record(record)))
    shutil.copytree(tiny_bundle, tmp_path / "evil")
    monkeypatch.chdir(tmp_path)
    assert run_cli("regenerate", clip, "-o", tmp_path / "never.wav")[0] == 2


# Lists


def test_a_text_list_is_checked_before_the_model_is_opened(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("rain\nsun\n")
    code, out, err = run_cli("generate", "--prompts", tmp_path / "list.txt", "-m", "absent", "--inpaint", "0:1")
    assert (code, out) == (2, "")
    assert "list.txt, line 1: --inpaint needs a recording" in " ".join(err.split())


def test_a_list_is_resumed_wherever_it_and_its_recordings_lie(
    run_cli: RunCli, tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.jsonl").write_text('{"prompt": "x", "init_audio": "source.wav", "seed": 1}\n')
    arguments = ("-m", "demo", "-o", tmp_path / "clips", "--json")
    monkeypatch.chdir(tmp_path)
    for name in ("list.jsonl", tmp_path / "list.jsonl", f"../{tmp_path.name}/list.jsonl"):
        code, out, err = run_cli("generate", "--prompts", name, *arguments)
        assert code == 0, err
        assert json.loads(out).get("skipped", False) is (name != "list.jsonl")


def test_another_engine_version_makes_the_clips_of_a_list_anew(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.txt").write_text("rain\n")
    monkeypatch.chdir(tmp_path)
    arguments = ("generate", "--prompts", "list.txt", "-m", "demo", "-s", "0.2", "-o", "clips", "--json")
    assert run_cli(*arguments)[0] == 0
    assert json.loads(run_cli(*arguments)[1])["skipped"] is True
    monkeypatch.setattr("sa3_edge.engines.onnxruntime.OnnxRuntimeEngine.describe", lambda self: "onnxruntime 99")
    assert "skipped" not in json.loads(run_cli(*arguments)[1])


def test_names_are_settled_for_files_and_sinks(tmp_path: Path) -> None:
    files = FileOptions(tmp_path / "a.flac", save_latents=tmp_path / "a.npy", sidecar=True)
    first, second = settle_files(files, ClipOptions("x"), range(7, 9))
    assert [path.name for path in first.all()] == ["a-7.flac", "a-7.npy", "a-7.flac.json"]
    assert [path.name for path in second.all()] == ["a-8.flac", "a-8.npy", "a-8.flac.json"]
    with pytest.raises(RequestError, match="`sidecar` needs a file"):
        settle_files(FileOptions(sidecar=True), ClipOptions("x"), range(1), elsewhere=True)


def test_a_pipeline_without_files_still_only_computes(demo: Pipeline) -> None:
    source = AudioSource.from_array(np.zeros((2, RATE), np.float32), RATE)
    demo.generate(GenerationRequest("x", 0.2, seed=1, steps=1, edit=Variation(source)))
    assert source.sha256 is None


def test_a_full_disk_is_an_error_of_the_library(
    demo: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sa3_edge.files.create", full)
    with pytest.raises(Sa3Error, match="No space left"):
        sa3_edge.render(ClipOptions("x", seconds=0.2), demo, FileOptions(tmp_path / "a.wav"))


def test_every_result_says_loudness_and_true_peak(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    arguments = ("generate", "rain", "-m", "demo", "-s", "1", "--seed", "1", "--bits", "float")
    code, out, _ = run_cli(*arguments, "-o", path, "--json")
    assert code == 0
    report = json.loads(out)
    audio, rate = soundfile.read(path, dtype="float32")
    levels = Levels(rate, 2)
    levels.push(audio.T)
    loudness, peak = levels.loudness(), levels.true_peak()
    assert loudness is not None
    assert peak is not None
    assert (report["loudness"], report["true_peak"]) == (round(loudness, 2), round(peak, 2))
    _, out, _ = run_cli(*arguments, "-o", tmp_path / "b.wav")
    assert out.endswith(f"  {loudness:.1f} LUFS, peak {peak:.1f} dBTP  seed 1\n")
    _, out, _ = run_cli(*arguments[:5], "0.2", "--seed", "1", "-o", tmp_path / "short.wav", "--json")
    assert json.loads(out)["loudness"] is None
