"""Requests as people and other programs write them: times, regions, what is refused, and the record of a clip."""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from run_vectors import as_request
from sa3_edge.bundle import Bundle
from sa3_edge.cli.options import spelled
from sa3_edge.clips.record import read_record
from sa3_edge.clips.request import parse_region
from sa3_edge.clips.times import parse_time
from sa3_edge.engines import DEFAULT_ENGINE, EngineOptions
from sa3_edge.engines.runner import GraphRunner
from sa3_edge.errors import RequestError
from sa3_edge.generation.pipeline import Pipeline
from vector_format import Made, json_file

_Json = dict[str, Any]
_TIMES = ("90", "12.5", "1:30", "0:00.25", ".5", "3.", "10:59.999", "1:60", "-1", "", "1:2:3", "1e3", "x", "1:", " 1")
_REGIONS = (
    "4:8", "4:", ":8", "1:30:1:45", "1:30:", ":1:30", "50-1:10", "1:00-", "-8", "0.5:0.75",
    ":", "", "4", "1:2:3", "4:8:9:10:11", "a:b", "4-8-9", "1:75-2:00",
)  # fmt: skip
_SECOND = {"seed": 3, "samples": 44100, "gain": 0.1}  # a recording of a second
_MINUTES = {"seed": 3, "samples": 44100 * 119, "gain": 0.1}


def request_vectors(demo: Bundle) -> Made:
    """Against the demo bundle, whose limits of length are the published ones."""
    content = {
        "times": [_parsed(text, "seconds", parse_time) for text in _TIMES],
        "regions": [_parsed(text, "region", _region) for text in _REGIONS],
        "refused": [_refused(demo, request, recording) for request, recording in _REFUSED],
        "commands": {"files": _FILES, "refused": [{"arguments": words, "says": says} for words, says in _COMMANDS]},
        "records": _records(),
        "numbers": [{"bits": _double_bits(value), "canonical": canonical(value)} for value in _NUMBERS],
    }
    return {"requests.json": json_file(content)}


def canonical(value: object) -> str:
    """JSON with its keys in order, no spaces, ASCII, and numbers as ECMAScript writes them: 5.0 is 5."""
    match value:
        case dict():
            inner = ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in sorted(value))
            return f"{{{inner}}}"
        case list() | tuple():
            return f"[{','.join(map(canonical, value))}]"
        case float():
            return _number(value)
        case _:
            return json.dumps(value, ensure_ascii=True)


_NUMBERS = (0.0, 5.0, -1.5, 0.1, 1e-6, 1.5e-7, 1e-7, 123456789012345680.0, 1e20, 1e21, 1.5e300, 0.30000000000000004)


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"JSON has no {value}")
    if value == int(value) and abs(value) < 1e21:
        return str(int(float(repr(value)))) if abs(value) < 2**53 else f"{_digits(value)}"
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    if -7 < int(exponent) < 0:
        digits = mantissa.replace(".", "").replace("-", "")
        sign = "-" if value < 0 else ""
        return f"{sign}0.{'0' * (-int(exponent) - 1)}{digits}"
    return f"{mantissa}e{int(exponent):+d}"


def _digits(value: float) -> str:
    """The shortest digits that say the number, with zeros up to its point."""
    mantissa, _, exponent = f"{value!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    return whole + fraction.ljust(int(exponent or 0), "0") if exponent else whole


def _double_bits(value: float) -> str:
    return f"{int(np.float64(value).view(np.uint64)):016x}"


