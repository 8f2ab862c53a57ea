"""The `sa3-edge` command. Libraries raise; here errors become a line on stderr and an exit code."""

import os
import signal
import sys
from types import FrameType

from sa3_edge.errors import RequestError, Sa3Error

_INTERRUPTED = 130


class _Interrupted(BaseException):
    """Ctrl-C. Not a KeyboardInterrupt, which the command framework would turn into exit code 1."""


def main() -> None:
    """Run the command line: exit 2 for bad requests, 1 for failures, 130 for Ctrl-C."""
    interrupted = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise _Interrupted

    signal.signal(signal.SIGINT, interrupt)
    arguments, debug = _without_debug(sys.argv[1:])
    try:
        _check_text(arguments)
        # Not before Ctrl-C is heard: loading takes a while.
        from sa3_edge.cli.app import app

        app(arguments)
    except (_Interrupted, Exception) as error:
        if debug:
            import traceback

            traceback.print_exc()
        # A library that is interrupted while it is loaded may raise an error of its own.
        message, code = ("interrupted", _INTERRUPTED) if interrupted else _explain(error)
        print(message, file=sys.stderr)
        sys.exit(code)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without --debug, which may stand anywhere before a "--", and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _check_text(arguments: list[str]) -> None:
    """Raise RequestError for an argument that is no text: it could neither be printed nor written into a clip."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
            raise RequestError(f"{shown} is not UTF-8, as prompts and names of files must be") from None


def _explain(error: BaseException) -> tuple[str, int]:
    """The line on stderr, and the exit code."""
    if isinstance(error, Sa3Error):
        return f"error: {error}", error.exit_code
    return f"error: {type(error).__name__}: {error} (a fault of sa3-edge; --debug shows where)", 1
