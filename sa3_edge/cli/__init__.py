"""The `sa3-edge` command. Libraries raise; here errors become a line on stderr and an exit code."""

import sys
import traceback

from sa3_edge.cli.app import app
from sa3_edge.errors import Sa3Error

_INTERRUPTED = 130


def main() -> None:
    """Run the command line: exit 2 for bad requests, 1 for failures, 130 for Ctrl-C."""
    debug = "--debug" in sys.argv
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except Sa3Error as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"error: {type(error).__name__}: {error} (a fault of sa3-edge; --debug shows where)", file=sys.stderr)
        sys.exit(1)
