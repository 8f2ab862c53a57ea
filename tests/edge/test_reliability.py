"""Files of strangers, full disks and signals: words instead of faults, nothing partial, nothing of the user's lost."""

import contextlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sa3_edge import AudioSource
from sa3_edge.audio.encoding import Tags, encode_audio
from sa3_edge.audio.formats import encoding_for
from sa3_edge.audio.limiter import CEILING, limit, limit_blocks
from sa3_edge.bundle import Bundle
from sa3_edge.cli.defaults import config_file, defaults
from sa3_edge.cli.printable import print_all_of, printable
from sa3_edge.clips.options import ClipOptions, options_of
from sa3_edge.clips.record import read_record
from sa3_edge.clips.request import typed_options
from sa3_edge.engines import EngineOptions
from sa3_edge.engines.cache import cache_entry, forget
from sa3_edge.engines.runner import GraphRunner
from sa3_edge.errors import BundleError, EngineError, RequestError
from sa3_edge.files import put_in_place, sweep, unfinished_folder, whole_file
from sa3_edge.generation.lengths import plan_lengths
from sa3_edge.generation.tiling import plan_tiles
from sa3_edge.generation.tokenizer import LONGEST_TEXT, Tokenizer
from sa3_edge.manifest import Tiles, decode_manifest
from sa3_edge.models import installed
from sa3_edge.models.catalog import DEMO, models_folder, resolve_model
from tests.conftest import RunCli
from tests.fuzz import CASES

DEMO_FOLDER = resolve_model(DEMO)
LINUX = sys.platform == "linux"
DEEP = b"[" * 100_000


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_FOLDER, tmp_path / "bundle"))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    models_folder().mkdir(parents=True)
    return models_folder()


def _edited(folder: Path, *keys: str | int, value: object) -> Path:
    manifest = json.loads((folder / "manifest.json").read_text())
    place: Any = manifest
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


# Bundles


@pytest.mark.skipif(not LINUX, reason="needs FIFOs")
@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "decoder.onnx", "decoder.onnx.data"])
def test_a_fifo_in_a_bundle_is_refused_and_never_waited_for(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(BundleError):
        Bundle.load(copy, trust_cache=False)


@pytest.mark.skipif(not LINUX, reason="needs FIFOs")
def test_one_broken_bundle_does_not_break_the_others(models: Path, run_cli: RunCli) -> None:
    for name in ("fifo", "deep", "endless"):
        (models / name).mkdir()
    os.mkfifo(models / "fifo" / "manifest.json")
    (models / "deep" / "manifest.json").write_bytes(DEEP)
    (models / "endless" / "manifest.json").symlink_to("/dev/zero")
    listed = {model.name: model.problem for model in installed.list_models()}
    assert all(listed[name] for name in ("fifo", "deep", "endless"))
    assert listed[DEMO] is None
    for command in (["models"], ["doctor"], ["models", "--json"]):
        code, _, err = run_cli(*command)
        assert (code, "fault" in err) == (0, False), command
    for name in ("fifo", "deep", "endless"):
        assert run_cli("remove", name, "--yes")[0] == 0
    assert list(models.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("audio", "channels"), 1 << 40),
        (("audio", "samples_per_frame"), 1 << 20),
        (("audio", "sample_rate"), 10**30),
        (("tiles", "decoder", "overlap"), -1),
        (("sampler", "steps"), 10**9),
        (("sampler", "headroom_seconds"), 1e300),
        (("sampler", "logsnr_start"), -1e300),
        (("text", "tokenizer", "bytes"), -1),
        (("text", "tokenizer", "sha256"), "../../x"),
        (("text", "tokenizer", "path"), "x" * 5000),
        (("graphs", "decoder", "inputs", 0, "shape"), [1] * 100),
    ],
)
def test_numbers_beyond_reason_are_refused(copy: Path, keys: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is not valid"):
        Bundle.load(_edited(copy, *keys, value=value))


@pytest.mark.parametrize("path", ["a\0b", "c:\\x", "..\\x", "x/" + "y" * 300, "loop/x"])
def test_invalid_paths_are_refused(copy: Path, path: str) -> None:
    if LINUX:
        (copy / "loop").symlink_to("loop")
    with pytest.raises(BundleError):
        Bundle.load(_edited(copy, "text", "tokenizer", "path", value=path))


def test_a_byte_that_changed_is_found_though_the_time_was_put_back(copy: Path) -> None:
    Bundle.load(copy)
    path = copy / "decoder.onnx.data"
    before, data = path.stat(), bytearray(path.read_bytes())
    data[100] ^= 1
    time.sleep(0.02)  # the clock of some file systems ticks this slowly
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BundleError, match="SHA-256 differs"):
        Bundle.load(copy)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_stray_file_in_a_package_is_refused(copy: Path) -> None:
    """Core ML reads a package's folder as a whole."""
    bundle = Bundle.load(copy)
    (copy / "manifest.json").unlink()  # the one file that a manifest does not name; in a package there is none
    bundle.check_folder(copy)
    (copy / "stray.bin").touch()
    with pytest.raises(BundleError, match=r"stray\.bin is not among the files"):
        bundle.check_folder(copy)
    (copy / "stray.bin").unlink()
    (copy / "link").symlink_to("decoder.onnx")
    with pytest.raises(BundleError, match="link is not among"):
        bundle.check_folder(copy)


