"""Lines that are longer than their terminal is wide, broken between words. In a pipe or a file a line stays a line."""

import os
import re
from typing import TextIO

_LEAST = 20  # columns; below, the terminal may break lines as it likes
_KEPT = "\xa0"  # a space at which no line ends
_COLUMN = re.compile(r"\s*\S.*?\s{2,}(?=\S)")  # of a row, what stands before its second column
# A command to copy that ends a line: broken, it would be pasted as two.
_COMMAND = re.compile(r"(?<=(?::| ) )'?(?:\S*sa3-edge(?:\.exe)?|\S*python[\d.]*(?:\.exe)?'? -m \S+) (?:[a-z]|')[^;]*$")


def fitted(text: str, stream: TextIO | None) -> str:
    """The text as it is written to a stream: wrapped if that is a terminal."""
    columns = _columns(stream)
    return text if columns is None else wrapped(text, columns)


def wrapped(text: str, columns: int) -> str:
    """Lines of at most so many columns, but for words that are longer; what is broken goes on where its column begins.

    A command at the end of a line that does not fit has a line of its own and is left whole.
    """
    if columns < _LEAST:
        return text
    return "\n".join(_wrapped_line(line, columns) for line in text.split("\n"))


def _wrapped_line(line: str, columns: int) -> str:
    if len(line) <= columns or line.startswith("{"):  # JSON, which stays an object a line
        return line
    from textwrap import TextWrapper  # only where something is long

    before, command = line, _COMMAND.search(line)
    if command is not None:
        before = line[: command.start()].rstrip()
    first = _COLUMN.match(line)
    hang = len(line) - len(line.lstrip()) + 2 if first is None or first.end() > columns // 2 else first.end()
    wrapper = TextWrapper(
        columns,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
    )
    # What stands between two spaces and two is kept together where there is room for it.
    fields = re.split(r"(\s{2,})", before)
    for place in range(2, len(fields), 2):
        if len(fields[place]) <= columns - hang:
            fields[place] = fields[place].replace(" ", _KEPT)
    rows = [row.replace(_KEPT, " ") for row in wrapper.wrap("".join(fields))]
    return "\n".join(rows if command is None else [*rows, command[0]])


def _columns(stream: TextIO | None) -> int | None:
    """How wide the terminal is, None for what is none."""
    try:
        if stream is None or not stream.isatty():
            return None
        said = os.environ.get("COLUMNS", "")
        return int(said) if said.isdigit() else os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return None
