"""Outside consumers on a server: no lock shows that they live, their beats do; a daemon and other queues watch them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import NullPool, create_engine, text

from jobwarden.client import Client, JobQueue
from jobwarden.errors import NotHeldError, StoreUnavailableError
from jobwarden.jobs import JobStatus, Outcome
from jobwarden.store import open_store
from tests.support.daemon import clean_environment
from tests.support.postgresql import server
from tests.support.proxy import Proxy
from tests.support.waiting import LIMIT_SECONDS, eventually

LEASE_SECONDS = 1.0

CONSUMER = """
import sys
from jobwarden.client import JobQueue
jobs = JobQueue(sys.argv[1], lease_seconds=1)
print(jobs.dequeue().id, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def url() -> str:
    """A database on a PostgreSQL server."""
    made = server().new_database()
    open_store(made, migrate=True).close()
    return made


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


def beat_of(client: Client) -> int:
    """Of the only node."""
    (node,) = client.store.nodes()
    return node.beat


def test_a_consumer_that_lives_keeps_its_job_for_longer_than_its_lease(client: Client, url: str) -> None:
    """It renews beside its work, and another one that watches it does not take it for dead."""
    job_id = client.add_job("mail")
    with JobQueue(client, lease_seconds=LEASE_SECONDS) as jobs, Client(url) as other:
        assert jobs.dequeue() is not None
        begun = beat_of(client)
        with JobQueue(other, lease_seconds=LEASE_SECONDS) as watching:
            assert watching.dequeue() is None
            eventually(lambda: max(node.beat for node in client.store.nodes()) > begun + 12, what="two leases of beats")
            assert watching.dequeue() is None
            jobs.complete(str(job_id))
    assert [each.outcome for each in client.get_job_attempts(job_id)] == [Outcome.SUCCEEDED]
    assert client.store.nodes() == []


def test_work_that_waits_for_a_lock_does_not_cost_the_lease(client: Client, url: str) -> None:
    """P2: while one thread's `complete` waits for a row that somebody has locked, the consumer goes on renewing."""
    job_id = client.add_job("mail")
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with JobQueue(client, lease_seconds=LEASE_SECONDS) as jobs, ThreadPoolExecutor(1) as other:
        assert jobs.dequeue() is not None
        with engine.connect() as application:
            application.execute(text("SELECT FROM job WHERE id = :id FOR UPDATE"), {"id": job_id})
            ended = other.submit(jobs.complete, str(job_id))
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            eventually(lambda: application.execute(waiting).scalar(), what="the end waits for the row")
            begun = beat_of(client)
            eventually(lambda: beat_of(client) > begun + 2, what="it has renewed again and again")
            assert not ended.done()
        ended.result(LIMIT_SECONDS)
    assert [each.outcome for each in client.get_job_attempts(job_id)] == [Outcome.SUCCEEDED]


def test_a_dead_consumers_job_is_freed_by_its_lease(client: Client, url: str) -> None:
    """Another queue sees its beat stand still for its whole lease, though nothing is asked of that queue."""
    job_id = client.add_job("mail")
    consumer = subprocess.Popen(
        [sys.executable, "-c", CONSUMER, url],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with consumer, JobQueue(client, lease_seconds=LEASE_SECONDS) as jobs:
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == f"{job_id}\n"
        assert jobs.dequeue() is None
        consumer.kill()
        eventually(lambda: client.count_jobs(status="pending"), what="the dead consumer's job is free")
        message = jobs.dequeue()
        assert message is not None
        assert (message.id, message.attempts) == (str(job_id), 1)
        jobs.complete(message.id)
    assert [each.outcome for each in client.get_job_attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]


def test_a_consumer_that_was_taken_for_dead_is_refused_and_joins_anew(client: Client) -> None:
    """Its beat finds no row: what it held is others', and its next dequeue makes a new node."""
    job_id = client.add_job("mail")
    with JobQueue(client, lease_seconds=LEASE_SECONDS) as jobs:
        assert jobs.dequeue() is not None
        (first,) = client.store.nodes()
        writer = client.store.writer()
        assert writer.free_node(first.node_id, now_us=1, jitter=lambda: 1.0) == 1
        writer.close()
        eventually(lambda: not is_held(jobs, job_id), what="it has heard")
        with pytest.raises(NotHeldError):
            jobs.complete(str(job_id))
        again = jobs.dequeue()
        assert again is not None
        assert again.id == str(job_id)
        (second,) = client.store.nodes()
        assert second.node_id != first.node_id
        jobs.complete(again.id)
    assert client.get_job(job_id).status is JobStatus.COMPLETED  # type: ignore[union-attr]


def test_a_consumer_that_was_taken_for_dead_joins_anew_when_the_store_is_back(client: Client, url: str) -> None:
    """The store is away when it hears of it, or soon after: it needs no store to give up what is gone."""
    job_id = client.add_job("mail")
    found = server()
    proxy = Proxy(str(found.socket_dir / f".s.PGSQL.{found.port}"))
    with proxy, JobQueue(proxy.url(url), lease_seconds=LEASE_SECONDS) as jobs:
        assert jobs.dequeue() is not None
        (first,) = client.store.nodes()
        writer = client.store.writer()
        assert writer.free_node(first.node_id, now_us=1, jitter=lambda: 1.0) == 1
        writer.close()
        eventually(lambda: not is_held(jobs, job_id), what="it has heard")
        proxy.refuse()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                jobs.dequeue()
        proxy.resume()
        again = jobs.dequeue()
        assert again is not None
        jobs.complete(again.id)


def is_held(jobs: JobQueue, job_id: int) -> bool:
    """Whether the queue still believes so, without asking the store about the job."""
    try:
        jobs.cancelled(str(job_id))
    except NotHeldError:
        return False
    return True