@pytest.mark.parametrize("content", [DEEP, b"\xff", b"[]", b"null", b'{"x": 1}'])
def test_a_damaged_cache_of_hashes_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "sa3-edge").mkdir()
    (tmp_path / "sa3-edge" / "verified.json").write_bytes(content)
    Bundle.load(DEMO_FOLDER)


def test_the_cache_of_hashes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sa3_edge.bundle._MOST_REMEMBERED", 15)
    for name in ("a", "b", "c"):
        Bundle.load(Path(shutil.copytree(DEMO_FOLDER, tmp_path / name)))
    seen = json.loads((tmp_path / "sa3-edge" / "verified.json").read_text())
    assert len(seen) == 15
    assert sum(key.startswith(str(tmp_path / "c")) for key in seen) == 11


@settings(max_examples=CASES, deadline=None)
@given(st.data())
def test_mutated_manifests_are_read_or_refused(data: st.DataObject) -> None:
    original = (DEMO_FOLDER / "manifest.json").read_bytes()
    place = data.draw(st.integers(0, len(original) - 1))
    put = data.draw(st.sampled_from([b"", b"9" * 400, b"null", b"{", b'"', b"-1", b"1e999", b"\xff", b"[[[["]))
    changed = original[:place] + put + original[place + data.draw(st.integers(0, 20)) :]
    with contextlib.suppress(BundleError):
        decode_manifest(changed)


# Graphs' outputs


class _Fake:
    def __init__(self, outputs: dict[str, Any]):
        self._outputs = outputs

    def run(self, inputs: Any) -> dict[str, Any]:
        return self._outputs


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"audio": np.zeros((1, 2, 0), np.float32)}, "promises"),
        ({"audio": np.zeros((1, 2, 100), np.float32)}, "promises"),
        ({"audio": np.zeros((1, 1, 2 * 4096), np.float32)}, "promises"),
        ({"audio": np.zeros((1, 2, 2 * 4096), np.float64)}, "promises"),
        ({"audio": np.full((1, 2, 2 * 4096), np.nan, np.float32)}, "NaN"),
        ({"audio": "text"}, "gave no output"),
        ({}, "gave no output"),
    ],
)
def test_outputs_that_are_not_as_promised_never_become_audio(outputs: dict[str, Any], says: str) -> None:
    bundle = Bundle.load(DEMO_FOLDER)
    assert bundle.manifest.audio.samples_per_frame == 4096
    runner = GraphRunner(bundle, "onnxruntime", EngineOptions(), keep_loaded=True)
    runner._sessions["decoder"] = _Fake(outputs), ()
    latents = np.zeros((1, bundle.manifest.audio.latent_channels, 2), np.float32)
    with pytest.raises(EngineError, match=says):
        runner.run("decoder", {"latents": latents})


