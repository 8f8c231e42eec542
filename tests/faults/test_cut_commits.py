"""The network breaks between COMMIT and its answer: at every kind of transaction, done or not done by the server.

The caller hears CommitUnknownError, repeats what can be repeated, and looks up what cannot (R4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobwarden.client import Client, JobQueue
from jobwarden.errors import CommitUnknownError, JobStateError
from jobwarden.jobs import Outcome, complete, end_attempt
from jobwarden.store import GiveBack, Store, StoreOptions, open_store
from jobwarden.store.keeping.retention import Retention
from jobwarden.store.keeping.rounds import Rounds, Rules
from jobwarden.store.work import ProgressNote, ProlongNote
from tests.store import invariants
from tests.store.scene import NODE, Scene
from tests.support.postgresql import server
from tests.support.proxy import Cut, Proxy
from tests.support.waiting import eventually

OUTCOMES = {"completed", "failed"}


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(f"{server().socket_dir}/.s.PGSQL.{server().port}") as made:
        yield made


@pytest.fixture
def store(proxy: Proxy) -> Iterator[Store]:
    url = server().new_database()
    made = open_store(proxy.url(url), StoreOptions(lock_timeout_seconds=5), migrate=True)
    yield made
    made.close()


@pytest.fixture
def scene(store: Store) -> Iterator[Scene]:
    made = Scene(store)
    yield made
    with store._access.reading() as connection:  # noqa: SLF001 - no verb reads everything
        invariants.check(connection)
    made.writer.close()


@pytest.fixture(params=["done", "not done"])
def cut(request: pytest.FixtureRequest, proxy: Proxy) -> Callable[[], Cut]:
    """Arms the proxy: the next COMMIT is done by the server, or never reaches it; its caller cannot tell."""
    return lambda: (proxy.lose_answer if request.param == "done" else proxy.lose_request)(b"commit")


def outcomes(scene: Scene, job_id: int) -> list[str]:
    """The outcome events of a job, in order."""
    return [event for event in scene.event_types(job_id) if event in OUTCOMES]


def unknown(cut: Callable[[], Cut], act: Callable[[], object]) -> None:
    """Do this, and do not hear whether it was done."""
    armed = cut()
    with pytest.raises(CommitUnknownError):
        act()
    armed.wait()


def test_a_completion_is_repeated_until_it_is_heard_of(scene: Scene, cut: Callable[[], Cut]) -> None:
    """The second one finds its own attempt ended, or ends it: one outcome in any case."""
    job = scene.add_and_claim()
    ending = [complete(job, output="1", now_us=scene.now_us)]
    unknown(cut, lambda: scene.transact(endings=ending))
    receipts = scene.transact(endings=ending)
    assert all(refusal.settled for refusal in receipts.refused)
    assert outcomes(scene, job.id) == ["completed"]
    assert scene.get(job.id).output == 1


def test_a_failure_that_will_be_retried_is_repeated(scene: Scene, cut: Callable[[], Cut]) -> None:
    """One failure is counted, and the job runs again."""
    job = scene.add_and_claim(max_attempts=2, retry_delay=0)
    ending = [end_attempt(job, Outcome.FAILED, error="it broke", now_us=scene.now_us, jitter=1.0)]
    unknown(cut, lambda: scene.transact(endings=ending))
    assert all(refusal.settled for refusal in scene.transact(endings=ending).refused)
    (again,) = scene.claim()
    assert (again.id, again.attempts) == (job.id, 2)
    scene.complete(again)
    assert outcomes(scene, job.id) == ["failed", "completed"]


def test_a_claim_is_looked_up_and_given_back(scene: Scene, cut: Callable[[], Cut]) -> None:
    """Nobody works on what nobody heard of; it costs no attempt."""
    job_id = scene.add()
    unknown(cut, scene.claim)
    for held, fence in scene.writer.processing_of(NODE):
        scene.transact(give_backs=[GiveBack(held, fence)])
    # The server may notice only now that whoever held the row is gone; a claim passes over held rows.
    (job,) = eventually(scene.claim, what="the job can be claimed again")
    assert (job.id, job.attempts) == (job_id, 1)
    scene.complete(job)
    assert outcomes(scene, job_id) == ["completed"]


def test_a_give_back_is_repeated(scene: Scene, cut: Callable[[], Cut]) -> None:
    """The first one has raised the fence: nobody who has claimed it in between can lose it to the second."""
    job = scene.add_and_claim()
    back = [GiveBack(job.id, job.fence)]
    unknown(cut, lambda: scene.transact(give_backs=back))
    scene.transact(give_backs=back)
    (again,) = scene.claim()
    assert (again.id, again.attempts) == (job.id, 1)
    assert scene.transact(give_backs=back).refused
    scene.complete(again)
    assert outcomes(scene, job.id) == ["completed"]


def test_progress_and_prolongs_are_repeated(scene: Scene, cut: Callable[[], Cut]) -> None:
    """Together with what else was in the transaction."""
    job = scene.add_and_claim(timeout_ms=1_000)
    notes: dict[str, Any] = {
        "progress": [ProgressNote(job.id, job.fence, 40)],
        "prolongs": [ProlongNote(job.id, job.fence, 5_000)],
    }
    unknown(cut, lambda: scene.transact(**notes))
    assert not scene.transact(**notes).refused
    assert scene.get(job.id).progress == 40
    scene.complete(job)
    assert outcomes(scene, job.id) == ["completed"]


def test_a_batch_of_all_kinds_is_repeated_without_its_claim(scene: Scene, cut: Callable[[], Cut]) -> None:
    """What the ledger does: outcomes again, and what it may have claimed is looked up."""
    done, failed, returned = (scene.add_and_claim(max_attempts=1) for _ in range(3))
    waiting = scene.add()
    parts: dict[str, Any] = {
        "endings": [
            complete(done, output=None, now_us=scene.now_us),
            end_attempt(failed, Outcome.FAILED, error="it broke", now_us=scene.now_us, jitter=1.0),
        ],
        "give_backs": [GiveBack(returned.id, returned.fence)],
    }
    unknown(cut, lambda: scene.transact(**parts))
    refused = scene.transact(**parts).refused
    assert all(refusal.settled for refusal in refused if refusal.job_id != returned.id)
    assert outcomes(scene, done.id) == ["completed"]
    assert outcomes(scene, failed.id) == ["failed"]
    assert sorted(job.id for job in scene.claim()) == [returned.id, waiting]


def test_an_add_with_a_key_is_repeated(store: Store, proxy: Proxy, cut: Callable[[], Cut]) -> None:
    """The error says how; the key makes it one job."""
    with Client(proxy.url(store.url_shown)) as client:
        assert client.counts() == {}  # the store is open
        cut()
        with pytest.raises(CommitUnknownError, match="same idempotency key"):
            client.add_job("echo", idempotency_key="k")
        job_id = client.add_job("echo", idempotency_key="k")
        assert [job.id for job in client.get_jobs()] == [job_id]


def test_an_add_without_a_key_may_be_there_twice_when_it_is_repeated(store: Store, proxy: Proxy) -> None:
    """Nobody can tell those apart; neither is lost."""
    with Client(proxy.url(store.url_shown)) as client:
        assert client.counts() == {}
        proxy.lose_answer(b"commit")
        with pytest.raises(CommitUnknownError):
            client.add_job("echo")
        client.add_job("echo")
        assert client.counts() == {"echo": {"pending": 2}}


def test_a_cancel_and_a_retry_are_repeated(store: Store, proxy: Proxy, cut: Callable[[], Cut]) -> None:
    """The second one does it, or says in which state the first one left the job."""
    with Client(proxy.url(store.url_shown)) as client:
        job_id = client.add_job("echo")
        for verb, status in ((client.cancel_job, "cancelled"), (client.retry_job, "pending")):
            unknown(cut, lambda verb=verb: verb(job_id))  # type: ignore[misc]
            try:
                verb(job_id)
            except JobStateError as error:
                assert error.status == status  # noqa: PT017 - it may have been done the first time
            record = client.get_job(job_id)
            assert record is not None
            assert record.status == status
        assert [event.type for event in client.get_job_events(job_id)] == ["added", "cancelled", "retried"]


def test_the_removal_of_a_node_is_repeated(scene: Scene, cut: Callable[[], Cut]) -> None:
    """A row that is gone is gone."""
    scene.register("other", "host:2")
    unknown(cut, lambda: scene.writer.remove_node("other"))
    scene.writer.remove_node("other")
    assert [each.node_id for each in scene.store.nodes()] == [NODE]


def test_freeing_a_dead_node_is_repeated(scene: Scene, cut: Callable[[], Cut]) -> None:
    """Its jobs are lost once, and run again."""
    job = scene.add_and_claim(retry_delay=0)
    scene.register("other", "host:2")
    unknown(cut, lambda: scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0))
    scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0)
    scene.pass_seconds(60)
    (again,) = scene.claim(node="other", name="host:2")
    assert again.id == job.id
    assert [each.outcome for each in scene.store.attempts(job.id)] == [Outcome.LOST]


def test_a_step_of_maintenance_is_repeated(scene: Scene, cut: Callable[[], Cut]) -> None:
    """What was removed is not counted twice, what was not is removed now."""
    job = scene.add_and_claim()
    scene.complete(job)
    scene.pass_seconds(100 * 86_400)
    rules = Rules(retention=Retention(completed_days=1, ended_days=1), starvation_seconds=None)
    rounds = Rounds(rules)
    rounds.begin()
    unknown(cut, lambda: scene.writer.step_round(rounds, now_us=scene.now_us))
    rounds.begin()
    while not rounds.is_over():
        scene.writer.step_round(rounds, now_us=scene.now_us)
    assert scene.store.get(job.id) is None
    scene.tampered = True


def test_a_queue_that_did_not_hear_of_its_job_gives_it_back(store: Store, proxy: Proxy, cut: Callable[[], Cut]) -> None:
    """And the end that it did not hear of it reports again."""
    with Client(proxy.url(store.url_shown)) as client, JobQueue(client) as queue:
        first = client.add_job("echo")
        assert queue.dequeue() is not None
        cut()
        with pytest.raises(CommitUnknownError):
            queue.complete(str(first), {"n": 1})
        queue.complete(str(first), {"n": 1})
        record = client.get_job(first)
        assert record is not None
        assert (record.status, record.output) == ("completed", {"n": 1})