# Commands that are refused with exit 2 before anything is computed, where `_FILES` lie, and what the message has in it.
# MODEL stands for the demo's folder.
_FILES: _Json = {
    "there.wav": "",
    "there.npy": "",
    "notes.wav": "no audio, but a text:\n\u00e9\t" + "a line of it\n" * 50,
    "noise.wav": "\x01\x02\x03\x00" * 16,
}
_GENERATE = ["generate", "x", "--model", "MODEL"]
_COMMANDS: tuple[tuple[list[str], str], ...] = (
    (["render"], "No such command 'render'."),
    (["generate", "--model", "MODEL"], 'give a prompt (it may be empty, "")'),
    (["generate", "x", "--model", "nothing/here"], "no bundle lies"),
    ([*_GENERATE, "y"], "the prompt is more than one word; put it in quotes"),
    ([*_GENERATE, "--frobnicate"], "No such option: --frobnicate"),
    ([*_GENERATE, "--seconds"], "option '--seconds' requires an argument"),
    ([*_GENERATE, "--seconds", "long"], "'long' is no time; write seconds (12.5) or minutes:seconds (1:30)"),
    ([*_GENERATE, "-s", "1:75"], "'1:75' has more than 59 seconds after the minutes"),
    ([*_GENERATE, "-s", "0:00.05"], "seconds must be a number from 0.1 on, got 0.05"),
    ([*_GENERATE, "-s", "nan"], "seconds must be a number from 0.1 on, got nan"),
    ([*_GENERATE, "--headroom", "1:"], "'1:' is no time"),
    ([*_GENERATE, "--headroom", "1:30x"], "invalid value for '--headroom': '1:30x' is no time"),
    ([*_GENERATE, "--extend", "0x10"], "invalid value for '--extend': '0x10' is no time"),
    ([*_GENERATE, "--cfg", "0x10"], "invalid value for '--cfg'"),
    ([*_GENERATE, "--steps", "2.5"], "invalid value for '--steps'"),
    ([*_GENERATE, "--steps", "0"], "steps must be from 1 to 10000, got 0"),
    ([*_GENERATE, "--seed", "-1"], "seed must be between 0 and 4294967295, got -1"),
    ([*_GENERATE, "--seconds", "1e9"], "the longest clip is"),  # of one pass in a host, of several in the command
    ([*_GENERATE, "--threads", "0"], "threads must be from 1 to"),
    ([*_GENERATE, "-o", "a"], "the output a has no suffix; choose wav"),
    ([*_GENERATE, "-o", "a.xyz"], ".xyz is no known format; choose wav"),
    ([*_GENERATE, "-o", "nowhere/a.wav"], "the directory nowhere does not exist"),
    (
        [*_GENERATE, "-o", "there.wav"],
        "there.wav exists and is not replaced; --overwrite does, without --output a clip",
    ),
    ([*_GENERATE, "--save-latents", "there.npy"], "there.npy exists and is not replaced; --overwrite does"),
    ([*_GENERATE, "--save-latents", "a.txt"], "the latents must be a .npy file, got a.txt"),
    ([*_GENERATE, "--bits", "12"], "wav cannot store 12 bits; choose 24 or 16 or float"),
    ([*_GENERATE, "--init-audio", "none.wav"], "the audio file none.wav does not exist"),
    ([*_GENERATE, "--init-audio", "there.wav"], "there.wav is empty: there is nothing in it"),
    ([*_GENERATE, "--init-audio", "notes.wav"], "notes.wav is a text, not a recording"),
    ([*_GENERATE, "--init-audio", "noise.wav"], "noise.wav cannot be read as audio: its format is unknown"),
    ([*_GENERATE, "--init-audio", "."], ". is a folder, not a recording"),
    (
        [*_GENERATE, "--init-audio", "there.wav", "-o", "there.wav", "--overwrite"],
        "there.wav is the recording that is edited and would be lost; name another file",
    ),
)


def _region(text: str) -> list[float | None]:
    region = parse_region(text)
    return [region.start, region.end]


def _parsed(text: str, key: str, parse: Callable[[str], object]) -> _Json:
    try:
        return {"text": text, key: parse(text)}
    except RequestError as error:
        return {"text": text, "message": str(error)}


