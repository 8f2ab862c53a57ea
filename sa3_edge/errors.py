"""What can go wrong, and what helps: a message for people, and a remedy that each front end words in its own way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Action = Literal[
    "install extra",  # of: optional parts of this package
    "install package",  # of: a requirement, as pip takes it
    "replace package",  # of: the distribution that is there, and the requirement to install instead
    "reinstall wheel",  # of: a package that was built without its native part
    "pull model",  # of: a published model, then those that are installed
    "choose model",  # of: installed models
    "choose engine",  # of: an engine
    "export format",  # of: a format
    "use local checkpoint",  # instead of a download
    "free disk space",  # of: how much
    "name another folder or overwrite",
    "name the checkpoint",
    "name these adapters",  # of: files with their strengths, as in "tape.safetensors:0.6"
    "accept value",  # of: a value of a checkpoint's config, "KEY=VALUE"
    "except graph",  # of: a graph to leave in fp32
]


@dataclass(frozen=True)
class Remedy:
    """What would help, in no front end's words. `of` is what it is about."""

    action: Action
    of: tuple[str, ...] = ()


class Sa3Error(Exception):
    """Something that was tried did not work. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str = "", *, remedy: Remedy | None = None):
        super().__init__(message)
        self.remedy = remedy


class RequestError(Sa3Error, ValueError):
    """What was asked for cannot be done as asked: a value, a name or a combination. Exit code 2."""

    exit_code = 2


class BundleError(RequestError):
    """A bundle is incomplete, altered or of another version. Exit code 2."""


class AdapterError(RequestError):
    """An adapter is not one that we can merge, or does not fit the model. Exit code 2."""


class MemoryLimitError(RequestError):
    """A run would take more memory than it may; nothing was begun. Exit code 2."""


class EngineError(Sa3Error):
    """An inference engine is missing or could not run a graph. Exit code 1."""


class CancelledError(Sa3Error):
    """The run was stopped by the event that was given for it; nothing was written. Exit code 130, as of Ctrl-C."""

    exit_code = 130


class DownloadError(Sa3Error):
    """A model could not be fetched or stored; what was downloaded is kept for the next try. Exit code 1."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What a message about an unknown name goes on with: the likeliest of those that are known, or nothing."""
    from difflib import get_close_matches  # only where something is wrong already

    likely = get_close_matches(name, list(known), 1)
    return f"; did you mean {likely[0]}?" if likely else ""


def listed(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
