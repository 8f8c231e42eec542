"""Ends of attempts as the store keeps them: rows, events, attempts, error history."""

from __future__ import annotations

import msgspec
import pytest

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.jobs import AttemptFacts, FailureReason, JobStatus, Outcome, complete, end_attempt
from jobwarden.jobs.record import LONGEST_HISTORY
from jobwarden.store import ProgressNote
from jobwarden.store.entries import longer_history

from .scene import NAME, Scene


def test_a_completed_job_keeps_output_and_times(scene: Scene) -> None:
    """A plain job costs exactly three events, and its attempt is one of them."""
    job = scene.add_and_claim()
    started = scene.get(job.id).started_at
    scene.complete(job, output='{"sum":[1,2.50,"ü"]}')
    record = scene.get(job.id)
    assert record.status is JobStatus.COMPLETED
    assert record.ended
    assert record.output == {"sum": [1, 2.5, "ü"]}
    assert (record.locked_at, record.locked_by, record.started_at) == (None, None, started)
    assert record.completed_at == record.updated_at
    assert scene.store.has_ended(job.id)
    assert scene.event_types(job.id) == ["added", "processing", "completed"]
    assert scene.store.running() == []


def test_an_attempt_carries_everything_that_was_seen_of_it(scene: Scene) -> None:
    """`attempts` are the outcome events, with the columns that the supervisor measured."""
    job = scene.add_and_claim()
    facts = AttemptFacts(
        worker_pid=42,
        generation=3,
        started_us=scene.now_us + 1,
        ended_us=scene.now_us + 2,
        signal=9,
        exit_code=-9,
        peak_rss_kb=1234,
        cpu_ms=56,
        captured="said this",
        stack_dump="File x",
        left_behind=["sleep (77)"],
    )
    ending = end_attempt(job, Outcome.CRASHED, error="signal 9", now_us=scene.now_us, jitter=1.0, facts=facts)
    scene.transact(endings=[ending])
    (attempt,) = scene.store.attempts(job.id)
    assert (attempt.fence, attempt.outcome, attempt.node, attempt.error) == (1, Outcome.CRASHED, NAME, "signal 9")
    assert attempt.started_at == to_datetime(facts.started_us or 0)
    assert attempt.ended_at == to_datetime(facts.ended_us or 0)
    for name in ("worker_pid", "generation", "signal", "exit_code", "peak_rss_kb", "cpu_ms"):
        assert getattr(attempt, name) == getattr(facts, name)
    assert (attempt.captured, attempt.stack_dump) == ("said this", "File x")
    assert attempt.left_behind == ["sleep (77)"]


def test_a_completed_attempt_carries_its_facts_as_well(scene: Scene) -> None:
    """The narrow statement for completions writes what the general one does."""
    job = scene.add_and_claim()
    facts = AttemptFacts(worker_pid=42, generation=3, captured="said this", left_behind=["sleep (77)"])
    scene.transact(endings=[complete(job, output=None, now_us=scene.now_us, facts=facts)])
    (attempt,) = scene.store.attempts(job.id)
    assert attempt.outcome is Outcome.SUCCEEDED
    assert (attempt.worker_pid, attempt.generation, attempt.captured) == (42, 3, "said this")
    assert attempt.left_behind == ["sleep (77)"]
    assert scene.get(job.id).output is None


def test_a_failure_with_attempts_left_is_retrying(scene: Scene) -> None:
    """It shows `failed` with a next attempt, its reason and its error, and has not ended."""
    job = scene.add_and_claim(retry_delay=10, retry_backoff=False)
    scene.end(job, error="no such file")
    record = scene.get(job.id)
    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.HANDLER_ERROR)
    assert record.last_failed_at is not None
    assert record.next_attempt_at is not None
    assert (record.next_attempt_at - record.last_failed_at).total_seconds() == 10
    assert [entry.message for entry in record.error_history] == ["no such file"]
    assert scene.store.has_ended(job.id) is False
    metadata = {"error": "no such file", "reason": "handler_error", "willRetry": True}
    assert (scene.last_event(job.id).type, scene.last_event(job.id).metadata) == ("failed", metadata)


