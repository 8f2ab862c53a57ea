"""What measuring finds: made-up clips with one fault each, and the best of several."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sa3_edge import ClipOptions, Pipeline, RequestError
from sa3_edge.audio.measure import estimated_tempo, measure, seam, tempo_error
from sa3_edge.clips.check import Check, best, check_audio, why_best
from sa3_edge.clips.render import prepare
from tests.conftest import RunCli

RATE = 44100


def _tone(seconds: float = 4.0, hertz: float = 220.0, level: float = 0.3) -> Any:
    """Two channels of a tone with some noise under it."""
    time = np.arange(int(seconds * RATE)) / RATE
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, len(time)))
    return (level * np.sin(2 * np.pi * hertz * time) + noise).astype(np.float32)


def _clicks(bpm: float, seconds: float = 8.0) -> Any:
    audio = np.zeros((2, int(seconds * RATE)), np.float32)
    burst = np.exp(-np.arange(2000) / 200) * np.sin(np.arange(2000) / 20) * 0.4
    for start in np.arange(0, seconds - 0.1, 60 / bpm):
        audio[:, int(start * RATE) : int(start * RATE) + 2000] += burst.astype(np.float32)
    return audio


def _faults(audio: Any, **options: Any) -> str:
    return "; ".join(check_audio(audio, RATE, ClipOptions("x", **options)).faults())


def test_a_sound_clip_has_no_faults() -> None:
    assert _faults(_tone()) == ""
    whole_periods = _tone(4.0, 220.0)
    assert _faults(whole_periods, loop=True) == ""


def test_each_fault_is_found() -> None:
    assert "silent" in _faults(np.zeros((2, RATE), np.float32))
    assert "constant" in _faults(np.full((2, RATE), 0.1, np.float32))
    assert "clipped" in _faults(np.clip(_tone(level=1.5), -1, 1))
    assert "mean is 5.0%" in _faults(_tone() + np.float32(0.05))
    assert "above 10 kHz" in _faults(_tone(hertz=12_000.0))
    late = _tone()
    late[:, : 2 * RATE] = 0
    assert "2.0 s of silence at the beginning" in _faults(late)
    assert "2.0 s of silence at the end" in _faults(late[:, ::-1].copy())


def test_a_step_at_the_join_is_found_and_one_inside_is_not() -> None:
    half_period = int((4.0 + 0.5 / 220) * RATE)
    audio = _tone(5.0)[:, :half_period]
    audio *= np.linspace(0.5, 1.0, half_period, dtype=np.float32)  # and the level differs
    assert "seam" in _faults(audio, loop=True)
    assert "seam" not in _faults(audio)
    assert seam(np.zeros((2, 100), np.float32)) is None


def test_measures_are_those_of_known_signals() -> None:
    # ITU-R BS.1770: a 997 Hz sine at full scale in one channel has -3.01 LUFS.
    sine = np.zeros((2, 3 * RATE), np.float32)
    sine[0] = np.sin(2 * np.pi * 997 * np.arange(3 * RATE) / RATE)
    measures = measure(sine, RATE)
    assert measures.loudness == pytest.approx(-3.01, abs=0.05)
    assert measures.true_peak == pytest.approx(1.0, abs=0.01)
    between = np.zeros((1, RATE), np.float32)
    between[0] = np.sin(2 * np.pi * RATE / 4 * np.arange(RATE) / RATE + np.pi / 4)  # peaks lie between the samples
    assert measure(between, RATE).peak == pytest.approx(0.707, abs=0.001)
    assert measure(between, RATE).true_peak == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("bpm", [96.0, 124.0, 150.0])
def test_the_tempo_is_estimated(bpm: float) -> None:
    audio = _clicks(bpm)
    tempo = estimated_tempo(audio, RATE)
    assert tempo is not None
    assert tempo_error(tempo, bpm) < 0.04
    assert "tempo" not in _faults(audio, bpm=bpm)
    assert "tempo" in _faults(audio, bpm=bpm * 1.2)


def test_without_libraries_nothing_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sa3_edge.audio.measure.find_spec", lambda name: None)
    measures = measure(_clicks(120), RATE)
    assert measures.tempo is None
    assert measures.loudness is not None  # which NumPy alone measures
    assert measure(_clicks(120)[:, : RATE // 4], RATE).loudness is None
    assert Check(measures, bpm=90).faults() == []


def test_the_best_has_the_least_to_find_fault_with() -> None:
    options = ClipOptions("x", bpm=124.0)
    candidates = [np.zeros((2, 8 * RATE), np.float32), _clicks(100), _clicks(124), _clicks(140)]
    checks = [check_audio(audio, RATE, options) for audio in candidates]
    assert best(checks) == 2
    said = why_best(checks, [5, 6, 7, 8])
    assert said.startswith("seed 7 was kept (no fault")
    assert "seed 5: the clip is silent" in said
    assert "not 124 BPM" in said


def test_the_command_checks_files(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    arguments = ("--loop", "--bpm", "200", "--bars", "2", "--steps", "1", "--seed", "4", "--check", "--json")
    code, out, err = run_cli("generate", "x", "-m", "demo", *arguments, "-o", path)
    assert code == 0, err
    made = json.loads(out)["check"]
    code, out, _ = run_cli("check", path, "--json")
    read = json.loads(out)
    assert (code, read["file"], read["loop"], read["bpm"]) == (0, str(path), True, 200.0)
    assert read["seam"]["level"] == pytest.approx(made["seam"]["level"], abs=1e-4)
    soundfile.write(tmp_path / "other.wav", np.zeros(RATE), RATE)
    code, out, err = run_cli("check", path, tmp_path / "other.wav")
    assert code == 0
    assert "as a loop" in out
    assert "note: the clip is silent" in err
    code, _, err = run_cli("check", tmp_path / "absent.wav")
    assert (code, "does not exist" in err) == (2, True)


@pytest.fixture(scope="module")
def demo() -> Pipeline:
    return Pipeline.load("demo", keep_loaded=True)


def test_one_of_several_seeds_is_kept(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("-m", "demo", "-s", "1", "--steps", "1", "--seed", "7", "--best-of", "3")
    code, out, err = run_cli("generate", "piano", *arguments, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert [path.name for path in tmp_path.iterdir()] == [f"piano-{report['seed']}.wav"]
    assert report["seed"] in (7, 8, 9)
    assert f"seed {report['seed']} was kept" in report["notes"][0]
    kept = Path(report["file"])
    run_cli("regenerate", kept, "-o", "again.wav")
    assert kept.read_bytes() == Path("again.wav").read_bytes()
    assert run_cli("generate", "piano", *arguments, "-o", "named.flac")[0] == 0
    assert Path("named.flac").exists()


@pytest.mark.parametrize(("best_of", "count", "said"), [(0, 1, "from 1 to"), (2, 2, "do not go together")])
def test_invalid_choices_of_the_best_are_refused(best_of: int, count: int, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        prepare(ClipOptions("x"), count=count, best_of=best_of)


def test_a_silent_or_constant_clip_is_reported(demo: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sa3_edge import FileOptions, render

    real = demo.graphs.run
    for level, said in ((0.0, "the clip is silent"), (0.25, "the clip is constant")):

        def flat(graph: Any, inputs: Any, level: float = level) -> Any:
            made = real(graph, inputs)
            return {"audio": np.full_like(made["audio"], level)} if graph == "decoder" else made

        monkeypatch.setattr(demo.graphs, "run", flat)
        clip = render(ClipOptions("x", seconds=0.5, steps=1), demo, FileOptions(tmp_path / f"{level}.wav"))
        assert any(note.startswith(said) for note in clip.notes)
        notes = clip.report["notes"]
        assert isinstance(notes, list)
        assert any(note.startswith(said) for note in notes)
