"""Errors that carry a message for the person at the keyboard; the command line turns them into exit codes."""


class Sa3Error(Exception):
    """Something that was tried did not work. Exit code 1."""

    exit_code = 1


class RequestError(Sa3Error, ValueError):
    """What was asked for cannot be done as asked: a value, a name or a combination. Exit code 2."""

    exit_code = 2


class BundleError(RequestError):
    """A bundle is incomplete, altered or of another version. Exit code 2."""


class EngineError(Sa3Error):
    """An inference engine is missing or could not run a graph. Exit code 1."""


class DownloadError(Sa3Error):
    """A model could not be fetched or stored; what was downloaded is kept for the next try. Exit code 1."""
