"""What an application sees of `Client`, on a real SQLite file; a daemon is played where one is needed."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from jobwarden.client import AsyncClient, Client
from jobwarden.errors import (
    InvalidJobError,
    InvalidSettingsError,
    JobStateError,
    StoreUnavailableError,
    UnknownJobError,
)
from jobwarden.jobs import JobOptions, JobStatus
from tests.support.played_node import PlayedNode


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
def node(client: Client, url: str) -> Iterator[PlayedNode]:
    client.get_job(1)
    with PlayedNode(url) as played:
        yield played


def test_an_added_job_is_recorded_with_all_that_was_said_of_it(client: Client) -> None:
    """Each option of `add_job` is found in the record; the id is an integer."""
    run_at = datetime(2030, 1, 31, 8, tzinfo=UTC)
    job_id = client.add_job(
        "digest",
        {"path": "a"},
        priority=10,
        run_at=run_at,
        timeout_ms=5_000,
        force_kill_on_timeout=True,
        max_attempts=7,
        retry_delay=1.5,
        retry_backoff=False,
        retry_delay_max=9.0,
        tags=["b", "a"],
        idempotency_key="k1",
        metadata={"team": [1]},
    )
    record = client.get_job(job_id)
    assert record is not None
    assert record.model_dump(
        include={"id", "job_type", "payload", "priority", "run_at", "timeout_ms", "max_attempts", "metadata"}
    ) == {
        "id": job_id,
        "job_type": "digest",
        "payload": {"path": "a"},
        "priority": 10,
        "run_at": run_at,
        "timeout_ms": 5_000,
        "max_attempts": 7,
        "metadata": {"team": [1]},
    }
    assert (record.force_kill_on_timeout, record.retry_delay, record.retry_backoff) == (True, 1.5, False)
    assert (record.retry_delay_max, record.tags, record.idempotency_key) == (9.0, ["b", "a"], "k1")
    assert record.status is JobStatus.PENDING


def test_many_jobs_are_added_in_order(client: Client) -> None:
    """`add_jobs` returns the ids in the order of the jobs, and an empty list adds nothing."""
    ids = client.add_jobs([JobOptions(job_type="digest", payload=number) for number in range(50)])
    assert [record.payload if (record := client.get_job(each)) else None for each in ids] == list(range(50))
    assert client.add_jobs([]) == []


def test_many_jobs_are_added_all_or_none(client: Client) -> None:
    """One job that cannot be stored keeps the whole bulk out."""
    good, bad = JobOptions(job_type="digest"), JobOptions(job_type="digest", payload="\0")
    with pytest.raises(InvalidJobError):
        client.add_jobs([good, bad])
    assert client.get_jobs() == []


def test_a_second_job_with_the_same_key_is_the_first_one(client: Client) -> None:
    """After a lost answer one adds again with the same idempotency key; the first id comes back."""
    first = client.add_job("digest", 1, idempotency_key="k")
    assert client.add_job("digest", 2, idempotency_key="k") == first
    assert len(client.get_jobs()) == 1


def test_a_job_belongs_to_the_callers_transaction(client: Client, url: str) -> None:
    """With `connection` a job is committed or rolled back together with the caller's own rows."""
    engine = create_engine(url)
    client.get_job(1)
    with engine.begin() as connection:
        kept = client.add_job("digest", connection=connection)
        assert client.get_job(kept) is None
    with engine.connect() as connection:
        lost = client.add_job("digest", connection=connection)
        connection.rollback()
    engine.dispose()
    assert client.get_job(kept) is not None
    assert [record.id for record in client.get_jobs()] == [kept]
    assert lost != kept or client.get_job(lost) is not None


def test_the_first_use_inside_a_writing_transaction_names_the_way_out(tmp_path: Path) -> None:
    """On a new SQLite file the client waits for the caller himself; trying again would never help."""
    url = f"sqlite:///{tmp_path}/new.db"
    engine = create_engine(url)
    with engine.connect() as connection, Client(url) as client:
        connection.exec_driver_sql("CREATE TABLE own (id INTEGER)")
        connection.exec_driver_sql("INSERT INTO own VALUES (1)")
        with pytest.raises(StoreUnavailableError, match="before that transaction begins"):
            client.add_job("digest", connection=connection)
    engine.dispose()


def test_a_connection_to_another_database_is_refused(client: Client, tmp_path: Path) -> None:
    """A job that the daemon of this database never sees must not look as if it was added."""
    other = f"sqlite:///{tmp_path}/other.db"
    with Client(other) as stranger:
        stranger.add_job("digest")
    with create_engine(other).begin() as connection, pytest.raises(InvalidJobError, match="connection: leads to"):
        client.add_job("digest", connection=connection)


