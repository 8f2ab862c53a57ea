"""What can go wrong with a checkpoint or an export, in words for the person who started it."""

import json

from sa3_edge.errors import Remedy, RequestError, Sa3Error


class CheckpointError(RequestError):
    """The checkpoint is not one that we can compute: missing, misshapen or unsupported parts, named."""


class ConfigValueError(CheckpointError):
    """A known key of a config holds a value that is not computed. `accept` is what accepts it, "KEY=VALUE"."""

    def __init__(self, message: str, key: str, value: object):
        self.accept = f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        super().__init__(message, remedy=Remedy("accept value", (self.accept,)))


class ParityError(Sa3Error):
    """An exported graph does not compute what PyTorch computes; nothing of it is kept."""


class ExportRequestError(RequestError):
    """An export was asked for that cannot be made: an unknown precision or a missing part."""


class EvaluationError(Sa3Error):
    """A package holds an operation, or a use of one, that the evaluator does not compute; the message names it."""
