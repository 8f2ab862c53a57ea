"""Prompts to token ids, by the tokenizer file of the bundle."""

from pathlib import Path
from typing import Any

import msgspec

from sa3_edge.errors import BundleError, RequestError
from sa3_edge.files import read_small

LARGEST_FILE = 64 << 20  # bytes; the published one has 33 MB
LONGEST_TEXT = 100_000  # characters; the model reads some 256 tokens
# What published text encoders and our own use. Others match patterns, repeat or insert at will: a file of a stranger
# could have them run for minutes, fill the memory, or bring the library down.
_MODELS = {"BPE", "Unigram", "WordLevel"}
_NORMALIZERS = {"Replace", "Prepend", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Strip", "StripAccents"}
_PRE_TOKENIZERS = {"Split", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit", "Digits", "Punctuation"}
MOST_GROWTH = 64  # times as long as the prompt


def _check_parts(path: Path, text: str) -> None:
    """Raise BundleError for parts of a tokenizer beyond what a text encoder needs."""

    def refuse(what: str) -> None:
        raise BundleError(f"{path} is not a tokenizer that sa3-edge runs: {what}")

    try:
        parts = msgspec.json.decode(text, type=_Parts)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(f"{path} is not a tokenizer: {error}") from None
    if parts.model.type not in _MODELS:
        refuse(f"its model is {parts.model.type[:64]!r}, not one of {', '.join(sorted(_MODELS))}")
    if parts.model.dropout:
        refuse("it drops merges at random, so the same text gives other tokens each time")
    growth = 1.0
    for kind, part, known in (
        ("normalizer", parts.normalizer, _NORMALIZERS),
        ("pre_tokenizer", parts.pre_tokenizer, _PRE_TOKENIZERS),
    ):
        for step in _steps(part, kind):
            if step.get("type") not in known:
                refuse(f"its {kind} is {str(step.get('type'))[:64]!r}, not one of {', '.join(sorted(known))}")
            pattern = step.get("pattern")
            if pattern is not None and not (isinstance(pattern, dict) and isinstance(pattern.get("String"), str)):
                refuse(f"its {kind} matches a regular expression")
            sought = pattern["String"] if pattern is not None else " "
            growth *= max(1.0, len(str(step.get("content", ""))) / max(1, len(sought)))
            if not sought or growth > MOST_GROWTH or len(str(step.get("prepend", ""))) > MOST_GROWTH:
                refuse(f"its {kind} makes text many times as long")


class _Model(msgspec.Struct):
    type: str = "BPE"
    dropout: float | None = None


class _Parts(msgspec.Struct):
    """What is looked at of a tokenizer.json; the rest, megabytes of tokens, is skipped."""

    model: _Model
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None


def _steps(part: Any, kind: str) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, in order."""
    if not isinstance(part, dict):
        return []
    nested = part.get("normalizers" if kind == "normalizer" else "pretokenizers")
    if part.get("type") != "Sequence" or not isinstance(nested, list):
        return [part]
    return [step for each in nested for step in _steps(each, kind)]


def _pass_on_other_than_faults(error: BaseException) -> None:
    """Raise `error` again unless it is the library's: its panics derive from BaseException as Ctrl-C does."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class Tokenizer:
    """The text encoder's own BPE: no begin or end token, no padding, cut to `max_tokens` as the model was trained."""

    def __init__(self, path: Path, max_tokens: int):
        """Raises BundleError if the file is no tokenizer."""
        from tokenizers import (
            Tokenizer as FastTokenizer,
        )  # a tenth of a second that `--help` need not wait for

        try:
            text = read_small(path, LARGEST_FILE).decode()
            _check_parts(path, text)
            self._tokenizer = FastTokenizer.from_str(text)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror or error}") from None
        except BundleError:
            raise
        except BaseException as error:  # the library raises bare Exception, and panics that are none
            _pass_on_other_than_faults(error)
            raise BundleError(f"{path} is not a tokenizer: {_first_line(error)}") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens

    def encode(self, text: str) -> tuple[list[int], int]:
        """Token ids, at most `max_tokens`, and how many more the text has.

        Raises RequestError for half a surrogate pair, which no encoding has.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"the prompt is not valid Unicode: {error}") from None
        if len(text) > LONGEST_TEXT:
            raise RequestError(f"the prompt has {len(text)} characters, at most {LONGEST_TEXT} are read")
        try:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            _pass_on_other_than_faults(error)
            raise BundleError(f"the bundle's tokenizer fails on this text: {_first_line(error)}") from None
        return ids[: self._max_tokens], max(0, len(ids) - self._max_tokens)