def test_two_runs_that_take_turns_have_times_of_their_own() -> None:
    runner = GraphRunner(Bundle.load(DEMO_FOLDER), "onnxruntime", EngineOptions(), keep_loaded=True)
    latents = {"latents": np.zeros((1, runner.bundle.manifest.audio.latent_channels, 2), np.float32)}
    one: dict[str, float] = {}
    other: dict[str, float] = {}
    with runner.timing(one):
        runner.run("decoder", latents)
    measured = dict(one)
    runner.run("decoder", latents)
    with runner.timing(other):
        runner.run("decoder", latents)
    assert one == measured
    assert set(one) == {"decoder.load", "decoder.run"}
    assert set(other) == {"decoder.run"}


# Tokenizers


def _tokenizer(folder: Path, **changes: object) -> Path:
    parts = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [], "unk_token": "u"},
        **changes,
    }
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(parts))
    return path


_DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "x"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Removed", "invert": False}},
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"normalizer": {"type": "Sequence", "normalizers": [_DOUBLE] * 30}},
        {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "x" * 1_000_000}},
        {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}},
        {"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}},
        {"model": {"type": "WordPiece", "vocab": {}}},
        {"model": None},
    ],
)
def test_tokenizers_that_run_wild_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer(_tokenizer(tmp_path, **changes), 10)


def test_what_a_tokenizer_fails_on_is_an_error_of_the_bundle(tmp_path: Path) -> None:
    tokenizer = Tokenizer(_tokenizer(tmp_path), 10)  # its token for the unknown is not in its vocabulary
    with pytest.raises(BundleError, match="fails on this text"):
        tokenizer.encode("z")


def test_a_book_is_no_prompt(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"at most {LONGEST_TEXT}"):
        Tokenizer(_tokenizer(tmp_path), 10).encode("a" * (LONGEST_TEXT + 1))


@pytest.mark.parametrize("content", [DEEP, b"\xff\xfe", b"", b"[]", b'"x"'])
def test_an_invalid_tokenizer_is_reported_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError) as caught:
        Tokenizer(tmp_path / "tokenizer.json", 10)
    assert "\n" not in str(caught.value)


# Recordings


@pytest.mark.parametrize("rate", [1, 999, 768_001, 10**9])
def test_rates_that_no_recorder_has_are_refused(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(100, np.float32), rate)
    with pytest.raises(RequestError, match=f"is at {rate} Hz"):
        AudioSource.from_file(tmp_path / "x.wav")


def test_a_recording_that_would_take_gigabytes_is_refused_unread() -> None:
    def read(frames: int) -> Any:
        raise AssertionError("it was read")

    source = AudioSource("x.flac", 655_350, 8, 10**9, read, "FLAC")
    with pytest.raises(RequestError, match="convert it to 2 channels at 44100 Hz"):
        source.load(120 * 44_100, 44_100, 2)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_samples_near_the_largest_float_are_refused(rate: int) -> None:
    audio = np.full((6, 100), 3e38, np.float32)
    with pytest.raises(RequestError, match="times full scale"):
        AudioSource.from_array(audio, rate).load(100, 44_100, 2)


# What is printed


