"""Prompts with choices: "{rain|wind|sea} on {tin|wood}" stands for six."""

import hashlib
import itertools
import re

from sa3_edge.errors import RequestError

MOST = 1000  # prompts that one may stand for
_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")  # braces without a bar are a prompt's own


def has_choices(prompt: str) -> bool:
    """Whether it stands for several prompts."""
    return _CHOICE.search(prompt) is not None


def all_of(prompt: str) -> list[str]:
    """Every prompt that it stands for, the last choice changing fastest. Raises RequestError for more than 1000."""
    texts, choices = _parts(prompt)
    count = 1
    for each in choices:
        count *= len(each)
    if count > MOST:
        raise RequestError(f"the prompt stands for {count} prompts; at most {MOST} are made at once")
    return [_joined(texts, chosen) for chosen in itertools.product(*choices)]


def one_of(prompt: str, seed: int) -> str:
    """One prompt that it stands for, drawn by a clip's seed: the same seed draws the same, on every machine."""
    texts, choices = _parts(prompt)
    drawn = (
        each[int.from_bytes(hashlib.sha256(f"{seed}/{place}".encode()).digest()[:8]) % len(each)]
        for place, each in enumerate(choices)
    )
    return _joined(texts, tuple(drawn))


def _parts(prompt: str) -> tuple[list[str], list[list[str]]]:
    """The text around the choices, and the choices."""
    parts = _CHOICE.split(prompt)
    return parts[::2], [[each.strip() for each in part.split("|")] for part in parts[1::2]]


def _joined(texts: list[str], chosen: tuple[str, ...]) -> str:
    return " ".join("".join(itertools.chain(*itertools.zip_longest(texts, chosen, fillvalue=""))).split())
