"""`JobQueue` on a real SQLite file: a producer and an outside consumer with this interface alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobwarden.client import Client, JobQueue, MessageJob
from jobwarden.client.holder import Holder
from jobwarden.errors import (
    CommitUnknownError,
    InvalidJobError,
    JobStateError,
    NotHeldError,
    StoreUnavailableError,
    UnknownJobError,
)
from jobwarden.jobs import JobStatus
from jobwarden.store.writer import Writer
from tests.support.played_node import PlayedNode
from tests.support.waiting import eventually


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
def jobs(client: Client) -> Iterator[JobQueue]:
    with JobQueue(client) as opened:
        yield opened


def taken(jobs: JobQueue, *types: str) -> MessageJob:
    """The next job, which must be there."""
    message = jobs.dequeue(types or None)
    assert message is not None
    return message


def test_a_job_goes_through_the_queue(jobs: JobQueue, client: Client) -> None:
    """Enqueued with all options, peeked at, dequeued, completed with a result."""
    job_id = jobs.enqueue("mail", {"to": "a"}, priority=5, max_attempts=7, metadata={"m": 1}, idempotency_key="k")
    assert jobs.enqueue("mail", idempotency_key="k") == job_id
    peeked = jobs.peek()
    assert peeked is not None
    assert (peeked.id, peeked.status, jobs.size()) == (job_id, "pending", 1)
    message = taken(jobs)
    assert (message.id, message.type, message.data, message.priority) == (job_id, "mail", {"to": "a"}, 5)
    assert (message.attempts, message.max_attempts, message.metadata) == (1, 7, {"m": 1})
    assert (message.status, jobs.size(), jobs.peek(), jobs.dequeue()) == ("processing", 0, None, None)
    jobs.complete(job_id, {"sent": True})
    done = jobs.get_job(job_id)
    assert done is not None
    assert done.status == "completed"
    record = client.get_job(int(job_id))
    assert record is not None
    assert (record.output, record.status) == ({"sent": True}, JobStatus.COMPLETED)
    assert [each.type for each in client.get_job_events(record.id)] == ["added", "processing", "completed"]


def test_the_most_urgent_of_any_type_comes_first(jobs: JobQueue) -> None:
    """Without types, over all of them: by priority, then by age; with types, only those."""
    low, high, other = jobs.enqueue("a"), jobs.enqueue("b", priority=9), jobs.enqueue("c", priority=1)
    assert [each.id for each in (jobs.peek(), jobs.peek(["a", "c"]), jobs.peek(["a"])) if each] == [high, other, low]
    assert (jobs.size(), jobs.size(["a", "b"]), jobs.size(["none"]), jobs.peek(["none"])) == (3, 2, 0, None)
    assert [taken(jobs, "a", "c").id, taken(jobs).id, taken(jobs).id] == [other, high, low]
    assert jobs.dequeue(["none"]) is None


def test_a_delayed_job_waits_for_its_time(jobs: JobQueue) -> None:
    """`delay` is in milliseconds; a job that has become due is found although nobody has promoted it."""
    job_id = jobs.enqueue("mail", delay=3_600_000)
    message = jobs.get_job(job_id)
    assert message is not None
    assert (message.status, message.delay) == ("delayed", 3_600_000)
    assert message.process_at - message.created_at == timedelta(hours=1)
    assert (jobs.size(), jobs.peek(), jobs.dequeue()) == (0, None, None)
    soon = jobs.enqueue("mail", delay=1)
    found = eventually(jobs.peek, what="the delayed job is due")
    assert (found.id, jobs.size(), taken(jobs).id) == (soon, 1, soon)


def test_what_is_paused_is_not_to_be_had(jobs: JobQueue, client: Client) -> None:
    """Neither by dequeue, nor does it count."""
    jobs.enqueue("mail")
    jobs.enqueue("report")
    client.pause("mail")
    assert (jobs.size(), jobs.size(["mail"]), jobs.peek(["mail"]), jobs.dequeue(["mail"])) == (1, 0, None, None)
    assert taken(jobs).type == "report"
    client.pause()
    assert (jobs.size(), jobs.dequeue()) == (0, None)
    client.resume()
    client.resume("mail")
    assert taken(jobs).type == "mail"


def test_a_failure_follows_the_jobs_own_rules(jobs: JobQueue, client: Client) -> None:
    """Without `retry` the job is tried again as long as attempts are left."""
    job_id = jobs.enqueue("mail", max_attempts=2)
    client.edit_job(int(job_id), retry_delay=0)
    jobs.fail(taken(jobs).id, ValueError("first"))
    jobs.fail(taken(jobs).id, "second")
    message = jobs.get_job(job_id)
    assert message is not None
    assert (message.status, message.attempts, message.error) == ("failed", 2, "second")
    record = client.get_job(int(job_id))
    assert record is not None
    assert [each.message for each in record.error_history] == ["first", "second"]


@pytest.mark.parametrize(
    ("retry", "status"),
    [({"enabled": False}, "failed"), ({"delayMs": 60_000}, "delayed"), ({"enabled": True, "delayMs": 0}, "pending")],
    ids=["not", "later", "at once"],
)
def test_who_fails_a_job_may_say_whether_and_when_to_retry(
    jobs: JobQueue, retry: dict[str, object], status: str
) -> None:
    """`retry` replaces the job's own rules for this one time."""
    job_id = jobs.enqueue("mail")
    jobs.fail(taken(jobs).id, "no", retry=retry)
    message = jobs.get_job(job_id)
    assert message is not None
    assert message.status == status


