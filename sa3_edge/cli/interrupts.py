"""Ctrl-C: what it raises, and the line that says so at once."""

import signal
import socket
import sys
from threading import Thread
from types import FrameType


class Interrupted(BaseException):
    """Ctrl-C. Not a KeyboardInterrupt, which the command framework would turn into exit code 1."""


class Interrupts:
    """Listens from `listen` to `close`. `heard` is whether Ctrl-C came, whatever became of what it raised."""

    def __init__(self) -> None:
        self.heard = False
        self._reader, self._writer = socket.socketpair()
        self._thread = Thread(target=self._say, daemon=True)

    def listen(self) -> None:
        """From now on Ctrl-C raises Interrupted."""
        # Python's handler waits until a graph has been run; the thread does not.
        self._writer.setblocking(False)
        self._thread.start()
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, self._interrupt)

    def close(self) -> None:
        """Returns when all that was heard is said."""
        signal.set_wakeup_fd(-1)
        self._writer.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._reader.close()

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self.heard = True
        raise Interrupted

    def _say(self) -> None:
        while received := self._reader.recv(1):
            if received[0] == signal.SIGINT:
                print("interrupted", file=sys.stderr, flush=True)
                return