def test_a_job_that_dies_on_its_last_attempt_has_failed_for_good(scene: Scene) -> None:
    """It is not left pending for ever: it ends, and no claim takes it again."""
    job = scene.add_and_claim(max_attempts=1)
    scene.end(job, Outcome.CRASHED)
    record = scene.get(job.id)
    assert (record.status, record.next_attempt_at) == (JobStatus.FAILED, None)
    assert scene.last_event(job.id).metadata["willRetry"] is False
    assert scene.store.has_ended(job.id)
    scene.pass_seconds(10_000_000)
    assert scene.claim() == []


def test_all_attempts_are_used_and_every_error_is_kept(scene: Scene) -> None:
    """The error history grows by one entry per failure, oldest first, with its time."""
    job = scene.add_and_claim(max_attempts=3, retry_delay=0, retry_backoff=False)
    times = []
    for number in range(3):
        scene.end(job, error=f"error {number}")
        times.append(scene.get(job.id).last_failed_at)
        claimed = scene.claim()
        job = claimed[0] if claimed else job
    record = scene.get(job.id)
    assert [entry.message for entry in record.error_history] == ["error 0", "error 1", "error 2"]
    assert [entry.timestamp for entry in record.error_history] == times
    assert (record.attempts, record.ended) == (3, True)


def test_a_long_error_history_keeps_its_first_and_its_latest_entries(scene: Scene) -> None:
    """A hundred in all: how it began, and how it goes; the events have them all."""
    job_id = scene.add(max_attempts=200, retry_delay=0)
    for number in range(LONGEST_HISTORY + 20):
        (job,) = scene.claim()
        scene.end(job, error=f"error {number}")
    messages = [entry.message for entry in scene.get(job_id).error_history]
    assert messages == ["error 0", *(f"error {number}" for number in range(21, 120))]
    assert len(scene.store.attempts(job_id)) == 120


def test_a_history_that_is_full_takes_the_end_of_a_dependent_as_well(scene: Scene) -> None:
    """That entry is written by another statement; the same bound holds."""
    history: str | None = None
    for number in range(LONGEST_HISTORY + 3):
        history = longer_history(history, f"error {number}", at_us=scene.now_us)
    messages = [entry["message"] for entry in msgspec.json.decode(history or "")]
    assert messages == ["error 0", *(f"error {number}" for number in range(4, 103))]


@pytest.mark.parametrize("way", ["completed", "interrupted", "given back", "retried"])
def test_a_job_that_is_pending_or_completed_shows_no_failure_reason(scene: Scene, way: str) -> None:
    """It says why it does not succeed, and that is over; the story is in the error history."""
    job = scene.add_and_claim(retry_delay=0)
    scene.end(job, Outcome.TIMED_OUT, error="slow")
    assert scene.get(job.id).failure_reason is FailureReason.TIMEOUT
    if way == "retried":
        scene.store.retry(job.id, now_us=scene.now_us)
    else:
        (again,) = scene.claim()
        match way:
            case "completed":
                scene.complete(again)
            case "interrupted":
                scene.end(again, Outcome.INTERRUPTED)
            case _:
                scene.give_back(again)
    record = scene.get(job.id)
    assert record.status is (JobStatus.COMPLETED if way == "completed" else JobStatus.PENDING)
    assert record.failure_reason is None
    assert record.error_history[0].message == "slow"


def test_a_timed_out_attempt_says_so(scene: Scene) -> None:
    """The failure reason follows the outcome."""
    job = scene.add_and_claim()
    scene.end(job, Outcome.TIMED_OUT)
    assert scene.get(job.id).failure_reason is FailureReason.TIMEOUT


def test_an_interrupted_attempt_is_given_back_at_once(scene: Scene) -> None:
    """A drain costs no attempt; the event is `reclaimed` and names why."""
    job = scene.add_and_claim()
    scene.end(job, Outcome.INTERRUPTED, error="the daemon stops")
    record = scene.get(job.id)
    assert (record.status, record.attempts, record.next_attempt_at) == (JobStatus.PENDING, 0, None)
    event = scene.last_event(job.id)
    assert (event.type, event.metadata) == ("reclaimed", {"why": "interrupted", "reason": "the daemon stops"})
    (again,) = scene.claim()
    assert (again.id, again.interruptions, again.attempts) == (job.id, 1, 1)


