"""Text from files, tags and the network on a terminal: shown, never obeyed."""

import codecs
import re
from typing import TextIO

# What moves the cursor, colours, clears or retitles (C0 and C1 controls), and what turns the direction of writing or
# ends a line without being seen to. Tabs stay.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with control characters and direction marks as escapes, "\u001b"; JSON stays the same JSON.

    Line ends too, unless `lines`: a name that holds one could fake a line of ours.
    """
    shown = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return shown if lines else shown.replace("\n", "\\u000a")


def print_all_of(stream: TextIO | None) -> None:
    """Have a stream take text that its encoding lacks, as escapes: a terminal or a pipe may be ASCII."""
    codecs.register_error("sa3-edge", _escaped)
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="sa3-edge")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)), error.end
