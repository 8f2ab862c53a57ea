"""The `sa3-edge` command. Libraries raise; here errors become a line on stderr and an exit code."""

import signal
import sys
import traceback
from types import FrameType

from sa3_edge.cli.app import app
from sa3_edge.errors import Sa3Error

_INTERRUPTED = 130


class _Interrupted(BaseException):
    """Ctrl-C. Not a KeyboardInterrupt, which the command framework would turn into exit code 1."""


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise _Interrupted


def main() -> None:
    """Run the command line: exit 2 for bad requests, 1 for failures, 130 for Ctrl-C."""
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except _Interrupted:
        _fail("interrupted", _INTERRUPTED)
    except Sa3Error as error:
        _fail(f"error: {error}", error.exit_code)
    except Exception as error:
        _fail(f"error: {type(error).__name__}: {error} (a fault of sa3-edge; --debug shows where)", 1)


def _fail(message: str, code: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
    print(message, file=sys.stderr)
    sys.exit(code)
