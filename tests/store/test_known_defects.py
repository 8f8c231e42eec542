"""Known defects of earlier systems with these job models (end of design section 6), each by its name.

The line about prolong, steps and waits under a hard kill needs processes: tests/faults/test_known_defects.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobwarden.errors import JobStateError
from jobwarden.jobs import Ending, FailureReason, JobFilter, JobOptions, JobStatus, Outcome, complete
from jobwarden.store import Refusal, Wish
from jobwarden.store.keeping.rounds import Rounds

from .maintaining import USUAL
from .scene import NAME, NODE, Scene

DAY_SECONDS = 86_400


def test_completing_by_id_alone(scene: Scene) -> None:
    """The id is right, the attempt is not: neither a superseded owner nor another node completes the job."""
    late = scene.add_and_claim()
    newer = scene.supersede(late)
    assert scene.complete(late).refused == [Refusal(late.id, late.fence, settled=False)]
    scene.register("node-2", "host:2")
    assert len(scene.transact(node="node-2", name="host:2", endings=_completion(scene, newer)).refused) == 1
    record = scene.get(late.id)
    assert (record.status, record.output) == (JobStatus.PROCESSING, None)


def test_a_completed_event_although_no_row_matched(scene: Scene) -> None:
    """A completion that is refused, or comes for a job that is gone, leaves no event."""
    late = scene.add_and_claim()
    newer = scene.supersede(late)
    scene.complete(late)
    assert scene.event_types(late.id) == ["added", "processing", "processing"]
    scene.complete(newer)
    scene.store.bulk.remove(newer.id, now_us=scene.now_us)
    assert len(scene.complete(newer).refused) == 1
    assert scene.store.events(newer.id) == []


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.MEMORY_EXCEEDED])
def test_a_job_that_dies_on_its_last_attempt_left_pending_for_ever(scene: Scene, outcome: Outcome) -> None:
    """It has failed for good: not pending, not claimable, not waiting for anything."""
    job = scene.add_and_claim(max_attempts=1)
    scene.end(job, outcome)
    _assert_failed_for_good(scene, job.id)


def test_a_job_that_takes_its_node_down_each_time_left_pending_for_ever(scene: Scene) -> None:
    """Lost gives the attempt back, but not for ever: the fifth in a row is quarantine."""
    job_id = scene.add(max_attempts=1)
    for number in range(5):
        node = f"node-{number + 10}"
        scene.register(node, node)
        assert [job.id for job in scene.claim(node=node, name=node)] == [job_id]
        assert scene.writer.free_node(node, now_us=scene.now_us, jitter=lambda: 1.0) == 1
    _assert_failed_for_good(scene, job_id)
    assert scene.get(job_id).pending_reason == "quarantined"


def test_reclaim_without_an_event_or_reason(scene: Scene) -> None:
    """A job that is freed from a dead node says so, with why, who had it, and in its error history."""
    job = scene.add_and_claim()
    scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0)
    event = scene.last_event(job.id)
    assert event.type == "reclaimed"
    assert (event.metadata["why"], event.metadata["owner"]) == ("lost", NAME)
    assert NAME in event.metadata["reason"]
    assert NAME in scene.get(job.id).error_history[-1].message
    assert scene.store.attempts(job.id)[-1].outcome is Outcome.LOST


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CRASHED, Outcome.LOST])
def test_dependents_cancelled_on_a_failure_that_will_be_retried(scene: Scene, outcome: Outcome) -> None:
    """Only an end settles dependents: they wait through the retry, and run when it succeeds."""
    parent = scene.add_and_claim(max_attempts=2, retry_delay=10, retry_backoff=False)
    child = scene.add(depends_on={"jobIds": [parent.id]})
    if outcome is Outcome.LOST:
        scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0)
        scene.register(NODE, NAME)
    else:
        scene.end(parent, outcome)
    assert scene.get(child).status is JobStatus.PENDING
    scene.pass_seconds(20)
    (again,) = scene.claim()
    assert again.id == parent.id
    scene.complete(again)
    assert [job.id for job in scene.claim()] == [child]


def test_a_retry_waiting_job_that_cannot_be_cancelled(scene: Scene) -> None:
    """Its status is `failed`, but it has not ended: cancelling it ends it."""
    job = scene.add_and_claim()
    scene.end(job)
    assert scene.store.cancel(job.id, now_us=scene.now_us) == "cancelled"
    scene.pass_seconds(DAY_SECONDS)
    assert scene.claim() == []
    record = scene.get(job.id)
    assert (record.status, record.next_attempt_at, record.ended) == (JobStatus.CANCELLED, None, True)


def test_a_running_job_that_cannot_be_cancelled(scene: Scene) -> None:
    """Its owner is asked, and ends it; if the owner dies instead, whoever frees the job obeys."""
    first, second = scene.add_and_claim(), scene.add_and_claim()
    for job in (first, second):
        assert scene.store.cancel(job.id, now_us=scene.now_us, reason="enough") == "asked"
    wishes = scene.transact(read_wishes=True).wishes
    assert Wish(first.id, first.fence, "cancel", "enough") in wishes
    scene.end(first, Outcome.CANCELLED, error="enough")
    scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0)
    assert [scene.get(job.id).status for job in (first, second)] == [JobStatus.CANCELLED] * 2


def test_retrying_a_running_job_frees_it_while_it_runs(scene: Scene) -> None:
    """Retry is refused, by id and by filter; the attempt keeps the job and ends it."""
    job = scene.add_and_claim(max_attempts=2)
    before = scene.get(job.id)
    with pytest.raises(JobStateError):
        scene.store.retry(job.id, now_us=scene.now_us)
    assert scene.store.bulk.retry_all(JobFilter(), now_us=scene.now_us) == []
    assert scene.get(job.id) == before
    assert scene.claim() == []
    assert scene.complete(job).refused == []


@pytest.mark.only("sqlite", reason="no server counts the steps of a statement; the plans of each are tested")
def test_a_claim_that_locks_the_whole_backlog_to_apply_group_limits(scene: Scene) -> None:
    """What a claim reads and writes does not grow with the jobs that wait for their group."""
    scene.store.controls.set_limit("group", "full", max_running=1, now_us=scene.now_us)
    scene.add(group_id="full")
    assert len(scene.claim()) == 1
    costs = []
    for backlog in (0, 3_000):
        waiting = [JobOptions(job_type="work", group_id="full") for _ in range(backlog)]
        free = [JobOptions(job_type="work") for _ in range(4)]
        scene.store.add([*waiting, *free], now_us=scene.now_us)
        with _counting(scene) as cost:
            assert len(scene.claim(50)) == 4
        costs.append(cost.steps)
    assert costs[1] <= costs[0] * 1.5


def test_an_idempotency_key_held_for_ever(scene: Scene) -> None:
    """It holds while its job has not ended and seven days more, or for its own time; then a new job is added."""
    job = scene.add_and_claim(idempotency_key="default")
    own = scene.add(idempotency_key="own", idempotency_ttl=60)
    scene.pass_seconds(30 * DAY_SECONDS)
    assert scene.add(idempotency_key="default") == job.id
    assert scene.add(idempotency_key="own") != own
    scene.complete(job)
    scene.pass_seconds(7 * DAY_SECONDS - 10)
    assert scene.add(idempotency_key="default") == job.id
    scene.pass_seconds(20)
    assert scene.add(idempotency_key="default") != job.id


def test_a_late_owners_result_accepted(scene: Scene) -> None:
    """A node that was taken for dead comes back with a result: the job runs elsewhere, and that attempt counts."""
    late = scene.add_and_claim()
    scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0)
    scene.register("node-2", "host:2")
    (newer,) = scene.claim(node="node-2", name="host:2")
    assert scene.complete(late, output='"late"').refused == [Refusal(late.id, late.fence, settled=False)]
    assert scene.end(late, Outcome.FAILED).refused == [Refusal(late.id, late.fence, settled=False)]
    ending = _completion(scene, newer)
    assert scene.transact(node="node-2", name="host:2", endings=ending).refused == []
    assert scene.get(late.id).output == "newer"
    assert [attempt.outcome for attempt in scene.store.attempts(late.id)] == [Outcome.LOST, Outcome.SUCCEEDED]


@pytest.mark.parametrize("age_seconds", [3_600, 30 * DAY_SECONDS])
def test_rescue_by_age_that_runs_a_healthy_long_job_twice(scene: Scene, age_seconds: int) -> None:
    """However long it runs and whoever asks for a rescue: while its node lives it is asked for, never freed."""
    job = scene.add_and_claim()
    scene.pass_seconds(age_seconds)
    rounds = Rounds(USUAL)
    rounds.begin()
    while not rounds.is_over():
        scene.writer.step_round(rounds, now_us=scene.now_us)
    reclaimed = scene.store.upkeep.reclaim_stuck_jobs(10, scene.now_us)
    assert (reclaimed.freed, reclaimed.asked) == ([], [job.id])
    scene.register("node-2", "host:2")
    assert scene.claim(node="node-2", name="host:2") == []
    assert scene.transact(read_wishes=True).wishes[0].wish == "requeue"
    assert scene.complete(job).refused == []
    assert scene.get(job.id).attempts == 1


class _Cost:
    """Instructions of SQLite's machine that the writer's connection has run, in hundreds."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> int:
        self.steps += 1
        return 0


@contextmanager
def _counting(scene: Scene) -> Iterator[_Cost]:
    cost = _Cost()
    driver: Any = scene.writer._connection.connection.driver_connection  # noqa: SLF001 - nobody else can count
    driver.set_progress_handler(cost.step, 100)
    yield cost
    driver.set_progress_handler(None, 0)


def _completion(scene: Scene, job: Any) -> list[Ending]:
    return [complete(job, output='"newer"', now_us=scene.now_us)]


def _assert_failed_for_good(scene: Scene, job_id: int) -> None:
    record = scene.get(job_id)
    assert (record.status, record.next_attempt_at, record.ended) == (JobStatus.FAILED, None, True)
    assert record.failure_reason in {
        FailureReason.CRASHED,
        FailureReason.TIMEOUT,
        FailureReason.MEMORY_LIMIT,
        FailureReason.LOST,
    }
    scene.pass_seconds(DAY_SECONDS)
    assert scene.claim() == []
