"""One object of a JSON config, read strictly: what is asked for is typed, what nobody asked for is reported.

- an absent key means the default that the reader gives (the reference constructor's);
- a key that the reader does not know is reported by its dotted name;
- a known key whose value is not computed is refused by name, unless the person who exports accepts it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sa3_edge.files import read_small
from sa3_export.errors import CheckpointError, ConfigValueError

_MISSING = object()
_LARGEST_FILE = 64 << 20  # bytes; the published tokenizer has 33 MB
# Beyond reason: networks are built to the sizes before any tensor is looked at.
_LARGEST_SIZE, MOST_LAYERS, _LARGEST_NUMBER = 1 << 20, 256, 1e9
_DEEPEST = 64


def read_json(path: Path) -> object:
    """The contents of a JSON file that may be a stranger's. Raises CheckpointError."""
    try:
        return parse_json(read_small(path, _LARGEST_FILE), str(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None


def read_config(path: Path) -> object:
    """The contents of a config, which is small and flat. Raises CheckpointError."""
    read = read_json(path)
    level, depth = [read], 0
    while level:  # not by recursion: what is said of a value would recurse too
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
        if depth > _DEEPEST:
            raise CheckpointError(f"{path} is not a config: it is nested too deeply")
    return read


def parse_json(text: str | bytes, name: str) -> object:
    """JSON of a stranger; `name` is said of it. Raises CheckpointError."""
    try:
        read: object = json.loads(text)
    except ValueError as error:  # also for bytes that are no text, and for numbers of thousands of digits
        raise CheckpointError(f"{name} is not valid JSON: {error}") from None
    except RecursionError:
        raise CheckpointError(f"{name} is not valid JSON: it is nested too deeply") from None
    return read


def agree(sizes: Mapping[str, int]) -> None:
    """Raise CheckpointError for sizes that should be one, naming them all."""
    if len(set(sizes.values())) > 1:
        raise CheckpointError("these must be equal: " + ", ".join(f"{k} = {v}" for k, v in sizes.items()))


class Reading:
    """What is known of a checkpoint's configs as they are read.

    unknown: dotted names of keys that nobody asked for
    accept: "KEY=VALUE" of values that are not computed and yet to be read, as if they were the usual ones
    """

    def __init__(self, accept: Iterable[str] = ()):
        self.unknown: list[str] = []
        self.accept = tuple(accept)
        self._met: set[str] = set()

    def accepts(self, key: str, value: object) -> bool:
        """Whether this value of a key was accepted; text needs no quotes."""
        spellings = {f"{key}={json.dumps(value)}"} | ({f"{key}={value}"} if isinstance(value, str) else set())
        met = spellings.intersection(self.accept)
        self._met |= met
        return bool(met)

    def close(self) -> None:
        """Raise CheckpointError for an accepted value that no config holds, or that needed no accepting."""
        for entry in self.accept:
            if entry not in self._met:
                raise CheckpointError(f"{entry} was accepted, but nothing in the configs is refused for it")


class Section:
    """A JSON object at the dotted `path` of its file.

    Raises CheckpointError, naming the key, for whatever is missing, of another type or not computed.
    """

    def __init__(self, data: object, path: str, reading: Reading):
        if not isinstance(data, Mapping):
            raise CheckpointError(f"{path or 'config'} must be a JSON object, got {type(data).__name__}")
        self._data, self._path, self.reading = data, path, reading
        self._known: set[str] = set()

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def value(self, key: str, kind: type, default: Any = _MISSING) -> Any:
        """The value of `key` as `kind` (int, float, str, bool, list), or the reference's default."""
        self._known.add(key)
        value = self._data.get(key, default)
        if value is _MISSING:
            raise CheckpointError(f"{self._name(key)} is missing")
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            if not abs(value) <= _LARGEST_NUMBER:  # NaN is not either
                raise CheckpointError(f"{self._name(key)} must be a number within reason, got {value!r:.40}")
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CheckpointError(f"{self._name(key)} must be {kind.__name__}, got {value!r:.200}")
        return value

    def size(self, key: str, default: Any = _MISSING, most: int = _LARGEST_SIZE) -> int:
        """A positive integer, at most `most`."""
        value: int = self.value(key, int, default)
        self._check_size(key, value, 1, most)
        return value

    def _check_size(self, key: str, value: int, least: int, most: int) -> None:
        if not least <= value <= most:
            raise CheckpointError(f"{self._name(key)} must be from {least} to {most}, got {str(value)[:40]}")

    def scaled(self, key: str, size: int, default: float) -> int:
        """A size that is a multiple of another one."""
        scaled = int(size * self.value(key, float, default))
        if not 1 <= scaled <= _LARGEST_SIZE:
            raise CheckpointError(f"{self._name(key)} makes {scaled} of {size}, from 1 to {_LARGEST_SIZE} can be")
        return scaled

    def stage(self, key: str, default: Any = _MISSING, *, least: int = 1, most: int = _LARGEST_SIZE) -> int:
        """The one entry of a per-stage list, from `least` to `most`: SAME resamples in a single stage."""
        values = self.value(key, list, default)
        if len(values) != 1 or not isinstance(values[0], int) or isinstance(values[0], bool):
            raise CheckpointError(f"{self._name(key)} must hold one integer (one stage), got {values!r:.200}")
        self._check_size(key, values[0], least, most)
        return int(values[0])

    def only(self, key: str, *computed: Any, default: Any = _MISSING) -> Any:
        """The value of `key`, one of those that are computed; for an accepted other one the first of them.

        Raises ConfigValueError for any other.
        """
        self._known.add(key)
        value = self._data.get(key, default)
        if value is _MISSING:
            raise CheckpointError(f"{self._name(key)} is missing")
        if not any(value == accepted and type(value) is type(accepted) for accepted in computed):
            if self.reading.accepts(self._name(key), value):
                return computed[0]
            said = "is absent, which means" if key not in self._data else "is"
            choices = " or ".join(json.dumps(accepted) for accepted in computed)
            raise ConfigValueError(
                f"{self._name(key)} {said} {json.dumps(value)}; only {choices} is computed", self._name(key), value
            )
        return value

    def ignore(self, *keys: str) -> None:
        """Known, and without effect on what we compute."""
        self._known.update(keys)

    def section(self, key: str, default: Any = _MISSING) -> "Section":
        """An object; null is as good as absent where there is a default."""
        self._known.add(key)
        value = self._data.get(key, default)
        if value is None and default is not _MISSING:
            value = default
        if value is _MISSING:
            raise CheckpointError(f"{self._name(key)} is missing")
        return Section(value, self._name(key), self.reading)

    def close(self) -> None:
        """Report the keys that nobody asked for."""
        self.reading.unknown.extend(self._name(key) for key in self._data if key not in self._known)
