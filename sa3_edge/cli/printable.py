"""Text from files, tags and the network on a terminal: shown, never obeyed."""

import re

# What moves the cursor, colours, clears or retitles (C0 and C1 controls), and what turns the direction of writing or
# ends a line without being seen to. Tabs stay.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with control characters and direction marks as escapes, "\u001b"; JSON stays the same JSON.

    Line ends too, unless `lines`: a name that holds one could fake a line of ours.
    """
    shown = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return shown if lines else shown.replace("\n", "\\u000a")
