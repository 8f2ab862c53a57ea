"""How the machine fails a command: each fault once, at a random moment or place."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.commands import Command, Ended, Place

DISK_BYTES = 512 << 20  # of the small disk, before it is made smaller


@dataclass(frozen=True)
class Normal:
    """What a command takes if nothing fails it: seconds, bytes of disk beyond what was there and of address space."""

    seconds: float
    disk: int
    memory: int


@dataclass(frozen=True)
class Trial:
    """One run that is to fail."""

    command: Command
    place: Place
    normal: Normal
    chance: random.Random

    def moment(self) -> float:
        """Seconds after the start at which it still runs, as a rule."""
        return self.chance.uniform(0, self.normal.seconds)


@dataclass(frozen=True)
class Fault:
    """A way to fail. happens: what is done; small_disk: whether it needs one, which only root can make.

    ends_by_signal: whether it may end by a signal, or with the exit code of one
    """

    name: str
    how: str
    happens: Callable[[Trial], Ended]
    small_disk: bool = False
    ends_by_signal: bool = False


def killed(trial: Trial) -> Ended:
    return trial.command.start(trial.place).ended(trial.moment())


def interrupted(trial: Trial) -> Ended:
    number = trial.chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    return trial.command.start(trial.place).ended(trial.moment(), number)


def full_disk(trial: Trial) -> Ended:
    free = trial.chance.randrange(trial.normal.disk + 1)
    with _filled(trial.place.folder, free):
        return trial.command.run(trial.place)


def filling_disk(trial: Trial) -> Ended:
    running = trial.command.start(trial.place)
    with suppress(subprocess.TimeoutExpired):
        running.process.wait(trial.moment())
    with _filled(trial.place.folder, 0):
        return running.ended()


def read_only(trial: Trial) -> Ended:
    _mount("-o", "remount,ro", str(trial.place.folder))
    try:
        return trial.command.run(trial.place)
    finally:
        _mount("-o", "remount,rw", str(trial.place.folder))


def vanished(trial: Trial) -> Ended:
    folder = trial.command.writes(trial.place)
    running = trial.command.start(trial.place)
    with suppress(subprocess.TimeoutExpired):
        running.process.wait(trial.moment())
    gone = trial.place.folder / "gone"
    with suppress(FileNotFoundError):  # it was not made yet
        folder.rename(gone)
    try:
        return running.ended()
    finally:
        shutil.rmtree(gone, ignore_errors=True)


def broken_pipe(trial: Trial) -> Ended:
    assert trial.command.printing is not None
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return trial.command.run(trial.place, *trial.command.printing, stdout=writer)
    finally:
        os.close(writer)


def few_files(trial: Trial) -> Ended:
    return _limited(trial, resource.RLIMIT_NOFILE, trial.chance.choice([64, 128, 256, 512]))


def little_memory(trial: Trial) -> Ended:
    return _limited(trial, resource.RLIMIT_AS, trial.chance.randrange(50 << 20, trial.normal.memory))


def one_core(trial: Trial) -> Ended:
    return trial.command.run(trial.place, preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))


def _limited(trial: Trial, kind: int, limit: int) -> Ended:
    return trial.command.run(trial.place, preexec_fn=lambda: resource.setrlimit(kind, (limit, limit)))


FAULTS = (
    Fault("killed", "SIGKILL at a random moment", killed, ends_by_signal=True),
    Fault("interrupted", "SIGINT, SIGTERM or SIGHUP at a random moment", interrupted, ends_by_signal=True),
    Fault("full disk", "a tmpfs with less free than it takes", full_disk, small_disk=True),
    Fault("disk fills up", "a tmpfs is filled at a random moment", filling_disk, small_disk=True),
    Fault("read-only disk", "the tmpfs is mounted read-only", read_only, small_disk=True),
    Fault("folder vanishes", "the folder that it writes to is moved away at a random moment", vanished),
    Fault("broken pipe", "nobody reads its standard output", broken_pipe),
    Fault("few files", "64, 128, 256 or 512 open files at the most (RLIMIT_NOFILE)", few_files),
    Fault("little memory", "less address space than it takes (RLIMIT_AS)", little_memory),
    Fault("one core", "bound to one core", one_core),
)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def has_small_disk() -> bool:
    """Whether this user may mount a tmpfs."""
    if sys.platform != "linux" or not shutil.which("mount"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder)):
                return True
        except (subprocess.CalledProcessError, OSError):
            return False


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs in the folder."""
    _mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "sa3-edge-faults", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@contextmanager
def _filled(folder: Path, free: int) -> Iterator[None]:
    """Within, the disk has so many bytes free."""
    filler = folder / "filler"
    try:
        with filler.open("wb") as file:
            while (more := shutil.disk_usage(folder).free - free) >= 4096:
                with suppress(OSError):  # somebody else was faster
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), more)
        yield
    finally:
        filler.unlink(missing_ok=True)


def measured(command: Command, place: Place) -> Normal:
    """Run it undisturbed. Raises RuntimeError if it fails."""
    most = {"disk": 0, "memory": 0}
    before = _used(place.folder)
    start = time.monotonic()
    running = command.start(place)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            most["disk"] = max(most["disk"], _used(place.folder) - before)
            with suppress(OSError, IndexError, ValueError):
                status = Path(f"/proc/{running.process.pid}/status").read_text()
                most["memory"] = max(most["memory"], int(status.split("VmPeak:")[1].split()[0]) * 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = running.ended()
    seconds = time.monotonic() - start
    ended.set()
    watcher.join()
    if result.code != 0:
        raise RuntimeError(f"{command.name} does not work ({result.code}), so there is nothing to fail: {result.said}")
    return Normal(seconds, max(most["disk"], 4096), max(most["memory"], 64 << 20))


def _used(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += -(-os.lstat(os.path.join(where, name)).st_size // 4096) * 4096
    return total
