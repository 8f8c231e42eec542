"""Claiming: what is taken, in which order, and what the row says afterwards."""

from __future__ import annotations

from datetime import timedelta

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.jobs import JobOptions, JobStatus, Outcome, TypeTerms

from .scene import NAME, NODE, START_US, Scene


def test_jobs_are_claimed_by_priority_then_due_time_then_id(scene: Scene) -> None:
    """Priority descending, due time, id; over all served types together."""
    at = to_datetime(START_US)
    expected = {
        scene.add(priority=1): 4,
        scene.add(priority=5, run_at=at): 2,
        scene.add(priority=5, run_at=at - timedelta(seconds=9)): 0,
        scene.add("other", priority=5, run_at=at - timedelta(seconds=5)): 1,
        scene.add(priority=5, run_at=at): 3,
        scene.add("other", priority=-3): 5,
    }
    claimed = [job.id for job in scene.claim(types=("work", "other"))]
    assert claimed == sorted(expected, key=expected.__getitem__)


def test_a_claim_takes_no_more_than_it_asked_for(scene: Scene) -> None:
    """The rest stays ready for the next claim, in order."""
    ids = [scene.add() for _ in range(5)]
    assert [job.id for job in scene.claim(2)] == ids[:2]
    assert [job.id for job in scene.claim(10)] == ids[2:]
    assert scene.claim() == []


def test_types_that_are_not_served_stay_untouched(scene: Scene) -> None:
    """No handler never costs an attempt."""
    foreign = scene.add("foreign", priority=100)
    own = scene.add()
    before = scene.get(foreign)
    assert [job.id for job in scene.claim()] == [own]
    assert scene.get(foreign) == before


def test_job_types_compare_bytewise(scene: Scene) -> None:
    """`Work`, `work ` and `work` are three types."""
    for name in ("Work", "work ", "WORK"):
        scene.add(name)
    assert scene.claim() == []


def test_a_claim_begins_an_attempt_and_says_so(scene: Scene) -> None:
    """Fence, count, owner and the event are written in the transaction of the claim."""
    job = scene.add_and_claim(payload={"a": [1, "ü"]})
    record = scene.get(job.id)
    assert (job.fence, job.attempts, job.payload) == (1, 1, '{"a":[1,"ü"]}')
    assert record.status is JobStatus.PROCESSING
    assert (record.attempts, record.locked_by) == (1, NAME)
    assert record.locked_at == record.started_at == to_datetime(scene.now_us)
    assert scene.event_types(job.id) == ["added", "processing"]
    assert scene.last_event(job.id).metadata == {"attempt": 1, "node": NAME}
    assert scene.writer.processing_of(NODE) == [(job.id, 1)]


def test_a_claimed_job_cannot_be_claimed_again(scene: Scene) -> None:
    """It is out of the claim index until it is freed."""
    scene.add_and_claim()
    assert scene.claim() == []


def test_the_claim_writes_the_terms_of_the_type_where_the_job_says_nothing(scene: Scene) -> None:
    """Whoever ends the attempt judges by the numbers in the row, so they are those of the claim."""
    terms = TypeTerms(job_type="work", timeout_ms=500, max_attempts=7, retry_delay=1.5)
    silent = scene.add()
    outspoken = scene.add(timeout_ms=9, max_attempts=2, retry_delay=0.25, force_kill_on_timeout=True)
    first, second = scene.claim(types=[terms])
    assert (first.id, first.timeout_ms, first.max_attempts, first.retry_delay) == (silent, 500, 7, 1.5)
    assert (second.id, second.timeout_ms, second.max_attempts, second.retry_delay) == (outspoken, 9, 2, 0.25)
    assert (first.force_kill_on_timeout, second.force_kill_on_timeout) == (0, 1)
    record = scene.get(silent)
    assert (record.timeout_ms, record.max_attempts, record.retry_delay) == (500, 7, 1.5)


def test_without_any_terms_the_defaults_hold(scene: Scene) -> None:
    """Three attempts, 60 seconds with backoff, no limit; shown before the claim as after it."""
    job_id = scene.add()
    before = scene.get(job_id)
    (job,) = scene.claim()
    assert (job.max_attempts, job.retry_delay, job.retry_backoff, job.timeout_ms) == (3, 60.0, 1, None)
    assert (before.max_attempts, before.retry_delay, before.timeout_ms) == (3, 60.0, None)


