"""Generations that wait, run and end: one worker, a queue of stated length, progress for whoever follows."""

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

from sa3_edge.errors import Sa3Error
from sa3_edge.serve.progress import Estimate, Progress

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: tuple[State, ...] = ("done", "failed", "cancelled")
_REMEMBERED = 200  # ended jobs; clips themselves are found in their folder for ever
_log = logging.getLogger("sa3_edge.serve")

Request = TypeVar("Request")
Result = TypeVar("Result")


class QueueFullError(Sa3Error):
    """As many generations wait as may."""


class Cancelled(Exception):  # noqa: N818  what a step of a cancelled job raises, not a fault
    """Somebody asked to stop."""


@dataclass(frozen=True)
class Status(Generic[Result]):
    """How far a job is. `revision` counts changes over all jobs: a later change has a greater one."""

    state: State = "queued"
    progress: Progress = field(default_factory=Progress)
    result: Result | None = None
    error: str | None = None
    revision: int = 0


class Job(Generic[Request, Result]):
    """One generation. `status` is replaced whole, so that any thread can read it."""

    def __init__(self, job_id: str, request: Request) -> None:
        self.id, self.request = job_id, request
        self.created = time.time()
        self.status: Status[Result] = Status()
        self.cancel_asked = False

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status.state in FINAL


Work = Callable[[Job[Request, Result], Callable[[str, int, int], None]], Result]


class JobQueue(Generic[Request, Result]):
    """Runs `work(job, progress)` for one job after another, in a thread of its own.

    `progress` raises Cancelled in a job that was cancelled; `idle` is called once after `idle_seconds` without work.
    """

    def __init__(
        self, work: Work[Request, Result], length: int, idle: Callable[[], None] = lambda: None, idle_seconds: float = 0
    ) -> None:
        self._work, self._length = work, length
        self._idle, self._idle_seconds = idle, idle_seconds
        self._waiting: deque[Job[Request, Result]] = deque()
        self._jobs: OrderedDict[str, Job[Request, Result]] = OrderedDict()
        self._running: Job[Request, Result] | None = None
        self._changed = threading.Condition()
        self._revision = 0
        self._watchers: set[Callable[[], None]] = set()
        self._stopping, self._following = False, True
        self._estimate = Estimate()
        self._thread = threading.Thread(target=self._loop, name="sa3-edge-worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout: float = 30) -> None:
        """Cancel everything and end the worker; a step that is being computed is waited for."""
        with self._changed:
            self._stopping = True
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                job.cancel_asked = True
            while self._waiting:
                self._set(self._waiting.popleft(), state="cancelled")
            self._changed.notify_all()
        self.let_go()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def let_go(self) -> None:
        """End the iterators of all who follow; what they follow goes on until `stop`."""
        self._following = False
        self._wake()

    @property
    def length(self) -> int:
        """How many may wait."""
        return self._length

    @property
    def revision(self) -> int:
        """The number of the last change."""
        return self._revision

    def submit(self, job: Job[Request, Result]) -> None:
        """Put a job at the end of the queue. Raises QueueFullError."""
        with self._changed:
            if self._stopping:
                raise QueueFullError("the server is being stopped")
            # The one that runs is not waiting; an idle worker takes the first at once.
            room = self._length + (self._running is None)
            if len(self._waiting) >= room:
                raise QueueFullError(f"{len(self._waiting)} generations wait already; try again later")
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._set(job, state="queued")
            self._forget()
            self._changed.notify_all()
        self._wake()

    def cancel(self, job: Job[Request, Result]) -> bool:
        """Cancel a job that waits, at once, or that runs, within a step. False if it had ended."""
        with self._changed:
            if job.ended:
                return False
            job.cancel_asked = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._set(job, state="cancelled")
        self._wake()
        return True

    def get(self, job_id: str) -> Job[Request, Result] | None:
        """The job of this id, if it is remembered."""
        return self._jobs.get(job_id)

    def forget(self, job_id: str) -> None:
        """Drop an ended job."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is not None and job.ended:
                del self._jobs[job_id]

    def jobs(self) -> list[Job[Request, Result]]:
        """All that are remembered, the oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def ahead(self, job: Job[Request, Result]) -> int:
        """How many come before a job that waits, with the one that runs."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return list(self._waiting).index(job) + (self._running is not None)

    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def running(self) -> Job[Request, Result] | None:
        """The job that is being worked on."""
        return self._running

    def wait(self, job: Job[Request, Result]) -> Status[Result]:
        """Block until a job has ended."""
        with self._changed:
            self._changed.wait_for(lambda: job.ended)
        return job.status

    async def changes(self, every: float) -> AsyncIterator[None]:
        """Yields at once, after each change of any job (several may be one), and at least `every` seconds."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody follows any more
                loop.call_soon_threadsafe(changed.set)

        with self._changed:
            self._watchers.add(wake)
        try:
            while True:
                changed.clear()
                yield
                if not self._following:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await changed.wait()
        finally:
            with self._changed:
                self._watchers.discard(wake)

    async def ended(self, job: Job[Request, Result]) -> Status[Result]:
        """The status of a job when it has ended."""
        async for _ in self.changes(every=60):
            if job.ended:
                break
        return job.status

    def _loop(self) -> None:
        while True:
            with self._changed:
                timeout = self._idle_seconds or None
                if not self._changed.wait_for(lambda: self._waiting or self._stopping, timeout):
                    idle = True
                elif self._stopping:
                    return
                else:
                    idle = False
                    job = self._waiting.popleft()
                    self._running = job
                    self._set(job, state="running")
            if idle:
                self._idle()
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._stopping)
                continue
            self._wake()
            self._run(job)
            self._wake()

    def _run(self, job: Job[Request, Result]) -> None:
        run = self._estimate.begin()

        def progress(stage: str, done: int, total: int) -> None:
            if job.cancel_asked:
                raise Cancelled
            with self._changed:
                self._set(job, progress=run.at(stage, done, total))
            self._wake()

        state: State = "failed"
        result: Result | None = None
        error: str | None = None
        try:
            if job.cancel_asked:
                raise Cancelled
            result = self._work(job, progress)
            run.end()
            state = "done"
        except Cancelled:
            state = "cancelled"
        except Sa3Error as problem:
            error = str(problem)
        # Whatever a library throws, a Rust panic too, the worker goes on with the next.
        except BaseException as problem:
            _log.exception("a generation failed")
            error = f"{type(problem).__name__}: {problem} (a fault of sa3-edge; the server's log shows where)"
        with self._changed:
            self._running = None
            self._set(job, state=state, result=result, error=error)
            self._changed.notify_all()

    def _set(self, job: Job[Request, Result], **changes: object) -> None:
        """Replace a job's status; the lock is held."""
        self._revision += 1
        job.status = replace(job.status, **changes, revision=self._revision)  # type: ignore[arg-type]

    def _wake(self) -> None:
        with self._changed:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher()

    def _forget(self) -> None:
        ended = [job_id for job_id, job in self._jobs.items() if job.ended]
        for job_id in ended[: max(0, len(ended) - _REMEMBERED)]:
            del self._jobs[job_id]
