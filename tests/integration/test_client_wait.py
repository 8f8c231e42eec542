"""Waiting for the end of a job: woken by the doorbell, found without it, given up in time; also in asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from jobwarden.client import AsyncClient, Client, waiting
from jobwarden.errors import InvalidJobError, JobStateError, UnknownJobError, WaitTimeoutError
from jobwarden.jobs import JobOptions, JobRecord, JobStatus
from jobwarden.store.store import Store
from tests.support.played_node import PlayedNode

LIMIT_SECONDS = 30


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
def node(url: str) -> Iterator[PlayedNode]:
    with PlayedNode(url) as played:
        yield played


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set each time when somebody has looked and found the job still going: then he listens."""
    event, original = threading.Event(), waiting.look

    def look(store: Store, job_id: int) -> bool:
        ended = original(store, job_id)
        if not ended:
            event.set()
        return ended

    monkeypatch.setattr(waiting, "look", look)
    return event


@pytest.fixture
def _only_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the slow look a waiter that is not rung waits for ever."""
    monkeypatch.setattr(waiting, "SAFETY_LOOK_SECONDS", 3_600.0)


@pytest.mark.usefixtures("_only_woken")
def test_the_end_of_a_job_wakes_its_waiter(
    client: Client, node: PlayedNode, pool: ThreadPoolExecutor, looked: threading.Event
) -> None:
    """The daemon's ring ends the waiting, not a look by the clock."""
    job_id = client.add_job("digest")
    job = node.take_one()
    waiter: Future[JobRecord] = pool.submit(client.wait, job_id, LIMIT_SECONDS)
    assert looked.wait(LIMIT_SECONDS)
    node.complete(job, output='{"size": 1}')
    record = waiter.result(LIMIT_SECONDS)
    assert (record.status, record.output) == (JobStatus.COMPLETED, {"size": 1})


@pytest.mark.usefixtures("_only_woken")
def test_a_ring_about_another_job_does_not_end_the_waiting(
    client: Client, node: PlayedNode, pool: ThreadPoolExecutor, looked: threading.Event
) -> None:
    """A ring carries no meaning: the waiter looks, and listens again."""
    other, mine = client.add_jobs([JobOptions(job_type="digest"), JobOptions(job_type="digest")])
    first, second = node.take(limit=2)
    assert (first.id, second.id) == (other, mine)
    waiter = pool.submit(client.wait, mine, LIMIT_SECONDS)
    assert looked.wait(LIMIT_SECONDS)
    looked.clear()
    node.complete(first)
    assert looked.wait(LIMIT_SECONDS)
    assert not waiter.done()
    node.complete(second)
    assert waiter.result(LIMIT_SECONDS).id == mine


@pytest.mark.usefixtures("_only_woken")
def test_cancelling_a_job_that_waits_for_its_turn_wakes_its_waiter(
    client: Client, pool: ThreadPoolExecutor, looked: threading.Event
) -> None:
    """No daemon takes part in such a cancel, so the client itself rings the waiters."""
    job_id = client.add_job("digest")
    waiter = pool.submit(client.wait, job_id, LIMIT_SECONDS)
    assert looked.wait(LIMIT_SECONDS)
    client.cancel_job(job_id)
    assert waiter.result(LIMIT_SECONDS).status is JobStatus.CANCELLED


def test_a_lost_ring_delays_the_waiter_a_little(
    client: Client, node: PlayedNode, pool: ThreadPoolExecutor, looked: threading.Event
) -> None:
    """The slow look finds the end of a job that nobody rang about."""
    job_id = client.add_job("digest")
    job = node.take_one()
    waiter = pool.submit(client.wait, job_id, LIMIT_SECONDS)
    assert looked.wait(LIMIT_SECONDS)
    node.complete(job, ring=False)
    assert waiter.result(LIMIT_SECONDS).ended


def test_a_failure_that_will_be_retried_is_no_end(client: Client, node: PlayedNode) -> None:
    """`wait` goes on over retries: only a failure for good is an end."""
    job_id = client.add_job("digest")
    node.fail(node.take_one(), error="not yet")
    with pytest.raises(WaitTimeoutError):
        client.wait(job_id, 0)
    client.retry_job(job_id)
    node.fail(node.take_one(), error="never", permanent=True)
    assert client.wait(job_id, LIMIT_SECONDS).status is JobStatus.FAILED


