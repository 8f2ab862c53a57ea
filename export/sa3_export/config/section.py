"""One object of a JSON config, read strictly: what is asked for is typed, what nobody asked for is reported.

- an absent key means the default that the reader gives (the reference constructor's);
- a key that the reader does not know is reported by its dotted name;
- a known key whose value is not computed is refused by name.
"""

import json
from collections.abc import Mapping
from typing import Any

from sa3_export.errors import CheckpointError

_MISSING = object()


class Section:
    """A JSON object at the dotted `path` of its file; keys that nobody asked for are added to `unknown`.

    Raises CheckpointError, naming the key, for whatever is missing, of another type or not computed.
    """

    def __init__(self, data: object, path: str, unknown: list[str]):
        if not isinstance(data, Mapping):
            raise CheckpointError(f"{path or 'config'} must be a JSON object, got {type(data).__name__}")
        self._data, self._path, self.unknown = data, path, unknown
        self._known: set[str] = set()

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def value(self, key: str, kind: type, default: Any = _MISSING) -> Any:
        """The value of `key` as `kind` (int, float, str, bool, list), or the reference's default."""
        self._known.add(key)
        value = self._data.get(key, default)
        if value is _MISSING:
            raise CheckpointError(f"{self._name(key)} is missing")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CheckpointError(f"{self._name(key)} must be {kind.__name__}, got {value!r}")
        return value

    def size(self, key: str, default: Any = _MISSING) -> int:
        """A positive integer."""
        value: int = self.value(key, int, default)
        if value < 1:
            raise CheckpointError(f"{self._name(key)} must be positive, got {value}")
        return value

    def stage(self, key: str, default: Any = _MISSING) -> int:
        """The one entry of a per-stage list: SAME-S resamples in a single stage."""
        values = self.value(key, list, default)
        if len(values) != 1 or not isinstance(values[0], int) or isinstance(values[0], bool):
            raise CheckpointError(f"{self._name(key)} must hold one integer (one stage), got {values!r}")
        return int(values[0])

    def only(self, key: str, *computed: Any, default: Any = _MISSING) -> Any:
        """Refuse a value that we do not compute."""
        self._known.add(key)
        value = self._data.get(key, default)
        if value is _MISSING:
            raise CheckpointError(f"{self._name(key)} is missing")
        if not any(value == accepted and type(value) is type(accepted) for accepted in computed):
            said = "is absent, which means" if key not in self._data else "is"
            choices = " or ".join(json.dumps(accepted) for accepted in computed)
            raise CheckpointError(f"{self._name(key)} {said} {json.dumps(value)}; only {choices} is computed")
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
        return Section(value, self._name(key), self.unknown)

    def close(self) -> None:
        self.unknown.extend(self._name(key) for key in self._data if key not in self._known)
