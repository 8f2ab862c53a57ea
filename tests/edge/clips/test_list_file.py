"""Lists as people write them: what a line may say, and which clips of a folder are whose."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from sa3_edge import ClipOptions, FileOptions, RequestError
from sa3_edge.clips.list_file import Line, parse_list
from tests.conftest import RunCli

Make = Callable[[str], tuple[int, list[dict[str, Any]], str]]


def _parsed(text: str, name: str = "list.txt", **defaults: Any) -> list[Line]:
    return parse_list(text, name, Path(), ClipOptions(**defaults))


def test_a_line_that_begins_with_a_brace_is_json_whatever_the_suffix() -> None:
    lines = _parsed('lofi piano\n{"prompt": "rain", "seconds": 20}\n{rain|wind} on tin\n', steps=4)
    assert [(line.number, line.options.prompt, line.options.seconds) for line in lines] == [
        (1, "lofi piano", None),
        (2, "rain", 20),
        (3, "wind on tin", None),
    ]
    assert {line.options.steps for line in lines} == {4}
    with pytest.raises(RequestError, match="line 1: not JSON"):
        _parsed('{prompt: "rain"}')
    with pytest.raises(RequestError, match="line 1: not JSON"):
        _parsed("rain", "list.jsonl")


@pytest.mark.parametrize(("name", "delimiter"), [("list.csv", ","), ("list.csv", ";"), ("a list", "\t")])
def test_a_table_names_its_options_in_the_first_line(name: str, delimiter: str) -> None:
    rows = [
        ["prompt", "seconds", "limiter", "section_prompt", "takes", "format"],
        ['"rain, on ""tin"";\n now"', "1:30", "false", "", "", "ogg"],
        ["", "", "", "", "", ""],
        ["wind", "", "TRUE", "", "2"],
    ]
    lines = _parsed("\n".join(delimiter.join(row) for row in rows) + "\n", name)
    assert [(line.options.prompt, line.options.seconds, line.options.limiter) for line in lines] == [
        ('rain, on "tin";\n now', 90, False),
        ("wind", None, True),
        ("wind", None, True),
    ]
    assert [line.name for line in lines] == ["0003-rain-on-tin-now.ogg", "0005-wind-1.wav", "0005-wind-2.wav"]


def test_several_values_of_a_cell_are_apart_by_bars() -> None:
    (line,) = _parsed('prompt,sections,section_prompt\nx,"a:2,b:2",a=drums | b=piano\n')
    assert line.options.section_prompt == ["a=drums", "b=piano"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt,secs\nx,1", "line 1: unknown option 'secs'"),
        ("prompt,prompt\nx,1", "line 1: two columns are 'prompt'"),
        ("prompt,\nx,1", "line 1: column 2 has no name"),
        ("seconds\n1", "line 1: a table's first line names its options, prompt among them"),
        ("prompt,seed\nx,1,2", "line 2: 3 values, and 2 options in the first line"),
        ("prompt,seed\nx,one", "line 2: seed cannot be 'one'"),
        ('{"prompt": "x", "takes": 0}', "takes must be a whole number from 1"),
        ('{"prompt": "x", "takes": true}', "takes must be a whole number from 1"),
        ('{"prompt": "x", "format": "aac"}', "aac is no known format"),
        ('{"prompt": "x", "format": "ogg", "bits": "16"}', "bits"),
        ('{"prompt": "x", "output": "../x.wav"}', "not within the list's folder"),
        ('{"prompt": "x", "output": "/x.wav"}', "not within the list's folder"),
        ('{"prompt": "x", "output": "C:x.wav"}', "not within the list's folder"),
        ('{"prompt": "x", "output": "x"}', "has no suffix"),
        ('{"prompt": "x", "output": "x.wav", "format": "ogg"}', "is no ogg file"),
        ('{"prompt": "x", "output": "a.wav"}\n{"prompt": "y", "output": "A.wav"}', "line 1 has the output"),
        ('{"prompt": "x", "promt": "y"}', "unknown option 'promt'; did you mean prompt?"),
    ],
)
def test_what_a_line_cannot_say_is_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        _parsed(text, "list.csv" if text.startswith(("prompt", "seconds")) else "list.txt")
    assert said in str(caught.value)


def test_the_whole_lists_format_holds_where_a_line_says_none() -> None:
    text = '{"prompt": "x"}\n{"prompt": "y", "format": "wav", "bits": "float"}\n{"prompt": "z", "output": "z/z.mp3"}'
    lines = parse_list(text, "a list", Path(), ClipOptions(), None, FileOptions(format="flac"))
    assert [line.name for line in lines] == ["0001-x.flac", "0002-y.wav", "z/z.mp3"]


@pytest.fixture
def make(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a list of this text into "prompts-clips" in the current folder -> exit code, results, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *more: str) -> tuple[int, list[dict[str, Any]], str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code, out, err = run_cli("generate", "--prompts", "-", "-m", "demo", "-s", "0.2", "--json", *more)
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


def _made(results: list[dict[str, Any]]) -> list[str]:
    return [Path(each["file"]).name for each in results if "skipped" not in each]


def test_clips_are_known_by_their_request_wherever_its_line_stands(make: Make, tmp_path: Path) -> None:
    clips = tmp_path / "prompts-clips"
    assert make("rain\nwind\nsea")[0] == 0
    before = {path.name: path.read_bytes() for path in clips.glob("*.wav")}
    _, results, _ = make("wind\nsea")
    assert (_made(results), [Path(each["file"]).name for each in results]) == ([], ["0002-wind.wav", "0003-sea.wav"])
    _, results, _ = make("fire\nsea\nrain\nwind")
    assert _made(results) == ["0001-fire.wav"]
    # A changed line is made anew in the place of its old clip, unless that is another line's.
    changed = '{"prompt": "rain", "steps": 2}'
    _, results, _ = make(f"{changed}\nrain\nfire")
    assert _made(results) == ["0001-rain-2.wav"]
    assert {name: (clips / name).read_bytes() for name in before} == before


def test_what_no_line_asks_for_any_more_is_said_and_kept(
    make: Make, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make("rain\nwind")[0] == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"wind\n")))
    code, out, err = run_cli("generate", "--prompts", "-", "-m", "demo", "-s", "0.2")
    assert code == 0
    assert "note: no line asks any more for 1 of the clips in prompts-clips: 0001-rain.wav\n" in err
    assert out == f"1 of 1  {Path('prompts-clips', '0002-wind.wav')}  is there already\n"
    assert (tmp_path / "prompts-clips" / "0001-rain.wav").is_file()


def test_takes_format_depth_and_output_of_a_line(make: Make, tmp_path: Path) -> None:
    text = (
        '{"prompt": "a", "seed": 5, "takes": 2, "format": "flac", "bits": "16"}\n'
        '{"prompt": "b", "output": "drums/kick.wav", "bits": "float"}\n'
    )
    code, results, err = make(text)
    assert code == 0, err
    assert [(each["line"], each["seed"]) for each in results[:2]] == [(1, 5), (1, 6)]
    files = {Path(each["file"]).as_posix(): soundfile.info(each["file"]).subtype for each in results}
    assert files == {
        "prompts-clips/0001-a-1.flac": "PCM_16",
        "prompts-clips/0001-a-2.flac": "PCM_16",
        "prompts-clips/drums/kick.wav": "FLOAT",
    }
    assert _made(make(text)[1]) == []
    # More takes, another name: only they are made.
    text = text.replace('"takes": 2', '"takes": 3').replace("kick", "snare")
    assert _made(make(text)[1]) == ["0001-a-3.flac", "snare.wav"]


def test_a_clip_of_somebody_elses_making_is_not_replaced(make: Make, run_cli: RunCli, tmp_path: Path) -> None:
    clip = tmp_path / "prompts-clips" / "kick.wav"
    clip.parent.mkdir()
    assert run_cli("generate", "mine", "-m", "demo", "-s", "0.2", "-o", clip)[0] == 0
    before = clip.read_bytes()
    code, results, _ = make('{"prompt": "kick", "output": "kick.wav"}')
    assert (code, clip.read_bytes()) == (1, before)
    assert "--overwrite" in results[0]["error"]


def test_takes_without_a_seed_are_clips_of_their_own(make: Make) -> None:
    text = '{"prompt": "a", "takes": 2}\n'
    assert len(_made(make(text)[1])) == 2
    Path("prompts-clips/0001-a-1.wav").unlink()
    assert _made(make(text)[1]) == ["0001-a-1.wav"]


def test_the_line_for_people_says_how_far_it_is_and_a_note_once(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_bundle: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("a\nb\n")
    code, out, err = run_cli("generate", "--prompts", "list.txt", "-m", noise_bundle, "-s", "0.2", "--seed", "3")
    assert code == 0, err
    first, second = out.splitlines()
    assert first.startswith(f"1 of 2  {Path('list-clips', '0001-a.wav')}  0.20 s of audio in ")
    assert second.startswith(f"2 of 2  {Path('list-clips', '0002-b.wav')}  ")
    assert err.count("untrained") == 1


def test_a_list_names_its_clips_by_a_template(run_cli: RunCli, tmp_path: Path) -> None:
    def named(text: str, template: str) -> list[str]:
        return [line.name for line in parse_list(text, "x", Path(), ClipOptions(), None, FileOptions(name=template))]

    table = "prompt,bpm,seed,takes,output\nrain on tin,120,7,2,\nkick,90,1,,drums/kick.flac\n"
    assert named(table, "{slug}_{seed}") == ["rain-on-tin_7.wav", "rain-on-tin_8.wav", "drums/kick.flac"]
    assert named(table, "{slug}_{bpm}bpm") == [
        "rain-on-tin_120bpm-1.wav",
        "rain-on-tin_120bpm-2.wav",
        "drums/kick.flac",
    ]
    with pytest.raises(RequestError, match=r"line 1: `name` says {seed}, which this clip does not"):
        named("rain\n", "{slug}_{seed}")
    (tmp_path / "list.txt").write_text('{"prompt": "rain", "seconds": 0.2, "seed": 1}\n' * 2, encoding="utf-8")
    command = ("generate", "--prompts", tmp_path / "list.txt", "-m", "demo", "--name", "{slug}", "-o", tmp_path / "out")
    code, _, err = run_cli(*command)
    assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["rain-2.wav", "rain.wav", "results.jsonl"]
    assert run_cli(*command)[1].count("is there already") == 2
    # What somebody else made under that name is not replaced.
    (tmp_path / "out" / "results.jsonl").unlink()
    assert "is not replaced" in run_cli(*command)[2]