@pytest.mark.parametrize("bad", ["\x1b]0;x\x07", "\r", "\x9b2J", "\u202e", "\x00", "\x7f", "\u2066", "\ud800"])
def test_control_characters_are_shown_as_escapes(bad: str) -> None:
    shown = printable(f"a{bad}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == f"a{bad}b"


def test_what_people_write_stays() -> None:
    text = "Zwölf Boxkämpfer 鼓 🥁 عود\ttab"
    assert printable(text) == text
    assert printable("a\nb") == "a\\u000ab"
    assert printable("a\nb", lines=True) == "a\nb"


def test_names_in_a_bundle_cannot_work_the_terminal(copy: Path, run_cli: RunCli) -> None:
    _edited(copy, "model", "name", value="x\x1b[2J\rfake\nline \u202e")
    for arguments in (["inspect", copy], ["inspect", copy, "--json"]):
        code, out, err = run_cli(*arguments)
        assert code == 0, err
        assert "\x1b[2J\r" not in out + err
        assert not {"\x1b", "\r", "\u202e"} & set(out)
        assert "\\u001b[2J" in out
    _edited(copy, "text", "tokenizer", "path", value="\x1b[2Jx")
    assert "\x1b[2J" not in run_cli("inspect", copy)[2]


# Files and folders


def test_a_folder_is_replaced_without_a_moment_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names can be swapped; elsewhere a signal between the two renames brings the old one back."""
    old, new = tmp_path / "model", tmp_path / "new"
    for folder, content in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "x").write_text(content)
    monkeypatch.setattr("sa3_edge.files._exchange", lambda one, other: False)
    real = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self == new:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(new, old)
    assert (old / "x").read_text() == "old"
    monkeypatch.undo()
    put_in_place(new, old)
    assert (old / "x").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(not LINUX, reason="renameat2 is Linux's")
def test_names_are_swapped_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sa3_edge.files import _exchange

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert _exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    assert not _exchange(tmp_path / "a", tmp_path / "absent")


def test_only_leftovers_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    names = (".sa3-edge-0a1b2c3d", ".sa3-edge-aaaaaaaa", ".sa3-edge-mine", "sa3-edge-0a1b2c3d", ".sa3-edge-bbbbbbbb")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    (tmp_path / ".sa3-edge-bbbbbbbb" / "old").mkdir()  # a model that was being replaced
    for name in names:
        if name != ".sa3-edge-aaaaaaaa":
            os.utime(tmp_path / name, (0, 0))
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {".sa3-edge-0a1b2c3d"}


def test_an_interrupt_while_old_files_are_deleted_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = shutil.rmtree, []

    def rmtree(path: Path, **options: Any) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with pytest.raises(KeyboardInterrupt), unfinished_folder(tmp_path) as folder:
        (folder / "x").touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_umask_is_the_processes_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads would see it change."""
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
        with whole_file(tmp_path / "x") as temporary:
            temporary.write_bytes(b"x")
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640
    finally:
        monkeypatch.undo()
        os.umask(before)


def test_remove_deletes_what_engines_keep_of_graphs_that_no_other_model_has(models: Path) -> None:
    shutil.copytree(DEMO_FOLDER, models / "mine")
    manifest = Bundle.load(models / "mine").manifest
    shutil.copytree(DEMO_FOLDER, models / "other")
    entries = [cache_entry("openvino", graph.artifacts["onnx"], "1") for graph in manifest.graphs.values()]
    for entry in entries:
        (entry / "blob").write_bytes(b"x" * 100)
    installed.remove("mine")
    assert all(entry.exists() for entry in entries)  # the other, and the demo, have the same graphs
    forget([graph.artifacts["onnx"] for graph in manifest.graphs.values()])
    assert not any(entry.exists() for entry in entries)


# Names, streams, signals


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "~nosuchuser/x", "/".join(["y"] * 3000)])
@pytest.mark.parametrize("command", [["generate", "x", "-m"], ["inspect"], ["info"], ["generate", "x", "--init-audio"]])
def test_invalid_names_are_request_errors(run_cli: RunCli, command: list[str], name: str) -> None:
    code, _, err = run_cli(*command, name)
    assert (code, "fault" in err) == (2, False), err


def _main(*arguments: object, before: str = "") -> subprocess.Popen[str]:
    """The command line in a process of its own, after the code `before`."""
    program = f"import sys; sys.argv[1:] = {[str(each) for each in arguments]!r}\n{before}\n"
    program += "from sa3_edge import cli; cli.main()"
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)


# A command that makes a file and then computes for ever, deaf to what signals raise: as a graph in C does.
_DEAF = """
import pathlib, time
import sa3_edge.cli.app
from sa3_edge import files

def deaf(arguments, **options):
    with files.unfinished_folder(pathlib.Path(FOLDER)):
        print("ready", file=sys.stderr, flush=True)
        while True:
            try:
                time.sleep(0.1)
            except BaseException:
                pass

sa3_edge.cli.app.app = deaf
"""