def test_only_what_is_held_can_be_ended(jobs: JobQueue, client: Client) -> None:
    """Not a job that waits, one that another queue holds, one that was ended, or an unknown one."""
    waiting, mine = jobs.enqueue("a"), jobs.enqueue("b", priority=1)
    with JobQueue(client) as other:
        assert taken(jobs).id == mine
        for end in (other.complete, lambda job_id: other.fail(job_id, "no"), other.cancelled):
            with pytest.raises(NotHeldError, match=f"job {mine} is not held by this queue"):
                end(mine)
        assert taken(other).id == waiting
        with pytest.raises(NotHeldError, match="it was not dequeued here"):
            jobs.complete(waiting)
    jobs.complete(mine)
    with pytest.raises(NotHeldError, match="or has been ended already"):
        jobs.complete(mine)
    with pytest.raises(NotHeldError):
        jobs.fail("99", "no")


def test_a_late_owners_end_is_refused(jobs: JobQueue, url: str, client: Client) -> None:
    """After the node was taken for dead its job belongs to somebody else; the next dequeue makes a new node."""
    job_id = jobs.enqueue("digest")
    taken(jobs)
    bury_all(url)
    with PlayedNode(url) as node:
        job = node.take_one()
        assert str(job.id) == job_id
        with pytest.raises(NotHeldError, match="it was taken away"):
            jobs.complete(job_id, "late")
        node.complete(job, output='"right"')
    record = client.get_job(job.id)
    assert record is not None
    assert record.output == "right"
    again = jobs.enqueue("digest")
    assert taken(jobs).id == again
    jobs.complete(again)


def test_being_taken_for_dead_is_noticed_at_the_next_dequeue(jobs: JobQueue, url: str, tmp_path: Path) -> None:
    """The queue lets go of its old lock, registers anew and takes the job; what it held before is refused."""
    first = jobs.enqueue("digest")
    taken(jobs)
    bury_all(url)
    second = jobs.enqueue("digest", priority=1)
    assert taken(jobs).id == second
    with pytest.raises(NotHeldError):
        jobs.complete(first)
    jobs.complete(second)
    assert taken(jobs).id == first
    assert len(list((tmp_path / "jobs.db.nodes").iterdir())) == 1


def test_closing_gives_back_what_is_held_at_no_cost(client: Client, tmp_path: Path) -> None:
    """No attempt is counted; node row, lock file and thread are gone; the queue can be used again."""
    jobs = JobQueue(client, lease_seconds=3_600)
    before = set(threading.enumerate())
    job_id = jobs.enqueue("mail")
    taken(jobs)
    assert len(client.store.nodes()) == 1
    jobs.close()
    message = jobs.get_job(job_id)
    assert message is not None
    assert (message.status, message.attempts) == ("pending", 0)
    assert client.store.nodes() == []
    assert list((tmp_path / "jobs.db.nodes").iterdir()) == []
    assert taken(jobs).id == job_id
    jobs.close()
    jobs.close()
    assert set(threading.enumerate()) <= before


def test_a_queue_over_a_client_leaves_it_open(client: Client) -> None:
    """Whoever made the client closes it."""
    store = client.store
    with JobQueue(client) as jobs:
        jobs.dequeue()
    assert client.store is store


