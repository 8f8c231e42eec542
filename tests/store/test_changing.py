"""Cancel and retry by people; wishes about running jobs."""

from __future__ import annotations

import pytest

from jobwarden.errors import JobStateError, UnknownJobError
from jobwarden.jobs import FailureReason, JobStatus, Outcome
from jobwarden.store import Wish
from jobwarden.store.gates.free_ends import end_free_jobs

from .maintaining import access_of
from .scene import NODE, Scene


def test_a_pending_job_is_cancelled_at_once(scene: Scene) -> None:
    """It has ended, is never claimed, and an event says why."""
    job_id = scene.add()
    assert scene.store.cancel(job_id, now_us=scene.now_us, reason="a mistake") == "cancelled"
    record = scene.get(job_id)
    assert (record.status, record.failure_reason) == (JobStatus.CANCELLED, FailureReason.CANCELLED)
    assert record.last_cancelled_at is not None
    assert scene.store.has_ended(job_id)
    assert scene.last_event(job_id).metadata == {"reason": "a mistake"}
    assert scene.claim() == []


def test_a_retry_waiting_job_can_be_cancelled(scene: Scene) -> None:
    """`retrying` is as free as `pending`."""
    job = scene.add_and_claim()
    scene.end(job)
    assert scene.store.cancel(job.id, now_us=scene.now_us) == "cancelled"
    record = scene.get(job.id)
    assert (record.status, record.next_attempt_at) == (JobStatus.CANCELLED, None)
    scene.pass_seconds(10_000_000)
    assert scene.claim() == []


def test_cancelling_a_running_job_is_a_wish_that_its_owner_reads(scene: Scene) -> None:
    """The row keeps running until the owner has proved its death; only then there is an event."""
    job = scene.add_and_claim()
    assert scene.store.cancel(job.id, now_us=scene.now_us, reason="stop it") == "asked"
    assert scene.get(job.id).status is JobStatus.PROCESSING
    assert scene.event_types(job.id) == ["added", "processing"]
    assert scene.transact().wishes == []
    assert scene.transact(read_wishes=True).wishes == [Wish(job.id, job.fence, "cancel", "stop it")]
    scene.end(job, Outcome.CANCELLED, error="stop it")
    assert scene.get(job.id).status is JobStatus.CANCELLED
    assert scene.transact(read_wishes=True).wishes == []


def test_a_node_reads_only_wishes_about_its_own_attempts(scene: Scene) -> None:
    """Nobody else may kill them."""
    scene.register("node-2", "host:2")
    job = scene.add_and_claim()
    scene.store.cancel(job.id, now_us=scene.now_us)
    assert scene.transact(node="node-2", name="host:2", read_wishes=True).wishes == []


def test_a_completion_wins_over_a_wish_that_came_too_late(scene: Scene) -> None:
    """The result is there: cancelling is refused from then on."""
    job = scene.add_and_claim()
    scene.store.cancel(job.id, now_us=scene.now_us)
    scene.complete(job)
    assert scene.get(job.id).status is JobStatus.COMPLETED
    assert scene.transact(read_wishes=True).wishes == []
    with pytest.raises(JobStateError, match="completed"):
        scene.store.cancel(job.id, now_us=scene.now_us)


@pytest.mark.parametrize("way", ["failed", "interrupted", "given back"])
def test_a_wished_cancel_is_kept_when_the_attempt_ends_another_way(scene: Scene, way: str) -> None:
    """The owner may not have seen the wish: the job does not run again."""
    job = scene.add_and_claim()
    scene.store.cancel(job.id, now_us=scene.now_us, reason="enough")
    if way == "failed":
        scene.end(job)
    elif way == "interrupted":
        scene.end(job, Outcome.INTERRUPTED)
    else:
        scene.give_back(job)
    record = scene.get(job.id)
    assert (record.status, record.next_attempt_at, record.ended) == (JobStatus.CANCELLED, None, True)
    assert (scene.last_event(job.id).type, scene.last_event(job.id).metadata) == ("cancelled", {"reason": "enough"})
    scene.pass_seconds(10_000_000)
    assert scene.claim() == []


def test_an_ended_job_cannot_be_cancelled(scene: Scene) -> None:
    """Nothing is changed, and the error says in which state it is."""
    job = scene.add_and_claim(max_attempts=1)
    scene.end(job)
    before = scene.get(job.id), scene.store.events(job.id)
    with pytest.raises(JobStateError, match="failed"):
        scene.store.cancel(job.id, now_us=scene.now_us)
    assert (scene.get(job.id), scene.store.events(job.id)) == before


def test_an_unknown_job_is_named(scene: Scene) -> None:
    """By the id that was asked for."""
    for verb in (scene.store.cancel, scene.store.retry):
        with pytest.raises(UnknownJobError, match="4711"):
            verb(4711, now_us=scene.now_us)
    assert scene.store.get(4711) is None
    assert scene.store.has_ended(4711) is None
    assert scene.store.events(4711) == []