def test_daemons_are_rung_when_a_job_is_committed(client: Client) -> None:
    """After `add_job` a listening daemon finds a ring."""
    bell = client.store.bell
    assert bell is not None
    ear = bell.listen("node")
    client.add_job("digest")
    assert ear.recv(64)
    bell.leave(ear)


def test_daemons_are_rung_after_the_callers_commit_and_not_before(client: Client, url: str) -> None:
    """A ring before the commit would make them look too early, and nothing would ring again."""
    bell = client.store.bell
    assert bell is not None
    ear = bell.listen("node")
    engine = create_engine(url)
    with engine.begin() as connection:
        client.add_jobs([JobOptions(job_type="digest"), JobOptions(job_type="digest")], connection=connection)
        with pytest.raises(BlockingIOError):
            ear.recv(64)
    assert ear.recv(64)
    with pytest.raises(BlockingIOError):
        ear.recv(64)
    bell.leave(ear)
    engine.dispose()


def test_jobs_are_found_by_status_type_and_tags(client: Client, node: PlayedNode) -> None:
    """Filters add up, several tags mean all of them, the newest comes first, limit and offset cut pages."""
    first = client.add_job("digest", tags=["a"])
    second = client.add_job("digest", tags=["a", "b"])
    third = client.add_job("report", tags=["b"])
    node.complete(node.take_one())
    assert [job.id for job in client.get_jobs()] == [third, second, first]
    assert [job.id for job in client.get_jobs(limit=1, offset=1)] == [second]
    assert [job.id for job in client.get_jobs(status="completed")] == [first]
    assert [job.id for job in client.get_jobs(status=JobStatus.PENDING, job_type="digest")] == [second]
    assert [job.id for job in client.get_jobs(tags=["a", "b"])] == [second]
    assert client.get_jobs(tags=["a"], job_type="report") == []


def test_a_failed_job_that_will_run_again_is_found_as_retrying(client: Client, node: PlayedNode) -> None:
    """Such a job has the status failed; "retrying" finds it apart from those that failed for good."""
    retrying, lost = client.add_job("digest"), client.add_job("digest")
    for job in node.take(limit=2):
        node.fail(job, error="no", permanent=job.id == lost)
    assert [job.id for job in client.get_jobs(status="retrying")] == [retrying]
    assert [job.id for job in client.get_jobs(status="failed")] == [lost, retrying]


def test_events_and_attempts_tell_what_happened(client: Client, node: PlayedNode) -> None:
    """Each transition is an event, each ended attempt is there with its outcome."""
    job_id = client.add_job("digest")
    node.complete(node.take_one(), output="1")
    assert [event.type for event in client.get_job_events(job_id)] == ["added", "processing", "completed"]
    assert [attempt.outcome for attempt in client.get_job_attempts(job_id)] == ["succeeded"]
    assert client.get_job_events(job_id + 1) == []


def test_a_job_that_waits_is_cancelled_at_once(client: Client) -> None:
    """Its record says cancelled when the call returns, and the event keeps the reason."""
    job_id = client.add_job("digest")
    assert client.cancel_job(job_id, reason="not needed").status is JobStatus.CANCELLED
    assert client.get_job_events(job_id)[-1].metadata == {"reason": "not needed"}


def test_a_running_job_is_only_asked_to_stop(client: Client, node: PlayedNode) -> None:
    """Its owner has to kill it first: the job stays processing until that is done."""
    job_id = client.add_job("digest")
    node.take_one()
    assert client.cancel_job(job_id).status is JobStatus.PROCESSING
    assert node.obey_wishes() == 1
    assert client.wait(job_id, 30).status is JobStatus.CANCELLED


def test_cancelling_can_wait_for_the_death_of_a_running_job(client: Client, node: PlayedNode) -> None:
    """With `wait_seconds` the call returns when the owner has ended the job."""
    job_id = client.add_job("digest")
    node.take_one()
    bell = client.store.bell
    assert bell is not None
    ear = bell.listen("node")
    ear.settimeout(30)
    with ThreadPoolExecutor(1) as pool:
        cancelled = pool.submit(client.cancel_job, job_id, wait_seconds=30)
        ear.recv(64)
        node.obey_wishes()
        assert cancelled.result(30).status is JobStatus.CANCELLED
    bell.leave(ear)


def test_an_ended_job_cannot_be_cancelled(client: Client, node: PlayedNode) -> None:
    """The error names the state that forbids it."""
    job_id = client.add_job("digest")
    node.complete(node.take_one())
    with pytest.raises(JobStateError, match="is completed, so it cannot be cancelled"):
        client.cancel_job(job_id)


def test_a_failed_job_runs_again_after_retry(client: Client, node: PlayedNode) -> None:
    """`retry_job` makes it pending and ready, and rings the daemons."""
    job_id = client.add_job("digest")
    node.fail(node.take_one(), error="no", permanent=True)
    assert client.retry_job(job_id).status is JobStatus.PENDING
    assert node.take_one().id == job_id
    with pytest.raises(JobStateError, match="is processing, so it cannot be retried"):
        client.retry_job(job_id)


