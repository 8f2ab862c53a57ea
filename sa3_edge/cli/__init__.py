"""The `sa3-edge` command. Libraries raise; here errors become a line on stderr and an exit code."""

import errno
import os
import sys
from typing import Any

from sa3_edge.cli.interrupts import INTERRUPTED, Interrupted, Interrupts
from sa3_edge.cli.printable import print_all_of, printable
from sa3_edge.cli.wrapping import fitted
from sa3_edge.errors import RequestError, Sa3Error

_OF_THE_REQUEST = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}

_LEAST_ADDRESS_SPACE = 384 << 20  # a short clip of the demo takes 460 MB, of which some are never asked for


def main() -> None:
    """Run the command line: exit 2 for bad requests, 1 for failures, 130 for Ctrl-C."""
    arguments, debug = _without_debug(sys.argv[1:])
    interrupts = Interrupts()
    try:
        interrupts.listen()
        for stream in (sys.stdout, sys.stderr):
            print_all_of(stream)
        _check_text(arguments)
        _check_address_space()
        # Not before Ctrl-C is heard: loading takes a while.
        from sa3_edge.cli.app import app

        code = app(arguments, standalone_mode=False)
        if isinstance(code, int) and code:
            sys.exit(code)
    except (Interrupted, Exception) as error:
        if debug:
            import traceback

            traceback.print_exc()
        # A library that is interrupted while it is loaded may raise an error of its own.
        if interrupts.heard:
            sys.exit(INTERRUPTED)
        message, code = _explain(error)
        print(fitted(message, sys.stderr), file=sys.stderr)
        sys.exit(code)
    finally:
        if interrupts.heard:
            from sa3_edge.files import discard_unfinished

            discard_unfinished()  # what was interrupted before it could tidy up itself
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


def _check_address_space() -> None:
    """Raise Sa3Error where so little may be mapped that libraries cannot be loaded: NumPy's waits for it for ever."""
    from sa3_edge.machine import address_space

    limit = address_space()
    if limit is not None and limit < _LEAST_ADDRESS_SPACE:
        raise Sa3Error(
            f"this process may map {limit >> 20} MB (ulimit -v), and {_LEAST_ADDRESS_SPACE >> 20} MB are the least "
            "with which anything works"
        )


def _explain(error: BaseException) -> tuple[str, int]:
    """The line on stderr, and the exit code."""
    if isinstance(error, Sa3Error):
        from sa3_edge.cli.remedies import worded

        return printable(f"error: {worded(error)}", lines=True), error.exit_code
    if hasattr(error, "format_message"):  # a command line that cannot be read; its library's own classes
        return _usage(error)
    if isinstance(error, OSError) and error.strerror is not None:
        # Not of our making: a name that is too long, a folder that may not be read, a disk that is full.
        where = f"{os.fsdecode(error.filename)[:300]}: " if isinstance(error.filename, str | bytes) else ""
        return printable(f"error: {where}{error.strerror}"), 2 if error.errno in _OF_THE_REQUEST else 1
    if isinstance(error, MemoryError):
        return "error: there is not enough memory; a shorter clip, or a bundle in int8, needs less", 1
    shown = printable(f"{type(error).__name__}: {error}")
    return f"error: {shown} (a fault of sa3-edge; --debug shows where)", 1


def _usage(error: Any) -> tuple[str, int]:
    """What is wrong with the command line itself, in our own style."""
    message, context = str(error.format_message()), getattr(error, "ctx", None)
    command = context.info_name if context is not None and context.parent is not None else ""
    if type(error).__name__ == "NoArgsIsHelpError":
        return message, error.exit_code
    if command == "generate" and message.startswith("Got unexpected extra argument"):
        message = 'the prompt is more than one word; put it in quotes: sa3-edge generate "lofi piano"'
    else:
        message = message[:1].lower() + message[1:].rstrip(".") if message[:2] != "No" else message.rstrip(".")
    return printable(
        f"error: {message}; sa3-edge {f'{command} ' if command else ''}--help shows what there is"
    ), error.exit_code
