"""Defaults of the command line: a config file, and SA3_EDGE_* variables over it.

# config.toml in the folder that `sa3-edge doctor` names
model = "small-sfx"
format = "flac"

[preset.foley]  # sa3-edge generate "a door that creaks" --preset foley
model = "small-sfx"
seconds = 5
trim_silence = true
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from sa3_edge.clips.options import ClipOptions, FileOptions, about, options_of, plain_type, type_of
from sa3_edge.clips.times import parse_time
from sa3_edge.errors import RequestError, did_you_mean
from sa3_edge.files import read_small

PREFIX = "SA3_EDGE_"
_LARGEST_FILE = 1 << 20  # bytes
# What a person sets once. What shapes one clip (seed, prompt, recordings) stays on the command line.
DEFAULTS: dict[str, type] = {
    "model": str,
    "engine": str,
    "threads": int,
    "compute_units": str,
    **{
        name: plain_type(kind, name)
        for kind in (ClipOptions, FileOptions)
        for name, each in options_of(kind).items()
        if about(each).may_be_default
    },
}
# A preset is what one kind of clips has in common. Where a clip goes and what it says stay on the command line.
PRESET: dict[str, type] = {
    "model": str,
    "engine": str,
    "threads": int,
    "compute_units": str,
    "count": int,
    "best_of": int,
    "check": bool,
    **{
        name: list if getattr(type_of(kind, name), "__origin__", None) is list else plain_type(kind, name)
        for kind in (ClipOptions, FileOptions)
        for name in options_of(kind)
        if name not in ("prompt", "output", "save_latents", "overwrite")
    },
}
_TIMES = frozenset(
    name for kind in (ClipOptions, FileOptions) for name, each in options_of(kind).items() if about(each).is_time
)
# Variables of other meaning: the server's token, how many cases `make fuzz` makes up.
_OTHERS = ("TOKEN", "FUZZ")
# Of what else was typed these depend: a default that does not go with it is no error, but gives way.
DEPENDENT = frozenset({"compute_units", "seconds", "format", "bits"})
_BOOLEANS = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}


def config_file() -> Path:
    """Where the config file is looked for."""
    return user_config_path("sa3-edge", appauthor=False) / "config.toml"


def defaults(preset: str | None = None) -> dict[str, Any]:
    """Defaults by option: the preset over the variables over the file. Raises RequestError, naming what is wrong."""
    own = _preset(preset) if preset is not None else {}
    return {**_from_file(config_file()), **_from_environment(), **own}


def origins() -> dict[str, tuple[Any, str]]:
    """Each default that is set, and what sets it: a variable or the file. Raises RequestError as `defaults`."""
    path = config_file()
    by_file = {name: (value, str(path)) for name, value in _from_file(path).items()}
    return {**by_file, **{name: (value, f"{PREFIX}{name.upper()}") for name, value in _from_environment().items()}}


def presets() -> dict[str, dict[str, Any]]:
    """The presets of the config file: options by name, by the presets' names. Raises RequestError."""
    path = config_file()
    tables = _read(path).get("preset", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise RequestError(f"{path}: preset must be tables, as in [preset.foley]")
    return {name: _checked(table, PRESET, f"{path}, preset {name}") for name, table in tables.items()}


def parsed(key: str, known: dict[str, type], text: str) -> Any:
    """A setting as it is typed -> as the file holds it. Raises RequestError, naming what is wrong."""
    if key not in known:
        meant = did_you_mean(key, known) or f"; choose {', '.join(known)}"
        raise RequestError(f"unknown setting {key!r}{meant}")
    if known[key] is list:
        return [each.strip() for each in text.split("|")]
    try:
        value = _value(key, known[key], text)
    except RequestError:
        raise RequestError(f"{key} must be seconds or minutes:seconds, got {text!r}") from None
    except (ValueError, KeyError, OverflowError):
        raise RequestError(f"{key} must be {_NAMES[known[key]]}, got {text!r}") from None
    return str(value) if isinstance(value, Path) else value


def _preset(name: str) -> dict[str, Any]:
    known = presets()
    if name not in known:
        none = f"; a preset is a table [preset.NAME] in {config_file()}"
        there = did_you_mean(name, known) or (f"; there are {', '.join(known)}" if known else none)
        raise RequestError(f"no preset is called {name!r}{there}")
    return known[name]


def _from_file(path: Path) -> dict[str, Any]:
    values = _read(path)
    return _checked({key: value for key, value in values.items() if key != "preset"}, DEFAULTS, str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_small(path, _LARGEST_FILE).decode())
    except FileNotFoundError:
        return {}
    except RecursionError:
        raise RequestError(f"the config file {path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise RequestError(f"the config file {path} cannot be read: {error}") from None


def _checked(values: dict[str, Any], known: dict[str, type], where: str) -> dict[str, Any]:
    """Settings of the file, each as its type."""
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise RequestError(f"{where}: unknown setting {key!r}; choose {', '.join(known)}")
        kind = known[key]
        if key in _TIMES and isinstance(value, str):
            checked[key] = parse_time(value)
            continue
        if kind is list:
            if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
                raise RequestError(f'{where}: {key} must be a list of texts, ["..."], got {value!r}')
            checked[key] = value
            continue
        if kind is Path and isinstance(value, str):
            checked[key] = Path(value).expanduser()
            continue
        # `bits = 16` and `seconds = 20` are what people write.
        stands_for_kind = type(value) is int and kind in (str, float)
        if type(value) is not kind and not stands_for_kind:
            raise RequestError(f"{where}: {key} must be {_NAMES[kind]}, got {value!r}")
        try:
            checked[key] = kind(value)
        except OverflowError:
            raise RequestError(f"{where}: {key} is too large") from None
    return checked


def _from_environment() -> dict[str, Any]:
    values: dict[str, Any] = {}
    known = [f"{PREFIX}{key.upper()}" for key in (*DEFAULTS, *_OTHERS)]
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            meant = did_you_mean(name, known) or f"; settings: {', '.join(known)}"
            raise RequestError(f"{name} is no setting of sa3-edge{meant}")
    for key, kind in DEFAULTS.items():
        name = f"{PREFIX}{key.upper()}"
        text = os.environ.get(name, "")
        if not text:
            continue
        try:
            values[key] = _value(key, kind, text)
        except RequestError:
            raise RequestError(f"{name} must be seconds or minutes:seconds, got {text!r}") from None
        except (ValueError, KeyError):
            wanted = f"one of {', '.join(_BOOLEANS)}" if kind is bool else _NAMES[kind]
            raise RequestError(f"{name} must be {wanted}, got {text!r}") from None
    return values


def _value(key: str, kind: type, text: str) -> Any:
    if kind is bool:
        return _BOOLEANS[text.lower()]
    return parse_time(text) if key in _TIMES and ":" in text else kind(text)
