"""The command line's spelling of options: made from the fields of clips/options.py, and put into messages."""

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import typer

from sa3_edge.clips.options import ClipOptions, FileOptions, about, default_of, options_of, type_of
from sa3_edge.errors import RequestError

Command = TypeVar("Command", bound=Callable[..., Any])
Kind = TypeVar("Kind", ClipOptions, FileOptions)


def takes(*kinds: type, without: tuple[str, ...] = (), changes: bool = False) -> Callable[[Command], Command]:
    """Give a command every option of some options classes; they arrive in its **options, by their fields' names.

    changes: what is not typed arrives as None, whatever is usual: the command changes what is there
    """

    return _with(
        [_parameter(kind, name, changes) for kind in kinds for name in options_of(kind) if name not in without]
    )


def takes_those_of(other: Callable[..., Any], without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Give a command another function's parameters; they arrive in its **options, to be passed on."""
    given = inspect.signature(other).parameters.values()
    return _with([each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in given if each.name not in without])


def _with(added: list[inspect.Parameter]) -> Callable[[Command], Command]:
    """Put parameters between a command's own positional and keyword-only ones."""

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        first = [each for each in own if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        parameters = [*first, *added, *own[len(first) :]]
        # Typer reads these two.
        vars(command)["__signature__"] = signature.replace(parameters=parameters)
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _parameter(kind: type, name: str, changes: bool) -> inspect.Parameter:
    each, hint = options_of(kind)[name], type_of(kind, name)
    said = about(each)
    default = None if changes or getattr(hint, "__origin__", None) is list else default_of(each)
    flag = said.flag or f"--{name.replace('_', '-')}"
    if hint is bool:
        flag = f"{flag}/--no-{name.replace('_', '-')}" if changes or default_of(each) else flag
    info = typer.Option(
        flag,
        *filter(None, [said.short]),
        help=said.help,
        rich_help_panel=said.panel or None,
        metavar=said.metavar or ("SECONDS" if said.is_time else None),
        parser=_time if said.is_time else None,
    )
    annotation = hint if default is not None else hint | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info]
    )


def _time(value: float | str) -> float:
    """A time as it is typed; a default comes as a number."""
    from sa3_edge.clips.times import parse_time

    with suppress(ValueError):
        return float(value)  # "nan" and "1e3" too, which is judged where all lengths are
    try:
        return parse_time(str(value))
    except RequestError as error:
        raise typer.BadParameter(str(error)) from None


def chosen(kind: type[Kind], options: dict[str, Any], **others: Any) -> Kind:
    """An options object from what a command got; None is "not given"."""
    names = options_of(kind)
    return kind(**{name: value for name, value in {**options, **others}.items() if name in names and value is not None})


def spelled(message: str) -> str:
    """A library's message with options as they are typed: `init_audio` is --init-audio, `splice: false` --no-splice."""
    return re.sub(r"`(\w+)(?:: (true|false))?`", _flag, message)


_OTHERS = (
    "best_of",
    "check",
    "count",
    "prompts",
    "model",
    "engine",
    "threads",
    "max_memory",
    "compute_units",
)  # options of a run, not of a clip


def _flag(match: re.Match[str]) -> str:
    name, value = match.groups()
    fields = {**options_of(ClipOptions), **options_of(FileOptions)}
    if name not in fields and name not in _OTHERS:
        return match[0]
    metavar = about(fields[name]).metavar if name in fields else None
    if name in fields and about(fields[name]).flag:
        return str(about(fields[name]).flag)
    return f"--{'no-' if value == 'false' else ''}{name.replace('_', '-')}{f' {metavar}' if metavar else ''}"
