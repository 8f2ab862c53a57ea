"""Docstrings as pages show them: lines such as "seed: 0..2^32-1", which describe fields, become a list."""

import re
from typing import Any

import griffe

_FIELDS = re.compile(r"^([a-z_]+(?:, [a-z_]+)*): (?=\S)", re.MULTILINE)


class FieldLists(griffe.Extension):
    """Makes Markdown of the docstrings of the package, which are written to be read in an editor."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """The docstring, with fields and what they hold as a list."""
    paragraphs = docstring.split("\n\n")
    return "\n\n".join(_list(paragraph) if _FIELDS.match(paragraph) else paragraph for paragraph in paragraphs)


def _list(paragraph: str) -> str:
    return _FIELDS.sub(r"- **\1**: ", paragraph)
