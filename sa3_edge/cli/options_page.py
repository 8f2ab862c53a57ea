"""The page of all commands and options, docs/options.md, from what `--help` says.

python -m sa3_edge.cli.options_page > docs/options.md
"""

import sys
from collections.abc import Iterator
from typing import Any

import typer

from sa3_edge.cli.app import app
from sa3_edge.cli.defaults import DEFAULTS, PREFIX
from sa3_edge.clips.list_file import KEYS
from sa3_edge.clips.options import ClipOptions, json_schema

_HEAD = f"""# Commands and options

Made from the commands' own help by `make docs-options`; a test checks that it is current.

*list*: may be said by a line of a list (JSON or a table), with `_` for `-`. What is said of a clip's sound may also be
in a request to the server, and is in a clip's record.
*default*: may be set once, in `config.toml` in the folder that `sa3-edge doctor` names, or as a variable
`{PREFIX}NAME`.
"""


def page() -> str:
    """The whole page, in Markdown."""
    group: Any = typer.main.get_command(app)
    return "\n".join([_HEAD, *_sections("sa3-edge", group), _json_section()])


def _sections(name: str, command: Any) -> Iterator[str]:
    """A command's section, and those of the commands in it."""
    yield _section(name, command)
    for inner, each in getattr(command, "commands", {}).items():
        yield from _sections(f"{name} {inner}", each)


def _section(name: str, command: Any) -> str:
    summary = command.help.strip().split("\n\n")[0].replace("\n", " ").replace("\\[", "[")
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([name, *(each.name.upper() for each in arguments)])
    rows = [f"| `{each.name.upper()}` | {_text(each.help)} | |" for each in arguments]
    panels: dict[str, list[Any]] = {}
    for each in command.params:
        if each.param_type_name == "option" and each.name != "help" and not each.hidden:
            panels.setdefault(getattr(each, "rich_help_panel", None) or "", []).append(each)
    for panel, options in panels.items():
        rows += [f"| **{panel}** | | |"] if panel else []
        rows += [_row(each, marks=name == "sa3-edge generate") for each in options]
    table = "\n".join(["| | | |", "|---|---|---|", *rows])
    return f"## `{usage}`\n\n{summary}\n\n{table}\n"


def _row(each: Any, *, marks: bool) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (*each.opts, *each.secondary_opts))
    said = [_text(each.help)]
    if each.default not in (None, "", False, True, ()) and each.show_default:
        said.append(f"Default: `{each.default}`.")
    uses = {"list": each.name in KEYS, "default": each.name in DEFAULTS}
    marked = ", ".join(name for name, holds in uses.items() if holds and marks)
    return f"| {flags} | {' '.join(said)} | {marked} |"


def _text(help: str | None) -> str:
    return (help or "").replace("\\[", "[").replace("|", "\\|")


def _json_section() -> str:
    return "\n".join(["## A clip's options as JSON", "", "| | | |", "|---|---|---|", *_json_rows(), ""])


def _json_rows() -> Iterator[str]:
    for name, each in json_schema(ClipOptions)["properties"].items():
        kinds = each["type"] if isinstance(each["type"], list) else [each["type"]]
        kind = f"array of {each['items']['type']}" if "items" in each else " or ".join(kinds)
        yield f"| `{name}` | {kind} | {_text(each['description'])} |"


if __name__ == "__main__":
    sys.stdout.write(page())
