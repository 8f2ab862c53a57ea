"""Times as people write them."""

import re

from sa3_edge.errors import RequestError

_TIME = r"(?:\d+:)?\d+(?:\.\d*)?|\.\d+"  # seconds, or minutes:seconds


def parse_time(text: str) -> float:
    """Seconds from "90", "12.5" or "1:30". Raises RequestError."""
    if not re.fullmatch(_TIME, text):
        raise RequestError(f"{text!r} is no time; write seconds (12.5) or minutes:seconds (1:30)")
    minutes, _, seconds = text.rpartition(":")
    if minutes and float(seconds) >= 60:
        raise RequestError(f"{text!r} has more than 59 seconds after the minutes")
    return float(minutes or 0) * 60 + float(seconds)
