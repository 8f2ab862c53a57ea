"""Pieces of several passes: exact, level, in flat memory, never made worse, gone on with where they were cut off."""

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from platformdirs import user_cache_path

import sa3_edge
import sa3_edge.clips.record
from sa3_edge import ClipOptions, FileOptions, GenerationRequest, Pipeline, RequestError
from sa3_edge.clips.request import build_piece
from sa3_edge.compose.long_form import Section, crossfade, level_gain, plan_passes
from sa3_edge.compose.piece import stream_many
from sa3_edge.generation.request import Blend
from sa3_edge.manifest import FILE_NAME
from sa3_edge.models.catalog import DEMO, resolve_model
from tests.conftest import RunCli
from tests.stand_ins.graph_runs import NotedRuns

RATE, FRAME = 44100, 4096
FAST: dict[str, Any] = {"steps": 1, "headroom": 0.0}


@pytest.fixture(scope="module")
def brief_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as if it made 12 seconds in one pass."""
    bundle = tmp_path_factory.mktemp("bundles") / "brief"
    shutil.copytree(resolve_model(DEMO), bundle)
    described = json.loads((bundle / FILE_NAME).read_text(encoding="utf-8"))
    described["audio"]["max_frames"] = 130
    (bundle / FILE_NAME).write_text(json.dumps(described), encoding="utf-8")
    return bundle


@pytest.fixture(scope="module")
def brief(brief_bundle: Path) -> Pipeline:
    return Pipeline.load(brief_bundle, keep_loaded=True)


def _stream(pipeline: Pipeline, options: ClipOptions, progress: Any = lambda *_: None) -> Any:
    return next(stream_many(pipeline, build_piece(options), range(7, 8), progress))


def _audio(pipeline: Pipeline, **options: Any) -> Any:
    return _stream(pipeline, ClipOptions("lofi", **{**FAST, **options})).whole().audio


def test_passes_cover_the_piece_and_none_is_longer_than_a_pass(brief: Pipeline) -> None:
    manifest, random = brief.bundle.manifest, np.random.default_rng(0)
    for _ in range(300):
        lengths = random.uniform(2, 40, int(random.integers(1, 6)))
        sections = tuple(Section(str(place), float(each), str(place % 2)) for place, each in enumerate(lengths))
        passes = plan_passes(sections, manifest)
        assert passes[0].start == passes[0].context == 0
        assert passes[-1].stop == round(float(lengths.sum()) * RATE)
        for one, other in itertools.pairwise(passes):
            assert one.stop == other.start
            assert one.overlap == 2 * FRAME
            assert other.context % FRAME == 0
            assert 0 < other.context <= other.start
        for each in passes:
            assert each.stop > each.start
            assert each.context + each.stop - each.start + each.overlap <= 12 * RATE
        for section, bound in zip(sections[1:], np.cumsum(lengths), strict=False):
            begins = [each for each in passes if each.start < bound * RATE < each.start + each.blend]
            assert [each.prompt for each in begins] == [section.prompt]


def test_what_was_made_once_never_changes(brief: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    real = brief.stream

    def spy(request: GenerationRequest, progress: Any) -> Any:
        stream = real(request, progress)

        def kept(first: int) -> Iterator[Any]:
            made.append([])
            for piece in stream.decode(first):
                made[-1].append(piece.copy())
                yield piece

        return replace(stream, decode=kept)

    monkeypatch.setattr(brief, "stream", spy)
    audio = _audio(brief, seconds=30.0, steps=2, limiter=False)
    passes = plan_passes((Section("all", 30.0, "lofi"),), brief.bundle.manifest)
    assert audio.shape == (2, 30 * RATE)
    assert len(made) == len(passes) == 3
    ours = [np.concatenate(each, axis=1) for each in made]
    assert np.array_equal(audio[:, : passes[0].stop], ours[0][:, : passes[0].stop])
    overlap, gain = 2 * FRAME, np.float32(1)
    for before, each, whole in zip(ours[:-1], passes[1:], ours[1:], strict=True):
        given = whole.shape[1] - (each.stop - each.start + each.overlap)
        assert given > 0
        # What both passes have: what the second was given, and what the first made beyond its end.
        tail = before[:, -overlap:] * gain
        shared = np.concatenate((audio[:, each.start - given : each.start], tail), axis=1)
        gain = level_gain(shared, whole[:, : given + overlap])
        new = whole[:, given:] * gain
        assert np.array_equal(audio[:, each.start + overlap : each.stop], new[:, overlap : each.stop - each.start])
        # The level at the join is that of both, and the second's that of the first.
        ahead = new[:, :overlap]
        assert abs(_decibels(audio[:, each.start : each.start + overlap]) - _decibels(np.hstack((tail, ahead)))) < 1
        assert abs(_decibels(shared) - _decibels(whole[:, : given + overlap] * gain)) < 1


def _decibels(audio: Any) -> float:
    return 10 * math.log10(float(np.mean(np.square(audio, dtype=np.float64))))


def test_joins_keep_their_power_however_alike_the_sides_are() -> None:
    random = np.random.default_rng(0)
    one = random.standard_normal((2, 8192)).astype(np.float32)
    other = random.standard_normal((2, 8192)).astype(np.float32)
    for second in (one, other, 0.5 * one + math.sqrt(0.75) * other):
        faded = crossfade(one, second.astype(np.float32))
        for part in np.array_split(faded, 8, axis=1):
            assert abs(10 * math.log10(float(np.mean(part**2)))) < 0.7
    assert np.allclose(crossfade(one, one), one, atol=1e-5)
    assert level_gain(one, one * 2) == pytest.approx(0.5)
    assert level_gain(one, one * 100) == pytest.approx(0.5)  # never more than 6 dB
    assert level_gain(one * 0, one) == 1


def test_memory_does_not_grow_with_the_piece(brief: Pipeline, tmp_path: Path) -> None:
    def peak(seconds: float) -> int:
        tracemalloc.start()
        options = ClipOptions("x", seconds=seconds, seed=1, **FAST)
        sa3_edge.render(options, brief, FileOptions(tmp_path / "a.wav", overwrite=True))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(13.0)  # what is loaded once
    assert peak(33.0) <= 1.1 * peak(22.0)


def test_progress_is_over_all_passes_and_never_falls(brief: Pipeline) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    stream = _stream(
        brief,
        ClipOptions("x", seconds=25.0, steps=2, headroom=0.0),
        lambda stage, done, total: told.setdefault(stage, []).append((done, total)),
    )
    list(stream)
    for stage, steps in told.items():
        done = [each for each, _ in steps]
        assert done == sorted(done), stage
        assert steps[-1][0] == steps[-1][1], stage
    assert told["denoise"][-1] == (6, 6)
    assert told["decode"][-1][1] == -(-25 * RATE // FRAME)


def test_the_first_sound_comes_with_the_first_tile(brief: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, at_first = NotedRuns(monkeypatch, brief), 0
    for _ in _stream(brief, ClipOptions("x", seconds=45.0, **FAST)):
        at_first = at_first or runs.of("decoder")
    assert 0 < at_first <= runs.of("decoder") / 10


def test_only_the_last_pass_is_told_that_the_piece_ends(brief: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = NotedRuns(monkeypatch, brief)
    _audio(brief, seconds=25.0)
    told = runs.told_seconds()
    assert told[:-1] == [25.0, 25.0]
    assert told[-1] <= 12


# Going on after an interruption

_KILLED = textwrap.dedent("""\
    import os, signal, sys
    from pathlib import Path
    from sa3_edge import ClipOptions, FileOptions, Pipeline, render

    def kill(stage, done, total):
        if stage == "denoise" and done == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

    options = ClipOptions("x", seconds=30.0, seed=5, steps=2, headroom=0.0)
    render(options, Pipeline.load(sys.argv[1]), FileOptions(Path(sys.argv[2])), kill)