def test_a_job_that_is_retried_as_it_ends_is_waited_for(
    client: Client, node: PlayedNode, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the cheap look and the reading of the record somebody may retry the job: it has not ended then."""
    job_id = client.add_job("digest")
    node.fail(node.take_one(), error="no", permanent=True)
    original, retried = waiting.look, threading.Event()

    def look(store: Store, job_id: int) -> bool:
        ended = original(store, job_id)
        if ended and not retried.is_set():
            client.retry_job(job_id)
            retried.set()
        return ended

    monkeypatch.setattr(waiting, "look", look)
    waiter = pool.submit(client.wait, job_id, LIMIT_SECONDS)
    assert retried.wait(LIMIT_SECONDS)
    node.complete(node.take_one(), output="1")
    assert waiter.result(LIMIT_SECONDS).status is JobStatus.COMPLETED


def test_a_job_that_is_removed_while_somebody_waits_is_unknown(
    client: Client, pool: ThreadPoolExecutor, looked: threading.Event
) -> None:
    """The waiter is told, and does not wait for ever."""
    job_id = client.add_job("digest")
    waiter = pool.submit(client.wait, job_id, LIMIT_SECONDS)
    assert looked.wait(LIMIT_SECONDS)
    client.remove_job(job_id)
    with pytest.raises(UnknownJobError):
        waiter.result(LIMIT_SECONDS)


def test_waiting_ends_when_the_time_is_over(client: Client) -> None:
    """The error is also a TimeoutError, and says that the job goes on."""
    job_id = client.add_job("digest")
    with pytest.raises(TimeoutError, match=f"job {job_id} has not ended within 0.01 s; it goes on"):
        client.wait(job_id, timeout=0.01)
    record = client.get_job(job_id)
    assert record is not None
    assert record.status is JobStatus.PENDING


def test_a_waiter_leaves_nothing_behind(client: Client, tmp_path: Path) -> None:
    """The socket file of a waiter is gone when it has finished, also after a timeout."""
    job_id = client.add_job("digest")
    with pytest.raises(WaitTimeoutError):
        client.wait(job_id, 0)
    client.cancel_job(job_id)
    client.wait(job_id)
    assert list((tmp_path / "jobs.db.doorbell").iterdir()) == []


def test_a_doorbell_that_one_may_not_use_makes_waiting_slow_and_nothing_worse(client: Client, tmp_path: Path) -> None:
    """Where no socket can be made (here a file is in the way) the slow look remains."""
    job_id = client.add_job("digest")
    (tmp_path / "jobs.db.doorbell").write_text("in the way", encoding="utf-8")
    client.cancel_job(job_id)
    assert client.wait(job_id, LIMIT_SECONDS).status is JobStatus.CANCELLED


def test_the_asynchronous_verbs_do_what_their_models_do(url: str, node: PlayedNode) -> None:
    """One pass over all verbs of `AsyncClient`."""

    async def use() -> None:
        async with AsyncClient(url) as client:
            first = await client.add_job("digest", {"n": 1}, tags=["x"])
            (second,) = await client.add_jobs([JobOptions(job_type="digest")])
            found = await client.get_job(first)
            assert found is not None
            assert found.payload == {"n": 1}
            assert [job.id for job in await client.get_jobs(tags=["x"])] == [first]
            assert (await client.cancel_job(second, reason="no")).status is JobStatus.CANCELLED
            assert (await client.retry_job(second)).status is JobStatus.PENDING
            node.fail(node.take_one(), error="no", permanent=True)
            assert [each.outcome for each in await client.get_job_attempts(first)] == ["failed"]
            assert (await client.get_job_events(first))[-1].type == "failed"
            assert (await client.wait(first)).status is JobStatus.FAILED
            with pytest.raises(JobStateError):
                await client.cancel_job(first)
            with pytest.raises(UnknownJobError):
                await client.wait(99)
            with pytest.raises(WaitTimeoutError):
                await client.wait(second, 0.01)
            with pytest.raises(InvalidJobError):
                await client.cancel_job(second, wait_seconds=-1)
            node.take_one()
            with pytest.raises(WaitTimeoutError):
                await client.cancel_job(second, wait_seconds=0.01)

    asyncio.run(use())


@pytest.mark.usefixtures("_only_woken")
def test_many_jobs_can_be_waited_for_at_once(url: str, node: PlayedNode, looked: threading.Event) -> None:
    """Waiting takes no thread: 50 coroutines wait on one loop, and rings wake them."""

    async def use() -> None:
        async with AsyncClient(url) as client:
            ids = await client.add_jobs([JobOptions(job_type="digest")] * 50)
            waiters = [asyncio.create_task(client.wait(job_id, LIMIT_SECONDS)) for job_id in ids]
            await asyncio.to_thread(looked.wait, LIMIT_SECONDS)
            for job in node.take(limit=50):
                node.complete(job)
            records = await asyncio.gather(*waiters)
            assert [record.id for record in records] == ids
            assert all(record.ended for record in records)

    asyncio.run(use())


def test_an_abandoned_waiter_leaves_nothing_behind(url: str, tmp_path: Path) -> None:
    """Cancelling the coroutine that waits removes its socket file."""

    async def use() -> None:
        async with AsyncClient(url) as client:
            job_id = await client.add_job("digest")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.wait(job_id), 0.05)

    asyncio.run(use())
    assert list((tmp_path / "jobs.db.doorbell").iterdir()) == []


def test_a_ring_is_taken_off_the_socket(client: Client) -> None:
    """A ring that stayed there would keep its waiter looking without a pause."""
    bell = client.store.bell
    assert bell is not None
    ear = bell.listen("wait")
    bell.ring_waiters()
    waiting.listen(ear, seconds=LIMIT_SECONDS)
    with pytest.raises(BlockingIOError):
        ear.recv(64)
    bell.leave(ear)
