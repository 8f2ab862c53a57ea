"""The queue: order, cancelling, failing, followers, and an estimate of what is left."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from sa3_edge.errors import Sa3Error
from sa3_edge.serve.jobs import Job, JobQueue, QueueFullError
from sa3_edge.serve.progress import Estimate

Steps = Callable[[str, int, int], None]


class Gate:
    """Work that says when it is at a step, and waits there until it is let through."""

    def __init__(self) -> None:
        self.at, self.open = threading.Semaphore(0), threading.Semaphore(0)
        self.order: list[str] = []

    def work(self, job: Job[str, str], progress: Steps) -> str:
        self.order.append(job.request)
        if job.request == "broken":
            raise Sa3Error("it broke")
        if job.request == "panic":
            raise BaseException("a panic of another language")
        for step in range(3):
            self.at.release()
            self.open.acquire()
            progress("denoise", step, 3)
        return job.request.upper()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def queue(gate: Gate) -> Iterator[JobQueue[str, str]]:
    queue = JobQueue(gate.work, length=2)
    queue.start()
    yield queue
    gate.open.release(100)
    queue.stop()


def test_jobs_run_in_order_and_give_their_results(queue: JobQueue[str, str], gate: Gate) -> None:
    jobs = [Job[str, str](name, name) for name in "abc"]
    for job in jobs:
        queue.submit(job)
    gate.open.release(9)
    assert [queue.wait(job).result for job in jobs] == ["A", "B", "C"]
    assert gate.order == ["a", "b", "c"]


def test_as_many_wait_as_was_said_and_one_more_is_refused(queue: JobQueue[str, str], gate: Gate) -> None:
    queue.submit(Job("a", "a"))
    gate.at.acquire()  # it runs
    waiting = [Job[str, str](name, name) for name in "bc"]
    for job in waiting:
        queue.submit(job)
    assert [queue.ahead(job) for job in waiting] == [1, 2]
    with pytest.raises(QueueFullError, match="2 generations wait already"):
        queue.submit(Job("d", "d"))


def test_a_waiting_job_is_cancelled_at_once_and_never_runs(queue: JobQueue[str, str], gate: Gate) -> None:
    queue.submit(Job("a", "a"))
    gate.at.acquire()
    waiting = Job[str, str]("b", "b")
    queue.submit(waiting)
    assert queue.cancel(waiting)
    assert waiting.status.state == "cancelled"
    gate.open.release(3)
    last = Job[str, str]("c", "c")
    queue.submit(last)
    gate.open.release(3)
    queue.wait(last)
    assert gate.order == ["a", "c"]
    assert not queue.cancel(last)


def test_a_running_job_is_cancelled_at_its_next_step(queue: JobQueue[str, str], gate: Gate) -> None:
    job = Job[str, str]("a", "a")
    queue.submit(job)
    gate.at.acquire()
    queue.cancel(job)
    gate.open.release()
    assert queue.wait(job).state == "cancelled"
    assert not gate.at.acquire(blocking=False)  # it took no second step


@pytest.mark.parametrize("name", ["broken", "panic"])
def test_a_job_that_fails_says_why_and_the_next_one_runs(
    queue: JobQueue[str, str], gate: Gate, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    failing, next_one = Job[str, str]("f", name), Job[str, str]("n", "next")
    queue.submit(failing)
    queue.submit(next_one)
    gate.open.release(3)
    status = queue.wait(failing)
    assert status.state == "failed"
    assert status.error
    assert ("it broke" in status.error) == (name == "broken")
    assert queue.wait(next_one).result == "NEXT"


def test_followers_see_the_end_however_slow_they_are(queue: JobQueue[str, str], gate: Gate) -> None:
    async def follow() -> list[str]:
        job = Job[str, str]("a", "a")
        seen: list[str] = []
        queue.submit(job)
        gate.open.release(3)
        async for _ in queue.changes(every=60):
            await asyncio.sleep(0.05)
            seen.append(job.status.state)
            if job.ended:
                return seen
        return seen

    assert asyncio.run(follow())[-1] == "done"


def test_stopping_cancels_everything_and_lets_followers_go(gate: Gate) -> None:
    queue = JobQueue(gate.work, length=2)
    queue.start()
    jobs = [Job[str, str](name, name) for name in "ab"]
    for job in jobs:
        queue.submit(job)
    gate.at.acquire()

    async def follow() -> None:
        async for _ in queue.changes(every=60):
            pass

    follower = threading.Thread(target=asyncio.run, args=(follow(),))
    follower.start()
    threading.Timer(0.05, gate.open.release, args=(10,)).start()
    queue.stop()
    follower.join(30)
    assert not follower.is_alive()
    assert [job.status.state for job in jobs] == ["cancelled", "cancelled"]
    with pytest.raises(QueueFullError, match="being stopped"):
        queue.submit(Job("c", "c"))


def test_idle_is_called_once_after_the_last_job() -> None:
    idle = threading.Semaphore(0)
    queue: JobQueue[str, str] = JobQueue(
        lambda job, progress: job.request, length=2, idle=idle.release, idle_seconds=0.02
    )
    queue.start()
    assert idle.acquire(timeout=30)
    queue.wait(_submitted(queue, "a"))
    assert idle.acquire(timeout=30)
    assert not idle.acquire(timeout=0.2)
    queue.stop()


def _submitted(queue: JobQueue[str, str], name: str) -> Job[str, str]:
    job = Job[str, str](name, name)
    queue.submit(job)
    return job


def test_the_fraction_grows_over_all_stages_and_the_time_left_is_learned() -> None:
    now = 0.0
    estimate = Estimate(clock=lambda: now)
    run = estimate.begin()
    stages = [("text", 1, 1), ("condition", 1, 1), *(("denoise", step, 4) for step in range(5)), ("decode", 0, 1)]
    fractions = []
    for stage, done, total in stages:
        now += 1
        fractions.append(run.at(stage, done, total).fraction)
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1
    now += 1
    run.end()
    # The same again: at the second of four denoising steps the machine's own shares tell what is left.
    begin, run = now, estimate.begin()
    for stage, done, total in stages[:5]:
        now += 1
        progress = run.at(stage, done, total)
    assert progress.seconds_left == pytest.approx(len(stages) + 1 - (now - begin), abs=2)
