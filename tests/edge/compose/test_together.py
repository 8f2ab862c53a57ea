"""Which options go together: any two either make a piece or are refused in one line, before any model is read."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sa3_edge import ClipOptions, RequestError
from sa3_edge.clips.options import default_of, options_of
from sa3_edge.clips.request import _APART, _NEED, build_piece

_VALUES: dict[str, Any] = {
    "seconds": 3.0,
    "loop": True,
    "bpm": 120.0,
    "bars": 2,
    "beats": 3,
    "bpm_prompt": False,
    "sections": "a:4,b:5",
    "section_prompt": ["a=x"],
    "min_compose": 24.0,
    "trim_silence": True,
    "fade_in": 0.5,
    "fade_out": 0.5,
    "normalize": -14.0,
    "peak": -1.0,
    "noise_level": 0.5,
    "inpaint": ["0:1"],
    "extend": 2.0,
    "prepend": 2.0,
    "init_from": 0.2,
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "a.wav"
    soundfile.write(path, np.zeros((44100, 2)), 44100)
    return path


def _refusal(options: dict[str, Any]) -> str | None:
    try:
        build_piece(ClipOptions("x", **options))
    except RequestError as error:
        return str(error)
    return None


def test_any_two_make_a_piece_or_are_refused_in_a_line(recording: Path) -> None:
    for one, other in itertools.combinations(_VALUES, 2):
        for extra in ({}, {"init_audio": recording}):
            said = _refusal({one: _VALUES[one], other: _VALUES[other], **extra})
            assert said is None or ("\n" not in said and len(said) < 200)


def test_options_that_are_said_to_exclude_each_other_do(recording: Path) -> None:
    values = {**_VALUES, "init_audio": recording}
    for names, others in _APART:
        for one, other in itertools.product(names, others):
            said = _refusal({one: values[one], other: values[other]})
            assert said is not None, (one, other)
            assert f"`{one}` and `{other}` do not go together" == said
    for name, needed in _NEED.items():
        said = _refusal({name: values[name]})
        assert said is not None
        assert said.endswith(f"needs `{needed}`")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(sorted(_VALUES)), st.integers(0, 3), max_size=6))
def test_any_values_are_taken_or_refused(chosen: dict[str, int]) -> None:
    odd: dict[type, list[Any]] = {
        float: [0.0, -1.0, float("nan"), float("inf")],
        int: [0, -1, 2**40, 1],
        bool: [True, False, True, False],
        str: ["", "a", "a:1e9", ",,"],
        list: [[], [""], ["=="], ["a=b"]],
    }
    options = {name: odd[type(_VALUES[name])][place] for name, place in chosen.items()}
    said = _refusal(options)
    assert said is None or "\n" not in said


def test_every_option_of_this_room_is_tried() -> None:
    tried = set(_VALUES) | {"prompt", "seed", "steps", "headroom", "cfg", "apg", "negative_prompt", "init_audio"}
    tried |= {"schedule", "splice", "limiter", "lora"}
    assert set(options_of(ClipOptions)) == tried
    assert all(_VALUES[name] != default_of(options_of(ClipOptions)[name]) for name in _VALUES)