@pytest.mark.skipif(not LINUX, reason="needs signals")
@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_second_signal_ends_what_does_not_end(tmp_path: Path, first: str) -> None:
    process = _main(before=_DEAF.replace("FOLDER", repr(str(tmp_path))))
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(getattr(signal, first))
    assert process.stderr.readline() == "interrupted\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not LINUX, reason="needs signals")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_that_end_a_process_clean_up(tmp_path: Path, number: str) -> None:
    out = tmp_path / "x.wav"
    process = _main("generate", "x", "-s", "20", "--steps", "10000", "-m", "demo", "-o", out, "--sidecar")
    time.sleep(2)
    process.send_signal(getattr(signal, number))
    assert process.wait(timeout=60) == 130
    assert list(tmp_path.iterdir()) == []


def test_the_handlers_of_before_come_back(run_cli: RunCli) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run_cli("models")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=200))
def test_any_prompt_is_encoded_or_refused(text: str) -> None:
    try:
        ids, _ = _demo_tokenizer().encode(text)
    except RequestError:
        return
    assert all(isinstance(number, int) for number in ids)


def _demo_tokenizer(kept: list[Tokenizer] = []) -> Tokenizer:  # noqa: B006
    if not kept:
        kept.append(Tokenizer(DEMO_FOLDER / "tokenizer.json", 256))
    return kept[0]


@settings(max_examples=CASES, deadline=None)
@given(seconds=st.floats(0.1, 110), headroom=st.floats(0, 60))
def test_any_lengths_go_together(seconds: float, headroom: float) -> None:
    manifest = Bundle.load(DEMO_FOLDER).manifest
    for each in (headroom, round(headroom * 44_100 / 4096) * 4096 / 44_100):
        lengths = plan_lengths(seconds, each, manifest)
        assert lengths.samples <= lengths.valid * manifest.audio.samples_per_frame
        assert lengths.valid <= lengths.allocated <= manifest.audio.max_frames


def test_roundings_that_differ_near_a_whole_frame() -> None:
    lengths = plan_lengths(2.5077777777777777, 6.408707482993197, Bundle.load(DEMO_FOLDER).manifest)
    assert lengths.valid <= lengths.allocated


def test_halves_of_surrogate_pairs_are_errors_of_the_request() -> None:
    for name in set(options_of(ClipOptions)) - {"prompt"}:
        with contextlib.suppress(RequestError):
            typed_options({name: "\ud800"})


@pytest.mark.parametrize("format_name", ["ogg", "opus", "flac", "mp3", "wav"])
def test_the_same_clip_is_the_same_file(format_name: str) -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 50_000)).astype(np.float32)
    for tags in (Tags(), Tags("t", "s", "c" * 3000, marked=True)):
        one, other = (encode_audio(audio, 44_100, encoding_for(format_name, None), tags)[0] for _ in range(2))
        assert one == other
        assert soundfile.info(io.BytesIO(one)).channels == 2


def test_text_that_an_encoding_lacks_is_printed_as_escapes() -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, "ascii")
    print_all_of(stream)
    stream.write('"Zwölf 🥁"')
    stream.flush()
    assert json.loads(buffer.getvalue()) == "Zwölf 🥁"


@pytest.mark.skipif(not LINUX, reason="needs a FIFO")
def test_an_invalid_config_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    config_file().parent.mkdir(parents=True)
    for content in ("x = " + "[" * 100_000, "x = " + "{a=" * 50_000, "steps = " + "9" * 5000):
        config_file().write_text(content)
        with pytest.raises(RequestError, match="cannot be read"):
            defaults()
    config_file().unlink()
    os.mkfifo(config_file())
    with pytest.raises(RequestError, match="not a regular file"):
        defaults()


