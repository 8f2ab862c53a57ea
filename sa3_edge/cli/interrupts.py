"""Ctrl-C and the signals that end a process: what they raise, and the line that says so at once."""

import os
import signal
import socket
import sys
from threading import Event, Thread
from types import FrameType
from typing import Any

INTERRUPTED = 130  # the exit code
_GRACE_SECONDS = 0.3
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(BaseException):
    """Ctrl-C. Not a KeyboardInterrupt, which the command framework would turn into exit code 1."""


class Interrupts:
    """Listens from `listen` to `close`. `heard` is whether a signal came, whatever became of what it raised."""

    def __init__(self) -> None:
        self.heard = False
        self._closing = Event()
        self._before: dict[int, Any] = {}
        self._reader, self._writer = socket.socketpair()
        self._thread = Thread(target=self._say, name="sa3-edge interrupts", daemon=True)

    def listen(self) -> None:
        """From now on Ctrl-C raises Interrupted, once, and so do SIGTERM and SIGHUP. A second one ends the process."""
        # Python's handler waits until a graph has been run; the thread does not.
        self._writer.setblocking(False)
        self._thread.start()
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                self._before[number] = signal.signal(number, self._interrupt)

    def close(self) -> None:
        """Returns when all that was heard is said; signals do again what they did before."""
        self._closing.set()
        for number, handler in self._before.items():
            if handler is not None:  # one that was not installed from Python cannot be put back
                signal.signal(number, handler)
        self._before.clear()
        signal.set_wakeup_fd(-1)
        self._writer.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._reader.close()

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        if not self.heard:  # the next one ends the process, which is not to be disturbed in cleaning up
            self.heard = True
            raise Interrupted

    def _say(self) -> None:
        said = False
        while received := self._reader.recv(1):
            if received[0] not in _SIGNALS:
                continue
            if said:
                # One that a library hands on while it ends is not one more: the main thread is nearly done then.
                if not self._closing.wait(_GRACE_SECONDS):
                    end_now()
                continue
            said = True
            try:
                print("interrupted", file=sys.stderr, flush=True)
            except (OSError, ValueError):  # a terminal that is gone
                continue


def end_now() -> None:
    """End the process though a graph runs that does not end, without leaving unfinished files."""
    from sa3_edge.files import discard_unfinished

    try:
        discard_unfinished()
    finally:
        os._exit(INTERRUPTED)
