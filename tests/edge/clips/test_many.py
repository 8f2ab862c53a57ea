"""Several clips at once: seeds of one request, and lists of prompts."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sa3_edge import GenerationRequest, Pipeline, RequestError
from tests.conftest import RunCli


def test_several_seeds_share_text_and_conditioner_and_equal_single_runs(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    real = pipeline.graphs.run

    def counting(graph: Any, *rest: Any) -> Any:
        calls[graph] += 1
        return real(graph, *rest)

    monkeypatch.setattr(pipeline.graphs, "run", counting)
    together = list(pipeline.generate_many(GenerationRequest("lofi piano", 0.5, seed=10), 4))
    assert calls == {"text_encoder": 1, "conditioner": 1, "denoiser": 4 * 8, "decoder": 4}
    for index, made in enumerate(together):
        single = pipeline.generate(GenerationRequest("lofi piano", 0.5, seed=10 + index))
        assert made.seed == 10 + index
        assert np.array_equal(made.audio, single.audio)


def test_graphs_are_loaded_once_for_several_seeds_and_then_freed(tiny_bundle: Path) -> None:
    pipeline = Pipeline.load(tiny_bundle)
    clips = list(pipeline.generate_many(GenerationRequest("x", 0.5, seed=1), 3))
    assert ["denoiser.load" in made.timings for made in clips] == [True, False, False]
    assert pipeline.graphs.loaded == ()
    unfinished = pipeline.generate_many(GenerationRequest("x", 0.5, seed=1), 3)
    next(unfinished)
    del unfinished
    assert pipeline.graphs.loaded == ()


def test_count_writes_a_file_a_seed(run_cli: RunCli, tmp_path: Path) -> None:
    code, out, err = run_cli(
        "generate", "x", "-m", "demo", "-s", "0.5", "--seed", "7", "--count", "2", "--json",
        "-o", tmp_path / "clip.wav", "--save-latents", tmp_path / "clip.npy",
    )  # fmt: skip
    assert code == 0, err
    assert [json.loads(line)["seed"] for line in out.splitlines()] == [7, 8]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"clip-7.wav", "clip-8.wav", "clip-7.npy", "clip-8.npy"}
    assert run_cli("generate", "x", "-m", "demo", "-s", "0.5", "--seed", "8", "-o", tmp_path / "single.wav")[0] == 0
    pair = [soundfile.read(tmp_path / name, dtype="int32")[0] for name in ("clip-8.wav", "single.wav")]
    assert np.array_equal(*pair)


def test_count_must_be_positive(pipeline: Pipeline) -> None:
    with pytest.raises(RequestError, match="count"):
        pipeline.generate_many(GenerationRequest("x"), 0)


def _list(tmp_path: Path, lines: list[object], name: str = "list.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_a_list_is_made_and_resumed(run_cli: RunCli, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "source.wav", np.full((4410 * 3, 2), 0.1), 44100)
    prompts = _list(
        tmp_path,
        [
            {"prompt": "one", "seed": 1},
            {"prompt": "two", "seconds": 0.3},
            {"prompt": "three", "init_audio": "source.wav", "inpaint": ["0.1:0.2"]},
        ],
    )
    arguments = ("generate", "--prompts", prompts, "-m", "demo", "-s", "0.3", "-o", tmp_path / "clips", "--json")
    code, out, err = run_cli(*arguments)
    assert code == 0, err
    made = [json.loads(line) for line in out.splitlines()]
    assert [Path(result["file"]).name for result in made] == ["0001-one.wav", "0002-two.wav", "0003-three.wav"]

    first = tmp_path / "clips" / "0001-one.wav"
    before = (tmp_path / "clips" / "0002-two.wav").read_bytes()
    first.unlink()
    code, out, _ = run_cli(*arguments)
    assert [json.loads(line).get("skipped", False) for line in out.splitlines()] == [False, True, True]
    assert first.is_file()
    assert (tmp_path / "clips" / "0002-two.wav").read_bytes() == before

    # Another request of the same name is made anew.
    _list(tmp_path, [{"prompt": "one", "seed": 2}, {"prompt": "two", "seconds": 0.3}])
    code, out, _ = run_cli(*arguments)
    assert [json.loads(line).get("skipped", False) for line in out.splitlines()] == [False, True]


def test_equal_lines_are_clips_of_their_own(run_cli: RunCli, tmp_path: Path) -> None:
    prompts, clips = _list(tmp_path, ["rain", "rain"], "list.txt"), tmp_path / "clips"
    arguments = ("generate", "--json", "--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", clips)
    assert run_cli(*arguments)[0] == 0
    (clips / "0002-rain.wav").unlink()
    reports = [json.loads(line) for line in run_cli(*arguments)[1].splitlines()]
    assert [report.get("skipped", False) for report in reports] == [True, False]
    assert all(Path(report["file"]).is_file() for report in reports)


@pytest.mark.parametrize("change", ["engine", "recording"])
def test_a_clip_made_otherwise_is_made_again(run_cli: RunCli, tmp_path: Path, change: str) -> None:
    soundfile.write(tmp_path / "source.wav", np.full((13230, 2), 0.1), 44100)
    prompts = _list(tmp_path, [{"prompt": "a", "init_audio": "source.wav"}])
    arguments = ["generate", "--json", "--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips"]
    assert run_cli(*arguments)[0] == 0
    if change == "engine":
        arguments += ["--engine", "openvino"]
    else:
        soundfile.write(tmp_path / "source.wav", np.full((13230, 2), 0.2), 44100)
    (report,) = map(json.loads, run_cli(*arguments)[1].splitlines())
    assert "skipped" not in report


def test_a_text_list_is_a_prompt_a_line(run_cli: RunCli, tmp_path: Path) -> None:
    prompts = _list(tmp_path, ["lofi piano", "", "rain"], "list.txt")
    code, out, _ = run_cli(
        "generate", "--json", "--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips"
    )
    assert code == 0
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["lofi piano", "rain"]


@pytest.mark.parametrize("output", [(), ("-o", "my.clips")])
def test_a_folder_may_have_a_dot_in_its_name(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    _list(tmp_path, ["rain"], "my.list.txt")
    (tmp_path / "my.clips").mkdir()
    code, _, err = run_cli("generate", "--prompts", "my.list.txt", "-m", "demo", "-s", "0.2", *output)
    assert code == 0, err
    assert Path("my.clips" if output else "my.list-clips", "0001-rain.wav").is_file()


def test_a_list_may_begin_with_a_byte_order_mark(run_cli: RunCli, tmp_path: Path) -> None:
    prompts = _list(tmp_path, [])
    prompts.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n')
    code, out, err = run_cli(
        "generate", "--json", "--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["prompt"] == "a"


def test_a_prompt_may_have_what_unicode_calls_the_end_of_a_line(run_cli: RunCli, tmp_path: Path) -> None:
    prompts = _list(tmp_path, [json.dumps({"prompt": "one\u2028two"}, ensure_ascii=False)])
    arguments = ("generate", "--json", "--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips")
    assert [json.loads(run_cli(*arguments)[1]).get("skipped", False) for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    "foreign", [b'{"name": "0001-a.w', b'{"a": 1}\n', b"[1]\n", b"\xff\n", b'{"name": 3, "request": 4}\n']
)
def test_unreadable_lines_of_results_are_ignored(run_cli: RunCli, tmp_path: Path, foreign: bytes) -> None:
    prompts = _list(tmp_path, ["a"], "list.txt")
    arguments = ("generate", "--json", "--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "results.jsonl").write_bytes(foreign)
    reports = []
    for _ in range(2):
        code, out, err = run_cli(*arguments)
        assert code == 0, err
        reports.append(json.loads(out))
    assert [report.get("skipped", False) for report in reports] == [False, True]


def test_a_value_that_cannot_be_computed_fails_its_line_only(run_cli: RunCli, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "source.wav", np.full((13230, 2), 0.1), 44100)
    lines = [
        {"prompt": "\ud800"},
        {"prompt": "a", "negative_prompt": "\udfff", "cfg": 3},
        '{"prompt": "a", "headroom": 1e308}',
        '{"prompt": "a", "headroom": 1e999}',
        '{"prompt": "a", "seconds": 1e999}',
        {"prompt": "a", "init_audio": "source.wav", "extend": 1e308, "seconds": None},
        {"prompt": "a", "init_audio": "source.wav", "inpaint": ["9" * 5000 + ":00-"]},
        {"prompt": "a", "steps": 10**30},
        {"prompt": "b"},
    ]
    arguments = ("--prompts", _list(tmp_path, lines), "-m", "demo", "-o", tmp_path / "clips", "--steps", "1")
    code, out, err = run_cli("generate", *arguments, "-s", "0.2", "--json")
    assert code == 1, err
    *failed, made = map(json.loads, out.splitlines())
    assert ["error" in report for report in failed] == [True] * 8
    assert failed[0]["prompt"] == "\ud800"
    assert made["prompt"] == "b"


def test_quiet_prints_only_the_errors_of_a_list(run_cli: RunCli, tmp_path: Path) -> None:
    prompts = _list(tmp_path, [{"prompt": "a", "seconds": 5000}, {"prompt": "b"}])
    arguments = ["generate", "--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips", "--quiet"]
    code, out, err = run_cli(*arguments)
    assert (code, out) == (1, "")
    assert err.splitlines()[0].startswith("line 1: 5000 seconds")
    assert [json.loads(line)["line"] for line in run_cli(*arguments, "--json")[1].splitlines()] == [1, 2]
    assert run_cli(*arguments[:2], _list(tmp_path, ["b"], "b.txt"), *arguments[3:]) == (0, "", "")


def test_an_invalid_folder_is_reported_in_one_line(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _list(tmp_path, ["rain"], "list.txt")
    code, out, err = run_cli("generate", "--prompts", "list.txt", "-m", "demo", "-o", "list.txt/clips")
    assert (code, out, err) == (2, "", "error: clips cannot be put into list.txt/clips: Not a directory\n")


def test_results_that_cannot_be_written_stop_the_list(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(result: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sa3_edge.clips.prompt_list.json_text", full)
    prompts = _list(tmp_path, ["a", "b"], "list.txt")
    code, out, err = run_cli("generate", "--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips")
    assert (code, out) == (1, "")
    assert err.endswith("results.jsonl cannot be written: No space left on device\n")


def test_a_line_that_fails_does_not_stop_the_others(run_cli: RunCli, tmp_path: Path) -> None:
    prompts = _list(tmp_path, [{"prompt": "a", "seconds": 5000}, {"prompt": "b"}])
    arguments = ("--prompts", prompts, "-m", "demo", "-s", "0.2", "-o", tmp_path / "clips", "--json")
    code, out, err = run_cli("generate", *arguments)
    assert code == 1
    failed, made = (json.loads(line) for line in out.splitlines())
    assert "longest clip" in failed["error"]
    assert made["prompt"] == "b"
    assert "1 of 2 clips could not be made" in err


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{"], "line 1: not JSON"),
        (['{"prompt": "a", "seed": ' + "9" * 5000 + "}"], "line 1: not JSON"),
        ([{"prompt": "a"}, {"seconds": 3}], 'line 2: must be an object with a "prompt"'),
        ([{"prompt": "a", "tempo": 90}], "line 1: unknown option 'tempo'"),
        ([{"prompt": "a", "seconds": "long"}], "line 1: seconds cannot be 'long'"),
        ([{"prompt": "a", "seed": True}], "line 1: seed cannot be True"),
        ([{"prompt": "a", "inpaint": [4]}], "line 1: inpaint cannot be [4]: Expected `str`"),
        ([{"prompt": "a", "inpaint": ["0:1"]}], "line 1: --inpaint needs a recording"),
        ([""], "has no prompts"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_is_made(
    run_cli: RunCli, tmp_path: Path, lines: list[object], said: str
) -> None:
    prompts = _list(tmp_path, lines)
    code, out, err = run_cli("generate", "--prompts", prompts, "-m", "demo", "-o", tmp_path / "clips")
    assert code == 2
    assert said in err
    assert out == ""
    assert list(tmp_path.iterdir()) == [prompts]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prompts", "absent.txt"), "absent.txt cannot be read"),
        ((), "give a prompt"),
        (("x", "--prompts", "list.txt"), "leave out one of PROMPT and --prompts"),
        (("--prompts", "list.txt", "--count", "2"), "does not go with --prompts"),
        (("--prompts", "list.txt", "--play"), "--play does not go with --prompts"),
        (("--prompts", "list.txt", "-o", "clip.wav"), "the output is a folder"),
        (("--prompts", "list.txt", "-o", "list.txt"), "the output is a folder"),
        (("--prompts", "list.txt", "-o", "-"), "the output is a folder"),
    ],
)
def test_wrong_combinations(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _list(tmp_path, ["lofi piano"], "list.txt")
    code, _, err = run_cli("generate", *arguments, "-m", "demo")
    assert code == 2
    assert said in err