def test_a_job_of_the_future_is_promoted_when_its_time_has_come(scene: Scene) -> None:
    """It is not claimed before; `next_due_us` says when to look again."""
    due_us = scene.now_us + 60 * SECOND_US
    job_id = scene.add(run_at=to_datetime(due_us))
    assert scene.claim() == []
    assert scene.transact().next_due_us == due_us
    scene.now_us = due_us
    assert [job.id for job in scene.claim()] == [job_id]
    assert scene.transact().next_due_us is None


def test_the_next_due_time_is_that_of_any_type(scene: Scene) -> None:
    """A node may be the one to promote jobs for others."""
    due_us = scene.now_us + 5 * SECOND_US
    scene.add("foreign", run_at=to_datetime(due_us))
    assert scene.transact().next_due_us == due_us


def test_a_retrying_job_is_claimed_again_when_due(scene: Scene) -> None:
    """`failed` with a next attempt runs again by itself."""
    job = scene.add_and_claim(retry_delay=30, retry_backoff=False)
    scene.end(job)
    assert scene.claim() == []
    scene.pass_seconds(31)
    (again,) = scene.claim()
    record = scene.get(job.id)
    assert (again.attempts, again.fence) == (2, 2)
    assert record.last_retried_at == record.locked_at
    assert record.next_attempt_at is None


def test_a_new_attempt_starts_without_progress_and_pending_reason(scene: Scene) -> None:
    """Neither belongs to the attempt that is running now; when the job first started is kept."""
    job = scene.add_and_claim()
    started = scene.get(job.id).started_at
    scene.end(job, Outcome.INTERRUPTED)
    scene.claim()
    record = scene.get(job.id)
    assert (record.progress, record.pending_reason, record.started_at) == (None, None, started)


def test_a_node_without_a_row_gets_no_jobs(scene: Scene) -> None:
    """Claiming and being declared dead cannot pass each other."""
    scene.add()
    receipts = scene.transact(node="node-9", name="host:9")
    assert receipts.node_missing
    assert scene.claim(node="node-9", name="host:9") == []
    assert not scene.transact().node_missing


def test_two_nodes_never_claim_the_same_job(scene: Scene) -> None:
    """What one has taken the other does not see."""
    scene.register("node-2", "host:2")
    ids = {scene.add() for _ in range(6)}
    first = {job.id for job in scene.claim(3)}
    second = {job.id for job in scene.claim(node="node-2", name="host:2")}
    assert first | second == ids
    assert first & second == set()


def test_more_types_can_be_served_than_one_compound_select_may_have(scene: Scene) -> None:
    """A daemon with very many handlers claims like any other."""
    job_id = scene.add("type-601")
    assert [job.id for job in scene.claim(types=[f"type-{n}" for n in range(700)])] == [job_id]


def test_a_job_given_back_costs_no_attempt_and_keeps_its_place(scene: Scene) -> None:
    """It was never started: no event, the fence rises, and it is claimed before younger jobs."""
    job = scene.add_and_claim()
    younger = scene.add()
    scene.give_back(job)
    record = scene.get(job.id)
    assert (record.status, record.attempts) == (JobStatus.PENDING, 0)
    assert (record.locked_by, record.started_at) == (None, None)
    assert scene.event_types(job.id) == ["added", "processing"]
    assert [each.id for each in scene.claim()] == [job.id, younger]


def test_heartbeat_terms_are_those_of_the_type_where_the_job_says_nothing(scene: Scene) -> None:
    """They are handed over with the job and written into its row, as the other terms are."""
    silent, outspoken = scene.add(), scene.add(heartbeat_timeout_ms=9)
    first, second = scene.claim(types=[TypeTerms(job_type="work", heartbeat_timeout_ms=700)])
    assert [(job.id, job.heartbeat_timeout_ms) for job in (first, second)] == [(silent, 700), (outspoken, 9)]
    assert [scene.get(job_id).heartbeat_timeout_ms for job_id in (silent, outspoken)] == [700, 9]
    plain, own = scene.add(), scene.add(heartbeat_timeout_ms=8)
    assert {job.id: job.heartbeat_timeout_ms for job in scene.claim()} == {plain: None, own: 8}


def test_no_expired_job_is_ever_claimed(scene: Scene) -> None:
    """Also where more have expired than one claim cancels."""
    options = [JobOptions(job_type="work", expires_in=1) for _ in range(600)]
    scene.store.add(options, now_us=scene.now_us)
    scene.pass_seconds(2)
    assert scene.claim(1000) == []
    alive = scene.add()
    assert [job.id for job in scene.claim(1000)] == [alive]
