"""`sa3-edge config`: the defaults and presets in force, where each comes from, and the file that holds them, edited."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from sa3_edge.cli.defaults import DEFAULTS, PREFIX, PRESET, config_file, origins, parsed, presets
from sa3_edge.cli.display import note, print_json, print_line
from sa3_edge.clips.options import ClipOptions, FileOptions, default_of, options_of
from sa3_edge.engines import DEFAULT_ENGINE, ENGINES, EngineOptions, create_engine
from sa3_edge.errors import RequestError, did_you_mean
from sa3_edge.files import read_small, whole_file
from sa3_edge.manifest import ComputeUnits
from sa3_edge.models.catalog import DEFAULT, DEMO, PUBLISHED, resolve_model

_LARGEST = 1 << 20  # bytes
_BUILT_IN: dict[str, Any] = {"model": DEFAULT, "engine": DEFAULT_ENGINE}


def show(json: bool) -> None:
    """List each setting with its value and origin, then the presets."""
    path, set_here, tables = config_file(), origins(), presets()
    built_in = {**_BUILT_IN}
    for kind in (ClipOptions, FileOptions):
        built_in.update({name: default_of(each) for name, each in options_of(kind).items() if name in DEFAULTS})
    settings = {name: set_here.get(name, (built_in.get(name), "built in")) for name in DEFAULTS}
    if json:
        said = {name: {"value": _plain(value), "origin": origin} for name, (value, origin) in settings.items()}
        all_presets = {name: {key: _plain(value) for key, value in table.items()} for name, table in tables.items()}
        print_json({"file": str(path), "exists": path.is_file(), "settings": said, "presets": all_presets})
        return
    print_line(f"{path}{'' if path.is_file() else '  (not there)'}")
    shown = {name: "-" if value is None else _shown(value) for name, (value, _) in settings.items()}
    first, second = max(map(len, shown)), max(map(len, shown.values()))
    for name, (_, origin) in settings.items():
        print_line(f"{name:{first}}  {shown[name]:{second}}  {'config.toml' if origin == str(path) else origin}")
    for name, table in tables.items():
        print_line(f"\n[preset.{name}]")
        for key, value in table.items():
            print_line(f"{key:16} {_shown(value)}")
    print_line(f"\nTo set one: sa3-edge config set format flac; or a variable: {PREFIX}FORMAT=flac.")


def change(action: str, key: str | None, text: str | None, json: bool) -> None:
    """`set KEY VALUE` or `unset KEY`; a key of a preset is preset.NAME.KEY. Comments and all else in the file stay.

    Raises RequestError for a key that does not exist and a value that no command would take, before it is written.
    """
    if action not in ("set", "unset"):
        raise RequestError(f"config shows the settings, or does set KEY VALUE and unset KEY, not {action!r}")
    if key is None or (text is None) == (action == "set"):
        raise RequestError(
            f"say config {action} KEY{' VALUE' if action == 'set' else ''}, as in config set format flac"
        )
    path = config_file()
    *table, name = key.replace("-", "_").split(".")
    if text is None:
        if not _edit(path, table, name, None):
            raise RequestError(f"{path} does not set {key}")
        said = f"{key} is not set any more"
    else:
        value = _checked(key, table, name, text)
        _edit(path, table, name, value)
        said = f"{key} = {_shown(value)}"
    if json:
        print_json({"file": str(path), "key": key, "value": None if text is None else value})
        return
    print_line(f"{said}  ({path})")
    if not table and os.environ.get(variable := f"{PREFIX}{name.upper()}"):
        note(f"{variable} is set and goes before the file")


def _checked(key: str, table: list[str], name: str, text: str) -> Any:
    """The value for a key. Raises RequestError."""
    if table and (table[0] != "preset" or len(table) != 2):
        raise RequestError(f"{key} is no setting; a preset's are preset.NAME.KEY, as in preset.foley.seconds")
    value = parsed(name, PRESET if table else DEFAULTS, text)
    if name == "model" and value not in PUBLISHED:
        resolve_model(value)  # one that can be pulled may be set before it is
    elif name == "engine" and value not in ENGINES:
        raise RequestError(f"unknown engine {value!r}{did_you_mean(value, ENGINES)}; choose {', '.join(ENGINES)}")
    elif name == "compute_units" and value not in (units := get_args(ComputeUnits)):
        raise RequestError(f"compute_units must be {', '.join(units[:-1])} or {units[-1]}, got {value!r}")
    elif name == "threads":
        create_engine(DEFAULT_ENGINE, EngineOptions(threads=value))
    elif name in DEFAULTS:
        _try(name, value)
    return value


def _try(name: str, value: Any) -> None:
    """Plan a clip with this setting, as a command would. Raises RequestError."""
    from sa3_edge.bundle import Bundle
    from sa3_edge.clips.render import prepare
    from sa3_edge.generation.pipeline import settle_sampling

    said = [
        {name: value} if name in {each.name for each in fields(kind)} else {} for kind in (ClipOptions, FileOptions)
    ]
    piece = prepare(ClipOptions(**said[0]), FileOptions(**said[1]), elsewhere=True).piece
    manifest = Bundle.load(resolve_model(DEMO)).manifest
    piece.samples(manifest)
    settle_sampling(piece.request, manifest.sampler)


def _edit(path: Path, table: list[str], name: str, value: Any) -> bool:
    """Set a key of the file or, with None, remove it -> whether anything changed. Raises RequestError."""
    import tomlkit  # keeps comments, order and blank lines
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(read_small(path, _LARGEST).decode())
    except FileNotFoundError:
        document = tomlkit.document()
    except (OSError, ValueError, TOMLKitError) as error:
        raise RequestError(f"the config file {path} cannot be read: {error}") from None
    place: Any = document
    for each in table:
        if each not in place and value is None:
            return False
        if each not in place:
            place[each] = tomlkit.table(is_super_table=each == "preset")
        place = place[each]
        if not hasattr(place, "items"):
            raise RequestError(f"{path}: {each} must be a table, as in [preset.foley]")
    if value is not None:
        place[name] = value
    elif name in place:
        del place[name]
    else:
        return False
    path = path.resolve()  # of a link, as those who keep such files elsewhere have it, what it leads to
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(tomlkit.dumps(document), encoding="utf-8", newline="")
    return True


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | list) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
