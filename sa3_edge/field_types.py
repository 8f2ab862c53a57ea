"""The types of a dataclass's fields, checked when it is made: people call this library without a type checker too."""

import types
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from sa3_edge.errors import RequestError

_SAID = {str: "text", bool: "True or False", int: "a whole number", float: "a number", Path: "a pathlib.Path"}
_known: dict[type, dict[str, Any]] = {}


def check_fields(made: object) -> None:
    """Raise RequestError that names the first field whose value is not of the field's type.

    Whole numbers are numbers, also NumPy's; True and False are none.
    """
    for name, hint in _hints(type(made)).items():
        value = getattr(made, name)
        if not _fits(value, hint):
            raise RequestError(f"{name} must be {_said(hint)}, got {type(value).__name__}: {value!r:.80}")


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _known:
        _known[kind] = get_type_hints(kind)
    return _known[kind]


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin in (list, tuple):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return False
        return all(_fits(each, arguments[0]) for each in value)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _said(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_said(each) for each in arguments)
    if origin in (list, tuple):
        return f"a {origin.__name__} of {_said(arguments[0])}"
    if hint is types.NoneType:
        return "None"
    return _SAID.get(hint, getattr(origin or hint, "__name__", str(hint)))