def test_three_crashes_are_quarantine(scene: Scene) -> None:
    """A job that kills its worker each time is failed for good, whatever attempts are left."""
    job_id = scene.add(max_attempts=50, retry_delay=0, retry_backoff=False)
    for _ in range(3):
        (job,) = scene.claim()
        scene.end(job, Outcome.CRASHED)
    record = scene.get(job_id)
    assert (record.ended, record.pending_reason) == (True, "quarantined")
    assert record.failure_reason is FailureReason.CRASHED
    assert scene.claim() == []


def test_a_cancelled_attempt_ends_its_job(scene: Scene) -> None:
    """The owner proves the death of a cancelled job, then writes it."""
    job = scene.add_and_claim()
    scene.end(job, Outcome.CANCELLED, error="not needed")
    record = scene.get(job.id)
    assert (record.status, record.ended) == (JobStatus.CANCELLED, True)
    assert record.last_cancelled_at is not None
    assert scene.event_types(job.id) == ["added", "processing", "cancelled"]


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_progress_is_kept_and_only_its_latest_event(scene: Scene, outcome: Outcome) -> None:
    """Progress is what the handler said last; a completed job that ever reported shows 100."""
    job = scene.add_and_claim()
    for percent in (10, 20.5):
        scene.transact(progress=[ProgressNote(job.id, job.fence, percent)])
    assert scene.get(job.id).progress == 20.5
    assert scene.event_types(job.id) == ["added", "processing", "progress"]
    assert scene.last_event(job.id).metadata == {"percent": 20.5}
    scene.complete(job) if outcome is Outcome.SUCCEEDED else scene.end(job)
    assert scene.get(job.id).progress == (100 if outcome is Outcome.SUCCEEDED else 20.5)


def test_progress_and_end_in_one_transaction_are_both_written(scene: Scene) -> None:
    """The last word on progress often comes with the end."""
    job = scene.add_and_claim()
    receipts = scene.complete(job, progress=[ProgressNote(job.id, job.fence, 99)])
    assert receipts.refused == []
    assert scene.event_types(job.id) == ["added", "processing", "progress", "completed"]


def test_a_job_without_progress_has_none_when_completed(scene: Scene) -> None:
    """100 is not made up."""
    job = scene.add_and_claim()
    scene.complete(job)
    assert scene.get(job.id).progress is None


def test_text_that_databases_refuse_is_made_storable(scene: Scene) -> None:
    """Errors and captured output are for people: NUL and lone surrogates are replaced, nothing is cut off."""
    job = scene.add_and_claim()
    facts = AttemptFacts(captured="a\0b\ud800c", stack_dump="x\0y", left_behind=["n\0m (1)", "\udcff (2)"])
    scene.end(job, error="bad \0 and \udfff end", facts=facts)
    (attempt,) = scene.store.attempts(job.id)
    assert attempt.captured == "a\ufffdb?c"
    assert attempt.stack_dump == "x\ufffdy"
    assert attempt.error == "bad \ufffd and ? end"
    assert scene.get(job.id).error_history[0].message == attempt.error
    assert attempt.left_behind == ["n\ufffdm (1)", "? (2)"]


def test_a_retry_delay_of_the_handlers_choice_is_kept(scene: Scene) -> None:
    """RetryLater's seconds replace the job's own delay this once."""
    job = scene.add_and_claim()
    scene.end(job, retry_after=5.5)
    record = scene.get(job.id)
    assert record.next_attempt_at is not None
    assert record.last_failed_at is not None
    assert (record.next_attempt_at - record.last_failed_at).total_seconds() == 5.5


def test_the_report_raises_the_beat(scene: Scene) -> None:
    """The row shows what the node says of itself, and a counter that observers can see standing still."""
    scene.transact(report='{"slots": 2}')
    scene.transact(report='{"slots": 3}')
    scene.transact()
    (node,) = scene.store.nodes()
    assert (node.beat, node.report) == (2, {"slots": 3})
    assert node.beat_us == scene.now_us - SECOND_US