""")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_run_goes_on_to_the_same_bytes(
    brief: Pipeline, brief_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ClipOptions("x", seconds=30.0, seed=5, steps=2, headroom=0.0)
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "a.wav"
    done = subprocess.run([sys.executable, script, brief_bundle, path, "3"], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    kept = sorted((user_cache_path("sa3-edge") / "unfinished").glob("*/0*.f32"))
    assert [each.name for each in kept] == ["0000.f32"]
    for left in path.parent.iterdir():  # hidden, and swept after a day
        left.unlink()

    runs = NotedRuns(monkeypatch, brief)
    clip = sa3_edge.render(options, brief, FileOptions(path))
    assert runs.of("denoiser") == 4  # two of three passes
    assert any("were kept" in note for note in clip.notes)
    assert not kept[0].exists()
    sa3_edge.render(options, brief, FileOptions(tmp_path / "whole.wav"))
    assert runs.of("denoiser") == 10
    assert path.read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_another_request_takes_nothing_of_what_was_kept(brief: Pipeline, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("denoise", 2):
            raise StoppedError

    options = ClipOptions("x", seconds=30.0, seed=6, **FAST)
    with pytest.raises(StoppedError):
        sa3_edge.render(options, brief, FileOptions(tmp_path / "a.wav"), stop)
    assert list(tmp_path.iterdir()) == []
    other = sa3_edge.render(ClipOptions("y", seconds=30.0, seed=6, **FAST), brief, FileOptions(tmp_path / "b.wav"))
    assert not any("were kept" in note for note in other.notes)
    # A file that a crash of the disk cut short counts nothing.
    (kept,) = (user_cache_path("sa3-edge") / "unfinished").glob("*/0000.f32")
    kept.write_bytes(kept.read_bytes()[:-4])
    again = sa3_edge.render(options, brief, FileOptions(tmp_path / "a.wav"))
    assert not any("were kept" in note for note in again.notes)


def test_the_seed_to_go_on_with_is_said_before(run_cli: RunCli, brief_bundle: Path, tmp_path: Path) -> None:
    arguments = ("generate", "x", "-m", brief_bundle, "--steps", "1", "-s")
    code, _, err = run_cli(*arguments, "13", "-o", tmp_path / "a.wav")
    seed = sa3_edge.clips.record.read_record(tmp_path / "a.wav").options["seed"]
    assert (code, f"with --seed {seed} goes on" in " ".join(err.split())) == (0, True)
    assert "goes on" not in run_cli(*arguments, "13", "--seed", "1", "-o", tmp_path / "b.wav")[2]
    assert "goes on" not in run_cli(*arguments, "1", "-o", tmp_path / "c.wav")[2]


# Sections


def test_each_section_is_conditioned_on_its_prompt(brief: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GenerationRequest] = []
    real = brief.stream

    def spy(request: GenerationRequest, progress: Any) -> Any:
        asked.append(request)
        return real(request, progress)

    monkeypatch.setattr(brief, "stream", spy)
    audio = _audio(brief, sections="intro:6,verse:14,outro:4", section_prompt=["verse=techno", "outro=piano"])
    assert audio.shape[1] == 24 * RATE
    assert [request.prompt for request in asked] == ["lofi", "techno", "techno", "piano"]
    assert [request.blend and request.blend.prompt for request in asked] == [None, "lofi", None, "techno"]
    for request, width in ((asked[1], 3.0), (asked[3], 2.0)):
        assert request.blend is not None
        assert request.blend.end - request.blend.start == pytest.approx(width)


def test_frames_take_each_prompts_prediction_in_its_share(brief: Pipeline) -> None:
    request = GenerationRequest("techno", 3.0, seed=1, blend=Blend("piano", 1.0, 2.0), **FAST)
    prepared = brief._prepare(request, lambda *_: None)
    shares = [prompt.share for prompt in prepared.prompts]
    seconds = np.arange(shares[0].shape[-1]) * FRAME / RATE
    assert np.all(shares[0][0, 0, seconds <= 1.0] == 1)
    assert np.all(shares[1][0, 0, seconds >= 2.0] == 1)
    assert np.allclose(shares[0] + shares[1], 1)
    assert np.all(np.diff(shares[1][0, 0]) >= 0)
    x = np.random.default_rng(0).standard_normal((1, 64, prepared.plan.lengths.valid)).astype(np.float32)
    piano, techno = (brief._velocity(prompt.conditioning)(x, 0.9) for prompt in prepared.prompts)
    blended = brief._blended(prepared)(x, 0.9)
    assert np.array_equal(blended[..., seconds <= 1.0], piano[..., seconds <= 1.0])
    assert np.array_equal(blended[..., seconds >= 2.0], techno[..., seconds >= 2.0])
    assert not np.allclose(piano, techno)


def test_sections_are_recorded_and_made_again(run_cli: RunCli, brief_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "piece.toml").write_text(
        '[[section]]\nname = "intro"\nseconds = 3\n[[section]]\nname = "verse"\n'
        'seconds = 4.5\nprompt = "techno, hard"\n'
    )
    (tmp_path / "piece.json").write_text(
        '[{"name": "intro", "seconds": 3}, {"name": "verse", "seconds": 4.5, "prompt": "techno, hard"}]'
    )
    typed = ("--sections", "intro:3,verse:4.5", "--section-prompt", "verse=techno, hard")
    files = []
    for name, arguments in (
        ("typed", typed),
        ("toml", ("--sections", tmp_path / "piece.toml")),
        ("json", ("--sections", tmp_path / "piece.json")),
    ):
        files.append(tmp_path / f"{name}.wav")
        rest = ("-m", brief_bundle, "--seed", "1", "--steps", "1", "-o", files[-1], "--json")
        code, out, err = run_cli("generate", "lofi", *arguments, *rest)
        assert code == 0, err
        report = json.loads(out)
        assert [each["prompt"] for each in report["passes"]] == ["lofi", "techno, hard"]
        assert report["passes"][1]["blended_from"] == "lofi"
    assert len({path.read_bytes() for path in files}) == 1
    assert soundfile.info(files[0]).frames == int(7.5 * RATE)
    assert run_cli("regenerate", files[0], "-m", brief_bundle, "-o", tmp_path / "again.wav")[0] == 0
    assert (tmp_path / "again.wav").read_bytes() == files[0].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sections", "intro"), "'intro' is no section; write NAME:SECONDS"),
        (("--sections", "intro:x"), "'x' is no time"),
        (("--sections", "a:5,b:1"), "section 'b' must be 2 seconds or more"),
        (("--sections", "a:3000,b:1000"), "4000 seconds is too long; the longest clip is 3600 s"),
        (("--sections", "a:5", "--section-prompt", "b=x"), "there is no section 'b'"),
        (("--sections", "a:5", "--section-prompt", "x"), "is no section's prompt"),
        (("--sections", "a:5", "--section-prompt", "a=x", "--section-prompt", "a=y"), "has two prompts"),
        (("--section-prompt", "a=x"), "--section-prompt needs --sections"),
        (("--sections", "a:5", "--seconds", "9"), "--sections and --seconds do not go together"),
        (("--sections", "a:5", "--loop"), "do not go together"),
        (("--sections", "a:5", "--save-latents", "x.npy"), "has no latents"),
        (("--sections", "absent.toml"), "cannot be read"),
        (("--seconds", "3601"), "the longest clip is 3600 s"),
        (("--seconds", "130", "--save-latents", "x.npy"), "has no latents"),
    ],
)
def test_invalid_pieces_are_refused_in_one_line(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("generate", "x", "-m", "demo", *arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["[]x", '{"a": 1}', '[{"name": "a", "seconds": -1}]', '[{"name": "a:b", "seconds": 3}]', '[{"seconds": 3}]',
     '[{"name": "a", "seconds": 3, "prompt": "x"}, {"name": "a", "seconds": 3, "prompt": "y"}]'],
)  # fmt: skip
def test_invalid_files_of_sections_are_refused(tmp_path: Path, text: str) -> None:
    from sa3_edge.clips.request import read_sections

    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RequestError):
        read_sections(tmp_path / "a.json")
