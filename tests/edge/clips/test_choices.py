"""Prompts with choices: all that they stand for, or one by a clip's seed."""

import json
from pathlib import Path

import pytest

from sa3_edge import ClipOptions, RequestError
from sa3_edge.clips.choices import all_of, has_choices, one_of
from sa3_edge.clips.list_file import parse_list
from sa3_edge.clips.record import read_record
from tests.conftest import RunCli

SIX = "{rain|wind|sea} on {tin|wood}"


def test_all_that_a_prompt_stands_for() -> None:
    assert all_of(SIX) == ["rain on tin", "rain on wood", "wind on tin", "wind on wood", "sea on tin", "sea on wood"]
    assert all_of("a {|soft} rain") == ["a rain", "a soft rain"]
    assert not has_choices("a {loud} rain | sun")
    with pytest.raises(RequestError, match="stands for 1024 prompts; at most 1000"):
        all_of("{a|b}" * 10)


def test_a_seed_draws_the_same_on_every_machine() -> None:
    assert [one_of(SIX, seed) for seed in range(4)] == ["sea on tin", "wind on wood", "rain on tin", "wind on tin"]
    assert {one_of(SIX, seed) for seed in range(100)} == set(all_of(SIX))


def test_every_choice_is_a_clip_in_a_folder(run_cli: RunCli, tmp_path: Path) -> None:
    arguments = ("generate", "{rain|wind} on tin", "-m", "demo", "-s", "0.2", "--steps", "1", "--seed", "3")
    code, out, err = run_cli(*arguments, "--all", "-o", tmp_path / "out", "--json")
    assert code == 0, err
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["rain on tin", "wind on tin"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["rain-on-tin-3.wav", "wind-on-tin-3.wav"]
    code, _, err = run_cli(*arguments, "--all", "-o", tmp_path / "a.wav")
    assert (code, "--all makes several clips into a folder" in err) == (2, True)
    code, _, err = run_cli("generate", "rain", "--all", "-m", "demo")
    assert (code, "--all is for a prompt with choices" in err) == (2, True)


def test_each_of_several_clips_draws_its_own_and_says_it(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    arguments = ("generate", SIX, "-m", "demo", "-s", "0.2", "--steps", "1", "--seed", "2", "--count", "2")
    code, _, err = run_cli(*arguments, "-o", path)
    assert code == 0, err
    for seed in (2, 3):
        assert f"note: the prompt is: {one_of(SIX, seed)}\n" in err
        assert read_record(tmp_path / f"a-{seed}.wav").prompt == one_of(SIX, seed)
    # The record has the prompt that was drawn.
    assert run_cli("regenerate", tmp_path / "a-3.wav", "-o", tmp_path / "b.wav")[0] == 0
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a-3.wav").read_bytes()


def test_choices_in_a_list_are_drawn_alike_each_time_wherever_the_line_stands() -> None:
    def prompts(text: str, *, every: bool = False) -> list[str]:
        return [line.options.prompt for line in parse_list(text, "a list", Path(), ClipOptions(), every=every)]

    line = json.dumps({"prompt": SIX, "takes": 5})
    drawn = prompts(line)
    assert len(set(drawn)) > 1
    assert prompts(f"x\n{line}\ny")[1:-1] == drawn
    assert prompts(SIX, every=True) == all_of(SIX)
    named = json.dumps({"prompt": "{a|b}", "output": "c.wav", "takes": 2})
    lines = parse_list(named, "a list", Path(), ClipOptions(), every=True)
    assert [(each.options.prompt, each.name) for each in lines] == [
        ("a", "c-1.wav"), ("b", "c-2.wav"), ("a", "c-3.wav"), ("b", "c-4.wav"),
    ]  # fmt: skip
