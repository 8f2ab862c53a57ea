"""`sa3-edge generate` makes what the reference makes, and refuses what cannot be."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sa3_edge import AudioSource, GenerationRequest, Pipeline, RequestError, Variation
from tests.conftest import Golden, RunCli, relative_error


@pytest.mark.parametrize("name", ["t2a_5s", "t2a_1.3s_4steps", "t2a_empty"])
def test_text_to_audio_equals_the_reference(
    run_cli: RunCli,
    tiny_bundle: Path,
    tmp_path: Path,
    golden: Golden,
    golden_arguments: dict[str, Any],
    name: str,
) -> None:
    (arguments,) = [run for run in golden_arguments["runs"] if run["name"] == name]
    wav, latents_file = tmp_path / "out.wav", tmp_path / "latents.npy"
    steps = ("--steps", arguments["steps"]) if "steps" in arguments else ()
    code, out, err = run_cli(
        "generate", arguments["prompt"], "--seconds", arguments["duration"], "--seed", arguments["seed"], *steps,
        "--model", tiny_bundle, "-o", wav, "--save-latents", latents_file, "--json",
    )  # fmt: skip
    assert code == 0, err
    result = json.loads(out)
    assert result["seed"] == arguments["seed"]

    latents = np.load(latents_file)
    valid = latents.shape[-1]
    assert relative_error(latents, golden[f"run.{name}.latents"][:, :, :valid]) < 1e-3
    audio, rate = soundfile.read(wav, dtype="float64")
    assert (rate, len(audio)) == (44100, int(arguments["duration"] * 44100))
    if f"run.{name}.audio" in golden:
        assert relative_error(audio.T, golden[f"run.{name}.audio"][0]) < 1e-3


@pytest.mark.parametrize("seconds", [0.1, 120.0])
def test_shortest_and_longest_clip(pipeline: Pipeline, seconds: float) -> None:
    made = pipeline.generate(GenerationRequest("lofi piano", seconds, seed=1, steps=1))
    assert made.audio.shape == (2, int(seconds * 44100))
    assert made.latents.shape[-1] == (1292 if seconds == 120.0 else 66)
    assert np.isfinite(made.audio).all()


@pytest.mark.parametrize(("seconds", "frames"), [(0.1, 2), (0.6, 7)])
def test_without_headroom_the_clip_is_all_there_is(pipeline: Pipeline, seconds: float, frames: int) -> None:
    made = pipeline.generate(GenerationRequest("", seconds, seed=1, headroom=0.0))
    assert made.latents.shape[-1] == frames
    assert made.audio.shape[-1] == int(seconds * 44100)


@pytest.mark.parametrize("prompt", ["", " ", "🎹🔥", "piano " * 400, "tab\tand\nnewline"])
def test_any_text_is_a_prompt(pipeline: Pipeline, prompt: str) -> None:
    made = pipeline.generate(GenerationRequest(prompt, 0.5, seed=1, steps=1))
    assert np.isfinite(made.audio).all()
    assert bool(made.notes) == (len(prompt) > 400)  # a prompt that is cut is said


def test_half_a_character_is_no_prompt(pipeline: Pipeline) -> None:
    with pytest.raises(RequestError, match="not valid Unicode"):
        pipeline.generate(GenerationRequest("\ud800", 0.5))
    with pytest.raises(RequestError, match="not valid Unicode"):
        pipeline.generate(GenerationRequest("x", 0.5, cfg=3, negative_prompt="\ud800"))


def test_the_same_seed_is_the_same_music_and_another_is_not(pipeline: Pipeline) -> None:
    first, again, other = (pipeline.generate(GenerationRequest("lofi piano", 0.5, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.audio, again.audio)
    assert relative_error(other.latents, first.latents) > 0.1


def test_a_drawn_seed_makes_the_clip_again(pipeline: Pipeline) -> None:
    made = pipeline.generate(GenerationRequest("lofi piano", 0.5))
    again = pipeline.generate(GenerationRequest("lofi piano", 0.5, seed=made.seed))
    assert np.array_equal(made.audio, again.audio)


def test_progress_reaches_the_end_of_every_stage(pipeline: Pipeline) -> None:
    last: dict[str, tuple[int, int]] = {}
    pipeline.generate(
        GenerationRequest("x", 4.0, seed=1, steps=3),
        lambda stage, done, total: last.__setitem__(stage, (done, total)),
    )
    assert last == {"text": (1, 1), "condition": (1, 1), "denoise": (3, 3), "decode": (44, 44)}


@pytest.mark.parametrize("where", [("text", 1), ("encode", 0), ("condition", 0), ("denoise", 2), ("decode", 0)])
def test_a_callback_can_stop_the_run(tiny_bundle: Path, where: tuple[str, int]) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == where:
            raise KeyboardInterrupt

    edit = Variation(AudioSource.from_array(np.zeros((2, 44100), np.float32), 44100), 0.5)
    with Pipeline.load(tiny_bundle) as pipeline:
        with pytest.raises(KeyboardInterrupt):
            pipeline.generate(GenerationRequest("x", 1.0, seed=1, edit=edit), stop)
        assert pipeline.graphs.loaded == ()


def test_graphs_are_loaded_when_needed_and_freed_after_use(tiny_bundle: Path) -> None:
    loaded: list[str] = []
    with Pipeline.load(tiny_bundle) as pipeline:
        graphs = pipeline.graphs
        pipeline.generate(
            GenerationRequest("x", 0.5, seed=1),
            lambda stage, done, total: loaded.append("+".join(graphs.loaded)),
        )
        assert set(loaded) <= {
            "",
            "text_encoder",
            "conditioner",
            "denoiser",
            "decoder",
        }  # never two at a time
        assert graphs.loaded == ()
    kept = Pipeline.load(tiny_bundle, keep_loaded=True)
    kept.generate(GenerationRequest("x", 0.5, seed=1))
    assert set(kept.graphs.loaded) == {"text_encoder", "conditioner", "denoiser", "decoder"}
    assert "denoiser.load" not in kept.generate(GenerationRequest("x", 0.5, seed=1)).timings
    kept.free()
    assert kept.graphs.loaded == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seconds", "3601"), "longest clip is 3600 s"),
        (("--seconds", "0.05"), "seconds must be"),
        (("--seconds", "nan"), "seconds must be"),
        (("--seconds", "five"), "--seconds"),
        (("--steps", "0"), "steps must be from 1 to 10000, got 0"),
        (("--steps", "9" * 30), "steps must be from 1 to 10000"),
        (("--headroom", "-1"), "headroom"),
        (("--headroom", "1e308"), "too large"),
        (("--count", "9" * 30), "count must be at most"),
        (("--seed", "-1"), "seed must be between"),
        (("--seed", "4294967296"), "seed must be between"),
        (("--threads", "0"), "threads must be from 1 to"),
        (("--threads", str((os.cpu_count() or 1) + 1)), f"from 1 to {os.cpu_count() or 1}, the logical cores"),
        (("--threads", "9" * 30), "threads must be from 1 to"),
        (("--engine", "abacus"), "unknown engine 'abacus'; choose onnxruntime"),
        (("--model", "no-such-model"), "no model is called 'no-such-model'"),
        (("-o", "song.xyz"), "no known format; choose wav"),
        (("-o", "no/such/folder/song.wav"), "no/such/folder does not exist"),
        (("--save-latents", "latents.bin"), ".npy"),
    ],
)
def test_bad_requests_say_why_and_leave_nothing(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("generate", "lofi piano", "--model", "demo", "--seconds", "0.5", *arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_with_a_missing_file_is_an_error(run_cli: RunCli, tmp_path: Path) -> None:
    code, _, err = run_cli("generate", "x", "--model", tmp_path)
    assert code == 2
    assert "no manifest.json" in err


def test_an_unexpected_fault_is_one_line_unless_debugging(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("sa3_edge.cli.generate.Pipeline.stream_many", fail)
    arguments = ("generate", "x", "--model", "demo", "-o", tmp_path / "x.wav")
    code, _, err = run_cli(*arguments)
    assert (code, err.count("\n")) == (1, 1)
    for debugging in (("--debug", *arguments), (*arguments, "--debug")):
        code, _, err = run_cli(*debugging)
        assert code == 1
        assert "Traceback" in err


def test_after_two_dashes_all_is_prompt(run_cli: RunCli, tmp_path: Path) -> None:
    made = tmp_path / "x.wav"
    code, out, err = run_cli("generate", "-m", "demo", "-s", "0.2", "-o", made, "--json", "--", "--debug")
    assert code == 0, err
    assert json.loads(out)["prompt"] == "--debug"


@pytest.mark.skipif(sys.platform == "win32", reason="bytes as arguments")
@pytest.mark.parametrize(
    "arguments", [("x", "-o", b"bad\xff.wav"), ("x", "--init-audio", b"bad\xff.wav"), (b"bad\xff",)]
)
def test_arguments_that_are_not_utf_8_are_refused(tmp_path: Path, arguments: tuple[str | bytes, ...]) -> None:
    command = [sys.executable, "-m", "sa3_edge", "generate", "-m", "demo", "-s", "0.2", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: bad\\xff")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_random_weights_say_that_they_make_noise(run_cli: RunCli, tmp_path: Path, noise_bundle: Path) -> None:
    wav = tmp_path / "noise.wav"
    code, _, err = run_cli("generate", "x", "--seconds", "1", "--model", noise_bundle, "-o", wav)
    assert code == 0
    assert "untrained" in err
    with soundfile.SoundFile(wav) as file:
        assert "random weights" in file.title
    code, out, _ = run_cli("info", wav)
    assert code == 0
    assert "untrained" in out


def test_the_demo_makes_a_clip_and_says_what_it_did(run_cli: RunCli, tmp_path: Path) -> None:
    wav = tmp_path / "demo.wav"
    code, out, err = run_cli("generate", "lofi piano", "--seconds", "1", "--model", "demo", "--seed", "5", "-o", wav)
    assert code == 0
    assert "untrained" not in err
    assert "seed 5" in out
    assert "real time" in out
    with soundfile.SoundFile(wav) as file:
        assert "random weights" not in file.title
        audio = file.read()
    assert 0.01 < audio.std() < 0.5


def test_files_are_named_after_the_prompt_and_never_replaced(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, _, _ = run_cli("generate", "Lofi, piano!", "--seconds", "0.2", "--model", "demo", "--seed", "5")
        assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lofi-piano-5-2.wav", "lofi-piano-5.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
def test_the_result_is_on_standard_output_while_bars_are_on_a_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sa3_edge", "generate", "x", "-m", "demo", "-s", "0.2", "--seed", "1"]
    controller, terminal = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    drawn = b""
    with subprocess.Popen(
        [*command, "-o", "x.wav"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=terminal
    ) as process:
        os.close(terminal)
        with contextlib.suppress(OSError):  # how Linux ends a terminal that nobody has open
            while chunk := os.read(controller, 4096):
                drawn += chunk
        out, _ = process.communicate()
    os.close(controller)
    assert out.startswith(b"x.wav  0.20 s of audio")
    assert b"Denoising" in drawn
    assert b"s of audio" not in drawn


def _generating_with(sampler: str) -> str:
    """A program that generates x.wav with other lines in place of the sampler, which is `real(*arguments)`."""
    return (
        "import os, signal, sys\n"
        "from sa3_edge import cli\nfrom sa3_edge.generation import pipeline\n"
        "real = pipeline.ping_pong\n"
        "def sampler(*arguments):\n"
        f"{textwrap.indent(sampler, '    ')}"
        "pipeline.ping_pong = sampler\n"
        "sys.argv = ['sa3-edge', 'generate', 'x', '--model', 'demo', '--seconds', '1', '-o', 'x.wav']\n"
        "cli.main()\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupting_leaves_no_file_and_exits_130(tmp_path: Path) -> None:
    script = _generating_with(
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "return real(*arguments)\n"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "interrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_is_acknowledged_while_a_graph_runs(tmp_path: Path) -> None:
    # As in a graph, the main thread is in a call that no signal ends, until this test has seen the line.
    script = _generating_with(
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\nos.write(1, b'busy')\nos.read(0, 1)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"busy"
        process.send_signal(signal.SIGINT)
        said, _, _ = select.select([process.stderr], [], [], 60)  # only so that a failure ends
        process.stdin.write(b"x")
        _, err = process.communicate()
    assert said
    assert (process.returncode, err) == (130, b"interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("module", ["typer", "onnxruntime"])
def test_interrupting_while_a_library_is_loaded_exits_130(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException:\n"
        "    raise ImportError('half of it is loaded') from None\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "sa3_edge", "generate", "x", "-m", "demo", "-o", str(tmp_path / "x.wav")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_bad_request_in_python_is_a_value_error(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="steps"):
        pipeline.generate(GenerationRequest("x", steps=0))
    with pytest.raises(RequestError, match="engine"):
        Pipeline.load(pipeline.bundle.path, engine="abacus")
