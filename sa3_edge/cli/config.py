"""`sa3-edge config`: the defaults and presets in force, and where each comes from."""

from typing import Any

from sa3_edge.cli.defaults import DEFAULTS, PREFIX, config_file, origins, presets
from sa3_edge.cli.display import print_json, print_line
from sa3_edge.clips.options import ClipOptions, FileOptions, default_of, options_of
from sa3_edge.engines import DEFAULT_ENGINE
from sa3_edge.models.catalog import DEFAULT

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
    for name, (value, origin) in settings.items():
        shown = "-" if value is None else _shown(value)
        print_line(f"{name:16} {shown:16} {'config.toml' if origin == str(path) else origin}")
    for name, table in tables.items():
        print_line(f"\n[preset.{name}]")
        for key, value in table.items():
            print_line(f"{key:16} {_shown(value)}")
    print_line(f'\nA setting is a line of the file, as in format = "flac", or a variable: {PREFIX}FORMAT=flac.')


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | list) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
