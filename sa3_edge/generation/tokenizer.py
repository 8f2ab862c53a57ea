"""Prompts to token ids, by the tokenizer file of the bundle."""

from pathlib import Path

from sa3_edge.errors import BundleError, RequestError


class Tokenizer:
    """The text encoder's own BPE: no begin or end token, no padding, cut to `max_tokens` as the model was trained."""

    def __init__(self, path: Path, max_tokens: int):
        """Raises BundleError if the file is no tokenizer."""
        from tokenizers import (
            Tokenizer as FastTokenizer,
        )  # a tenth of a second that `--help` need not wait for

        try:
            self._tokenizer = FastTokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise BundleError(f"{path} is not a tokenizer: {error}") from error
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
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids[: self._max_tokens], max(0, len(ids) - self._max_tokens)