def test_what_is_not_there_is_named(client: Client) -> None:
    """Asking is answered with None; changing or waiting raises UnknownJobError."""
    assert client.get_job(7) is None
    for verb in (client.cancel_job, client.retry_job, client.wait):
        with pytest.raises(UnknownJobError, match="there is no job 7"):
            verb(7)


def test_one_client_serves_many_threads(client: Client) -> None:
    """Threads share a client: every add succeeds and no id is given twice."""
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: client.add_job("digest", number), range(200)))
    assert len(set(ids)) == 200


def test_a_closed_client_opens_again(client: Client) -> None:
    """`close` gives the connections back; the next call takes new ones."""
    job_id = client.add_job("digest")
    client.close()
    client.close()
    assert client.get_job(job_id) is not None


def test_a_closed_asynchronous_client_opens_again(url: str) -> None:
    """As the blocking one: closing twice is no error, and the next call opens it."""

    async def use_twice() -> bool:
        async with AsyncClient(url) as client:
            job_id = await client.add_job("digest")
            await client.close()
            found = await client.get_job(job_id)
        return found is not None

    assert asyncio.run(use_twice())


def test_the_environment_names_the_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a URL JOBWARDEN_DATABASE_URL is used; without both the error says what to do."""
    monkeypatch.setenv("JOBWARDEN_DATABASE_URL", url)
    with Client() as named:
        job_id = named.add_job("digest")
    with Client(url) as other:
        assert other.get_job(job_id) is not None
    monkeypatch.delenv("JOBWARDEN_DATABASE_URL")
    with pytest.raises(InvalidSettingsError, match="set JOBWARDEN_DATABASE_URL"):
        Client()


FORKS = """
import os, sys, warnings
from jobwarden.client import Client
client = Client(sys.argv[1])
mine = client.add_job("digest", "parent, before")
store = client.store
child = os.fork()
if child == 0:
    client.add_job("digest", "child")
    fresh = client.store is not store
    client.close()
    os._exit(0 if fresh else 3)
_, status = os.waitpid(child, 0)
same = client.store is store
client.add_job("digest", "parent, after")
sys.exit(os.waitstatus_to_exitcode(status) or (0 if same else 4))
"""


def test_a_fork_does_not_use_its_parents_connection(client: Client, url: str) -> None:
    """SQLite connections must not cross a fork: the child opens its own, the parent keeps its own."""
    subprocess.run([sys.executable, "-c", FORKS, url], check=True, timeout=60)
    payloads = [record.payload for record in client.get_jobs()]
    assert payloads == ["parent, after", "child", "parent, before"]


LOCKED_FORKS = """
import os, signal, sys
from jobwarden.client import Client
client = Client(sys.argv[1])
client.store
client._own_lock().acquire()
child = os.fork()
if child == 0:
    signal.alarm(20)
    client.get_job(1)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_does_not_wait_for_a_thread_that_is_not_there(client: Client, url: str) -> None:
    """Another thread of the parent may have been opening the store when the fork came."""
    client.get_job(1)
    subprocess.run([sys.executable, "-c", LOCKED_FORKS, url], check=True, timeout=60)


ASYNCHRONOUS_FORKS = """
import asyncio, os, signal, sys
from jobwarden.client import AsyncClient
client = AsyncClient(sys.argv[1])
asyncio.run(client.add_job("digest", "parent"))
child = os.fork()
if child == 0:
    signal.alarm(20)
    asyncio.run(client.add_job("digest", "child"))
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_an_asynchronous_client_works_after_a_fork(client: Client, url: str) -> None:
    """Its thread stays with the parent; the child takes one of its own and does not wait for ever."""
    subprocess.run([sys.executable, "-c", ASYNCHRONOUS_FORKS, url], check=True, timeout=60)
    assert [record.payload for record in client.get_jobs()] == ["child", "parent"]


def test_the_asynchronous_client_has_the_same_verbs() -> None:
    """Every verb of `Client` is a coroutine of `AsyncClient` with the same arguments, except `connection`."""
    verbs = {name for name, each in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"} - INNER
    assert len(verbs) > 30
    for name in verbs - {"events"}:
        wanted = dict(inspect.signature(getattr(Client, name)).parameters)
        wanted.pop("connection", None)
        assert inspect.iscoroutinefunction(getattr(AsyncClient, name)), name
        assert dict(inspect.signature(getattr(AsyncClient, name)).parameters) == wanted, name
    assert inspect.isasyncgenfunction(AsyncClient.events)
    assert list(inspect.signature(AsyncClient.events).parameters) == list(inspect.signature(Client.events).parameters)


INNER = {"track", "report", "add_at"}
"""Methods of `Client` that only its own room uses."""