def test_a_wish_to_cancel_is_seen_and_obeyed_by_a_failure(jobs: JobQueue, client: Client) -> None:
    """Nobody can kill an outside consumer: it is asked; then `fail` cancels, `complete` still completes."""
    for _ in range(3):
        jobs.enqueue("mail")
    first, second, third = taken(jobs), taken(jobs), taken(jobs)
    assert not jobs.cancelled(first.id)
    assert client.cancel_job(int(first.id)).status is JobStatus.PROCESSING
    client.cancel_job(int(second.id))
    assert jobs.cancelled(first.id)
    assert not jobs.cancelled(third.id)
    jobs.fail(first.id, "stopped", retry={"enabled": False})
    jobs.complete(second.id)
    assert [client.store.get(int(each.id)).status for each in (first, second)] == ["cancelled", "completed"]  # type: ignore[union-attr]


def test_jobs_are_removed(jobs: JobQueue) -> None:
    """One by its id, or all; what is being processed stays."""
    held, waiting = jobs.enqueue("a", priority=1), jobs.enqueue("a")
    taken(jobs)
    with pytest.raises(JobStateError):
        jobs.remove(held)
    jobs.remove(waiting)
    with pytest.raises(UnknownJobError):
        jobs.remove(waiting)
    jobs.enqueue("a")
    assert jobs.clear() == 1
    assert jobs.get_job(held) is not None


def test_cleaning_up_takes_only_what_has_ended(jobs: JobQueue, client: Client) -> None:
    """Completed, failed for good and cancelled; never a job that will be retried."""
    done, lost, retrying, cancelled, waiting = (jobs.enqueue("a", priority=-n) for n in range(5))
    jobs.complete(taken(jobs).id)
    jobs.fail(taken(jobs).id, "no", retry={"enabled": False})
    jobs.fail(taken(jobs).id, "not yet")
    client.cancel_job(int(cancelled))
    assert jobs.cleanup_terminal(["completed"]) == 1
    assert jobs.cleanup_terminal(["failed"]) == 2
    assert jobs.cleanup_terminal() == 0
    left = [each for each in (done, lost, retrying, cancelled, waiting) if jobs.get_job(each)]
    assert left == [retrying, waiting]


def test_consumers_share_the_work(url: str) -> None:
    """Several queues and threads at once: each job is dequeued once."""
    with JobQueue(url) as producer:
        added = [producer.enqueue("mail") for _ in range(40)]
    with JobQueue(url) as one, JobQueue(url) as two, ThreadPoolExecutor(4) as pool:
        seen = [job_id for ids in pool.map(drain, (one, one, two, two)) for job_id in ids]
    assert sorted(seen, key=int) == added


