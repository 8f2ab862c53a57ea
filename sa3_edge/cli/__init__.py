"""The `sa3-edge` command. Libraries raise; here errors become a line on stderr and an exit code."""

import os
import sys

from sa3_edge.cli.interrupts import Interrupted, Interrupts
from sa3_edge.errors import RequestError, Sa3Error

_INTERRUPTED = 130


def main() -> None:
    """Run the command line: exit 2 for bad requests, 1 for failures, 130 for Ctrl-C."""
    arguments, debug = _without_debug(sys.argv[1:])
    interrupts = Interrupts()
    try:
        interrupts.listen()
        _check_text(arguments)
        # Not before Ctrl-C is heard: loading takes a while.
        from sa3_edge.cli.app import app

        app(arguments)
    except (Interrupted, Exception) as error:
        if debug:
            import traceback

            traceback.print_exc()
        # A library that is interrupted while it is loaded may raise an error of its own.
        if interrupts.heard:
            sys.exit(_INTERRUPTED)
        message, code = _explain(error)
        print(message, file=sys.stderr)
        sys.exit(code)
    finally:
        interrupts.close()


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
        from sa3_edge.cli.remedies import worded

        return f"error: {worded(error)}", error.exit_code
    return f"error: {type(error).__name__}: {error} (a fault of sa3-edge; --debug shows where)", 1