def test_models_that_vanish_while_they_are_listed_are_no_fault(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(DEMO_FOLDER, models / "one")
    real = os.scandir

    def vanishing(path: Any) -> Any:
        if Path(path) == models / "one":
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    installed.list_models()
    assert installed.bytes_on_disk() == 0


def test_contrived_samples_that_are_loud_between_are_turned_down() -> None:
    """Samples of less than half full scale, whose signs alternate around one place, are near it there."""
    place = np.arange(4000) - 2000.5
    audio = np.where(np.abs(place) < 200, 0.46 * np.sign(np.sinc(place)), 0).astype(np.float32)[None]
    before, after = (soxr.resample(x[0], 44_100, 16 * 44_100, quality="VHQ") for x in (audio, limit(audio, 44_100)))
    assert before.max() > CEILING
    assert 0.8 < after.max() <= CEILING


_SOUNDS = ("wav", "flac", "ogg", "mp3")


@settings(max_examples=CASES, deadline=None)
@given(st.data())
def test_mutated_recordings_are_read_or_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(_SOUNDS))
    original = _sound(name)
    # Headers and tags more often than samples.
    place = data.draw(st.one_of(st.integers(0, min(len(original), 200) - 1), st.integers(0, len(original) - 1)))
    put = data.draw(st.one_of(st.binary(max_size=12), st.sampled_from([b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff"])))
    changed = original[:place] + put + original[place + data.draw(st.integers(0, 12)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x.{name}")
        path.write_bytes(changed)
        with contextlib.suppress(RequestError):
            source = AudioSource.from_file(path)
            assert np.isfinite(source.load(44_100, 44_100, 2)[0]).all()
        with contextlib.suppress(RequestError):
            read_record(path)


def _sound(name: str, kept: dict[str, bytes] = {}) -> bytes:  # noqa: B006
    if name not in kept:
        audio = np.random.default_rng(1).normal(0, 0.1, (2, 4000)).astype(np.float32)
        kept[name] = encode_audio(audio, 44_100, encoding_for(name, None), Tags("t", "s", "{}", marked=True))[0]
    return kept[name]


@settings(max_examples=CASES, deadline=None)
@given(st.data())
def test_mutated_tokenizers_are_read_or_refused(data: st.DataObject) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [], "unk_token": "a"}
    original = json.dumps({"version": "1.0", "normalizer": _DOUBLE, "pre_tokenizer": None, "model": model})
    place = data.draw(st.integers(0, len(original) - 1))
    put = data.draw(st.sampled_from(["", "null", "[", "{}", '"', "-1", "9" * 400, "true", "Regex", "\\u0000"]))
    changed = original[:place] + put + original[place + data.draw(st.integers(0, 20)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_text(changed)
        with contextlib.suppress(RequestError):
            Tokenizer(path, 10).encode("a" * 50)


@settings(max_examples=CASES, deadline=None)
@given(
    frames=st.integers(1, 400),
    tile=st.integers(1, 40),
    overlap=st.integers(0, 20),
    multiple=st.integers(1, 4),
    full=st.booleans(),
)
def test_any_tiles_keep_each_frame_once(frames: int, tile: int, overlap: int, multiple: int, full: bool) -> None:
    tiles = Tiles(frames=tile * multiple, overlap=overlap * multiple, multiple=multiple)
    available = -(-frames // multiple) * multiple
    kept = 0
    for each in plan_tiles(frames, available, tiles, full=full):
        assert each.keep_start == kept
        assert 0 <= each.start <= each.keep_start < each.keep_stop <= each.stop <= available
        assert (each.stop - each.start) % multiple == 0
        kept = each.keep_stop
    assert kept == frames


@settings(max_examples=max(20, CASES // 20), deadline=None)
@given(cuts=st.lists(st.integers(1, 30_000), max_size=5), loud=st.floats(0.05, 4), seed=st.integers(0, 1000))
def test_any_blocks_are_limited_as_the_whole(cuts: list[int], loud: float, seed: int) -> None:
    audio = np.random.default_rng(seed).normal(0, loud, (2, sum(cuts) + 100)).astype(np.float32)
    blocks = np.split(audio, np.cumsum(cuts), axis=1)
    whole = limit(audio, 44_100)
    assert np.array_equal(np.concatenate(list(limit_blocks(blocks, 44_100)), axis=1), whole)
    assert np.abs(whole).max() <= 1