def test_a_claim_whose_answer_was_lost_is_given_back(jobs: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row may be ours although we do not know of it: nobody works on it. What is held stays so."""
    held, job_id = jobs.enqueue("mail", priority=1), jobs.enqueue("mail")
    assert taken(jobs).id == held
    original = Writer.transact

    def transact(self: Writer, work: Any) -> Any:
        receipts = original(self, work)
        if receipts.claimed:
            monkeypatch.setattr(Writer, "transact", original)
            raise CommitUnknownError("here")
        return receipts

    monkeypatch.setattr(Writer, "transact", transact)
    with pytest.raises(CommitUnknownError):
        jobs.dequeue()
    message = taken(jobs)
    assert (message.id, message.attempts) == (job_id, 1)
    jobs.complete(held)


def test_a_taken_job_that_could_not_be_shown_is_given_back(jobs: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller has not got its id, so nobody would ever end it; what it has is held on."""
    held, job_id = jobs.enqueue("mail", priority=1), jobs.enqueue("mail")
    taken(jobs)
    with monkeypatch.context() as patched:
        patched.setattr(Client, "get_job", fails)
        with pytest.raises(StoreUnavailableError):
            jobs.dequeue()
    message = taken(jobs)
    assert (message.id, message.attempts) == (job_id, 1)
    jobs.complete(held)


def test_an_end_whose_answer_was_lost_can_be_repeated(jobs: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is still held then; the second call finds that the first one has settled it."""
    job_id = jobs.enqueue("mail")
    taken(jobs)
    original = Writer.transact

    def transact(self: Writer, work: Any) -> Any:
        original(self, work)
        monkeypatch.setattr(Writer, "transact", original)
        raise CommitUnknownError("here")

    monkeypatch.setattr(Writer, "transact", transact)
    with pytest.raises(CommitUnknownError):
        jobs.complete(job_id)
    jobs.complete(job_id)
    message = jobs.get_job(job_id)
    assert message is not None
    assert message.status == "completed"


def test_a_queue_that_cannot_sign_off_is_found_dead(
    client: Client, jobs: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing while the store is away lets go of the lock, so that others free what was held."""
    job_id = jobs.enqueue("mail")
    taken(jobs)
    with monkeypatch.context() as patched:
        patched.setattr(Holder, "_give_back", fails)
        with pytest.raises(StoreUnavailableError):
            jobs.close()
    with JobQueue(client) as other:
        assert taken(other).id == job_id


def test_a_queue_that_cannot_sign_off_closes_its_own_client(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections do not outlive `close`, whatever went wrong before."""
    closed: list[Client] = []
    original = Client.close

    def close(self: Client) -> None:
        closed.append(self)
        original(self)

    jobs = JobQueue(url)
    jobs.enqueue("mail")
    taken(jobs)
    monkeypatch.setattr(Client, "close", close)
    monkeypatch.setattr(Holder, "_give_back", fails)
    with pytest.raises(StoreUnavailableError):
        jobs.close()
    assert len(closed) == 1


def test_a_consumer_is_shown_as_a_node(jobs: JobQueue, client: Client) -> None:
    """With the types that it has asked for, so that `explain` and `status` know of it."""
    jobs.enqueue("mail")
    taken(jobs, "mail", "report")
    (node,) = client.store.nodes()
    assert [each.job_type for each in node.types or ()] == ["mail", "report"]


MISTAKES: list[tuple[str, Callable[[Any], object]]] = [
    ("type: is empty", lambda jobs: jobs.enqueue("")),
    ("data: is no value that JSON has", lambda jobs: jobs.enqueue("a", object())),
    ("data.a: is no value that JSON has", lambda jobs: jobs.enqueue("a", {"a": object()})),
    ("delay: -1 is not possible", lambda jobs: jobs.enqueue("a", delay=-1)),
    ("delay: 1.5 is not possible", lambda jobs: jobs.enqueue("a", delay=1.5)),
    ("max_attempts: must be at least 1", lambda jobs: jobs.enqueue("a", max_attempts=0)),
    ("metadata: is no object", lambda jobs: jobs.enqueue("a", metadata=5)),
    ("types: is no list of texts", lambda jobs: jobs.dequeue("mail")),
    ("types: has 0 entries", lambda jobs: jobs.dequeue([])),
    ("types: 5 is no text", lambda jobs: jobs.size([5])),
    ("id: 5 is no id; those of a queue are texts", lambda jobs: jobs.get_job(5)),
    ("id: 'x' is no id", lambda jobs: jobs.complete("x")),
    ("id: '-1' is no id", lambda jobs: jobs.remove("-1")),
    ("error: '' says nothing", lambda jobs: jobs.fail("1", "")),
    ("retry: is no dict", lambda jobs: jobs.fail("1", "no", retry={"delay": 5})),
    ("retry.enabled: is a str", lambda jobs: jobs.fail("1", "no", retry={"enabled": "no"})),
    ("retry.delayMs: -1 is not possible", lambda jobs: jobs.fail("1", "no", retry={"delayMs": -1})),
    ("result: cannot be written as JSON", lambda jobs: jobs.complete("1", object())),
    ("result: contains NaN", lambda jobs: jobs.complete("1", float("nan"))),
    ("statuses: 'pending' is not possible; use completed, failed", lambda jobs: jobs.cleanup_terminal(["pending"])),
    ("statuses: is no list", lambda jobs: jobs.cleanup_terminal("failed")),
    ("lease_seconds: 0 is no lease", lambda jobs: JobQueue(jobs._client, lease_seconds=0)),  # noqa: SLF001 - any client does
]


@pytest.mark.parametrize(("sentence", "call"), MISTAKES, ids=[f"{n} {text}" for n, (text, _) in enumerate(MISTAKES)])
def test_a_wrong_argument_is_one_sentence_and_changes_nothing(
    jobs: JobQueue, sentence: str, call: Callable[[Any], object]
) -> None:
    """It names the argument of this interface, not that of the one below."""
    job_id = jobs.enqueue("mail")
    taken(jobs)
    before = jobs.get_job(job_id)
    with pytest.raises(InvalidJobError) as caught:
        call(jobs)
    assert str(caught.value).startswith(sentence)
    assert (jobs.get_job(job_id), jobs.size()) == (before, 0)


def drain(jobs: JobQueue) -> list[str]:
    """Take and complete until nothing is left."""
    seen = []
    while (message := jobs.dequeue()) is not None:
        seen.append(message.id)
        jobs.complete(message.id)
    return seen


def bury_all(url: str) -> None:
    """As somebody who takes every node for dead."""
    with Client(url) as client:
        writer = client.store.writer()
        for node in client.store.nodes():
            writer.free_node(node.node_id, now_us=1, jitter=lambda: 1.0)
        writer.close()


def fails(*_: object) -> None:
    """As a store that is away."""
    raise StoreUnavailableError("here", "away")