def test_retrying_an_ended_job_gives_it_one_more_attempt_now(scene: Scene) -> None:
    """Its limit grows only as far as that attempt needs."""
    job = scene.add_and_claim(max_attempts=1)
    scene.end(job)
    scene.store.retry(job.id, now_us=scene.now_us)
    record = scene.get(job.id)
    assert (record.status, record.max_attempts, record.attempts) == (JobStatus.PENDING, 2, 1)
    assert record.last_retried_at is not None
    assert scene.store.has_ended(job.id) is False
    assert (scene.last_event(job.id).type, scene.last_event(job.id).metadata) == ("retried", {"from": "failed"})
    (again,) = scene.claim()
    assert (again.id, again.attempts, again.max_attempts) == (job.id, 2, 2)
    assert again.fence > job.fence + 1


def test_retrying_a_waiting_job_shortens_its_wait(scene: Scene) -> None:
    """A retrying job runs now, with the attempts that it has left."""
    job = scene.add_and_claim(retry_delay=5_000)
    scene.end(job)
    scene.store.retry(job.id, now_us=scene.now_us)
    assert (scene.get(job.id).max_attempts, scene.get(job.id).next_attempt_at) == (3, None)
    assert [each.id for each in scene.claim()] == [job.id]


def test_a_cancelled_job_can_be_retried(scene: Scene) -> None:
    """Also one that never ran."""
    job_id = scene.add()
    scene.store.cancel(job_id, now_us=scene.now_us)
    scene.store.retry(job_id, now_us=scene.now_us)
    assert [each.id for each in scene.claim()] == [job_id]


def test_retry_ends_a_quarantine(scene: Scene) -> None:
    """The counters start at nothing again."""
    job = scene.add_and_claim(max_attempts=50, retry_delay=0)
    for _ in range(3):
        scene.end(job, Outcome.CRASHED)
        scene.pass_seconds(1)
        claimed = scene.claim()
        job = claimed[0] if claimed else job
    assert scene.get(job.id).pending_reason == "quarantined"
    scene.store.retry(job.id, now_us=scene.now_us)
    assert scene.get(job.id).pending_reason is None
    (again,) = scene.claim()
    assert (again.crashes, again.interruptions, again.lost_in_row) == (0, 0, 0)


def test_retrying_a_running_job_does_not_free_it(scene: Scene) -> None:
    """Freed while it runs, it would run twice."""
    job = scene.add_and_claim()
    with pytest.raises(JobStateError, match="processing"):
        scene.store.retry(job.id, now_us=scene.now_us)
    assert scene.claim() == []
    assert scene.writer.processing_of(NODE) == [(job.id, job.fence)]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_retrying_undoes_all_that_an_end_wrote(scene: Scene, end: str) -> None:
    """Its tags are live again, it is not counted as ended, and a late owner cannot end it."""
    job = scene.add_and_claim(max_attempts=1, tags=["t"])
    scene.end(job, Outcome.FAILED if end == "failed" else Outcome.CANCELLED)
    scene.store.retry(job.id, now_us=scene.now_us)
    assert scene.store.counts() == {"work": {"pending": 1}}
    waiting = scene.add("other", depends_on={"tags": ["t"]})
    assert scene.end(job).refused
    assert scene.claim(types=["other"]) == []
    scene.complete(scene.claim()[0])
    assert [each.id for each in scene.claim(types=["other"])] == [waiting]


@pytest.mark.parametrize("completes", [True, False])
def test_a_pending_or_completed_job_is_not_retried(scene: Scene, *, completes: bool) -> None:
    """There is nothing to repeat."""
    job_id = scene.add()
    if completes:
        scene.complete(scene.claim()[0])
    with pytest.raises(JobStateError):
        scene.store.retry(job_id, now_us=scene.now_us)


def test_only_free_jobs_are_ended_from_outside(scene: Scene) -> None:
    """Whoever asks for it: what runs is its owner's, what has ended has ended."""
    running, done = scene.add_and_claim(), scene.add_and_claim()
    scene.complete(done)
    pending = scene.add()
    access = access_of(scene)
    reasons = dict.fromkeys((running.id, done.id, pending, 4711), "enough")
    with access.writing() as connection:
        ended = end_free_jobs(
            connection,
            access.sql,
            reasons,
            status=JobStatus.CANCELLED,
            failure_reason=FailureReason.CANCELLED,
            touched=set(),
            now_us=scene.now_us,
        )
    assert ended == [pending]
    assert (scene.get(running.id).status, scene.get(done.id).status) == (JobStatus.PROCESSING, JobStatus.COMPLETED)