# Of each: the request's options, and the recording that is edited, if there is one.
_REFUSED: tuple[tuple[_Json, _Json | None], ...] = (
    ({"seconds": 0.05}, None),
    ({"seconds": 121.0}, None),
    ({"headroom": -1.0}, None),
    ({"seed": -1}, None),
    ({"seed": 2**32}, None),
    ({"steps": 0}, None),
    ({"steps": 10001}, None),
    ({"cfg": -0.5}, None),
    ({"cfg": 3.0, "apg": 1.5}, None),
    ({"negative_prompt": "drums"}, None),
    ({"noise_level": 0.5}, None),
    ({"schedule": "reference"}, None),
    ({"inpaint": ["0:1"]}, None),
    ({"extend": 1.0}, None),
    ({"splice": False}, None),
    ({"splice": False}, _SECOND),
    ({"noise_level": 0.5, "extend": 1.0}, _SECOND),
    ({"noise_level": 0.5, "inpaint": ["0:1"]}, _SECOND),
    ({"inpaint": ["0:0.5"], "extend": 1.0}, _SECOND),
    ({"noise_level": 0.005}, _SECOND),
    ({"noise_level": 1.5}, _SECOND),
    ({"noise_level": 0.5, "schedule": "cosine"}, _SECOND),
    ({"inpaint": ["0.5:0.2"]}, _SECOND),
    ({"inpaint": ["0.5:0.5"]}, _SECOND),
    ({"inpaint": ["0.5:1.5"]}, _SECOND),
    ({"inpaint": ["1:"]}, _SECOND),
    ({"inpaint": ["0:0.6", "0.5:0.7"]}, _SECOND),
    ({"inpaint": ["0:0.5"], "seconds": 2.0}, _SECOND),
    ({"extend": 1.0, "seconds": 3.0}, _SECOND),
    ({"extend": 0.05}, _SECOND),
    ({"extend": -1.0}, _SECOND),
    ({"extend": 0.0}, _SECOND),
    ({"extend": 10.0}, _MINUTES),
    ({"prepend": 130.0}, _SECOND),
)


def _refused(demo: Bundle, request: _Json, recording: _Json | None) -> _Json:
    pipeline = Pipeline(GraphRunner(demo, DEFAULT_ENGINE, EngineOptions(), keep_loaded=False))
    try:
        with tempfile.TemporaryDirectory() as folder:
            pipeline.generate(as_request({"prompt": "piano", **request}, recording, Path(folder)))
    except RequestError as error:
        message = spelled(str(error)).replace(str(Path(folder, "recording.wav")), "recording.wav")
        return {"request": request, "recording": recording, "message": message}
    raise AssertionError(f"{request} should be refused")


_RECORDED: tuple[tuple[str, list[str]], ...] = (
    ("lofi piano", ["--seconds", "0.5", "--seed", "42", "--steps", "2"]),
    ("time", ["--seconds", "0:00.25", "--seed", "3", "--steps", "1", "--headroom", "0:00.5"]),
    ("", ["--seconds", "0.1", "--seed", "4294967295", "--steps", "1", "--headroom", "0"]),
    (
        'a "quoted" \\ line\nローファイ 🎹 é\u2028',
        ["--seconds", "0.29", "--seed", "0", "--steps", "1", "--headroom", "0.5", "--no-limiter"],
    ),
    (
        "rain",
        [
            "--seconds",
            "0.3",
            "--seed",
            "7",
            "--steps",
            "1",
            "--headroom",
            "0",
            "--cfg",
            "3",
            "--apg",
            "0.5",
            "--negative-prompt",
            "drums",
        ],
    ),
)


def _records() -> list[_Json]:
    """What a clip's tags say of it, by the command line. `host` stands for what only this host writes."""
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for index, (prompt, options) in enumerate(_RECORDED):
            path = Path(folder, f"{index}.wav")
            command = [sys.executable, "-m", "sa3_edge", "generate", "--model", "demo", "-q", "-o", str(path), *options]
            subprocess.run([*command, "--", prompt], check=True, cwd=folder)
            record = without_host(msgspec.to_builtins(read_record(path)))
            cases.append({"prompt": prompt, "options": options, "record": canonical(record)})
    return cases


def without_host(record: _Json) -> _Json:
    """The record without what names the host that wrote it."""
    return record | dict.fromkeys(("version", "engine", "engine_version", "model", "bundle"), "host")
