"""What becomes of a job when an attempt ends: who pays (design §7), and the one retry path (P8)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobwarden.jobs import ClaimedJob, Ending, FailureReason, JobStatus, Outcome, complete, end_attempt
from jobwarden.jobs.ending import FREE_INTERRUPTIONS
from jobwarden.jobs.retry import LONGEST_DELAY_SECONDS, retry_delay_seconds

NOW_US = 1_700_000_000_000_000
JOB = ClaimedJob(
    id=1,
    fence=4,
    job_type="t",
    payload="null",
    attempts=1,
    max_attempts=3,
    timeout_ms=None,
    force_kill_on_timeout=0,
    retry_delay=60.0,
    retry_backoff=1,
    retry_delay_max=None,
    crashes=0,
    interruptions=0,
    lost_in_row=0,
)
UNSUCCESSFUL = [each for each in Outcome if each not in {Outcome.SUCCEEDED, Outcome.PARKED}]


def job(**changes: object) -> ClaimedJob:
    """The usual job with some fields changed."""
    return msgspec.structs.replace(JOB, **changes)


def end(outcome: Outcome, *, jitter: float = 1.0, permanent: bool = False, **changes: object) -> Ending:
    """How an attempt of the usual job ends."""
    return end_attempt(job(**changes), outcome, error="e", now_us=NOW_US, jitter=jitter, permanent=permanent)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CRASHED, Outcome.MEMORY_EXCEEDED])
def test_a_failure_with_attempts_left_is_retried(outcome: Outcome) -> None:
    """It shows `failed` with a next attempt; the attempt is paid for."""
    ending = end(outcome)
    assert (ending.status, ending.attempts, ending.ended) == (JobStatus.FAILED, 1, False)
    assert ending.next_attempt_us == NOW_US + 120 * 1_000_000


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CRASHED, Outcome.MEMORY_EXCEEDED])
def test_the_last_failure_ends_the_job(outcome: Outcome) -> None:
    """`nextAttemptAt` is null, whatever way it failed: also a job that dies on its last attempt."""
    ending = end(outcome, attempts=3)
    assert (ending.status, ending.next_attempt_us, ending.ended) == (JobStatus.FAILED, None, True)


@pytest.mark.parametrize("outcome", [Outcome.INTERRUPTED, Outcome.LOST])
def test_an_interruption_gives_the_attempt_back(outcome: Outcome) -> None:
    """Also the only one it had: the job is pending again, at once."""
    ending = end(outcome, attempts=1, max_attempts=1)
    assert (ending.status, ending.attempts, ending.next_attempt_us) == (JobStatus.PENDING, 0, NOW_US)
    assert ending.interruptions == 1


def test_interruptions_are_free_until_they_are_too_many() -> None:
    """From the twenty-first on each costs an attempt, so no job goes round for ever."""
    assert end(Outcome.INTERRUPTED, interruptions=FREE_INTERRUPTIONS - 1).attempts == 0
    ending = end(Outcome.INTERRUPTED, interruptions=FREE_INTERRUPTIONS)
    assert (ending.attempts, ending.status) == (1, JobStatus.PENDING)
    assert end(Outcome.INTERRUPTED, interruptions=FREE_INTERRUPTIONS, max_attempts=1).ended


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.MEMORY_EXCEEDED])
def test_the_third_crash_is_quarantine(outcome: Outcome) -> None:
    """P8: failed for good with its reason, whatever attempts are left."""
    assert not end(outcome, crashes=1, max_attempts=99).ended
    ending = end(outcome, crashes=2, max_attempts=99)
    assert (ending.ended, ending.pending_reason, ending.crashes) == (True, "quarantined", 3)


def test_the_fifth_loss_in_a_row_is_quarantine() -> None:
    """A job that takes its host down does not travel through the fleet."""
    assert not end(Outcome.LOST, lost_in_row=3).ended
    ending = end(Outcome.LOST, lost_in_row=4)
    assert (ending.ended, ending.pending_reason) == (True, "quarantined")
    assert ending.failure_reason is FailureReason.LOST


@pytest.mark.parametrize("outcome", [each for each in UNSUCCESSFUL if each is not Outcome.LOST])
def test_any_other_end_breaks_the_row_of_losses(outcome: Outcome) -> None:
    """Somebody saw how it ended."""
    assert end(outcome, lost_in_row=4).lost_in_row == 0


def test_a_crash_long_ago_does_not_quarantine_a_plain_failure() -> None:
    """Only a crash raises the count, and only then is it judged."""
    assert not end(Outcome.FAILED, crashes=3, max_attempts=99).ended


def test_a_cancelled_attempt_ends_the_job() -> None:
    """Cancelled is cancelled, whatever attempts are left."""
    ending = end(Outcome.CANCELLED)
    assert (ending.status, ending.ended, ending.failure_reason) == (JobStatus.CANCELLED, True, FailureReason.CANCELLED)


def test_a_permanent_failure_is_not_retried() -> None:
    """The handler said that trying again is of no use."""
    assert end(Outcome.FAILED, permanent=True, max_attempts=99).ended


def test_a_handlers_own_delay_replaces_the_jobs() -> None:
    """RetryLater, this one time."""
    ending = end_attempt(JOB, Outcome.FAILED, error="e", now_us=NOW_US, jitter=0.5, retry_after=1.5)
    assert ending.next_attempt_us == NOW_US + 1_500_000


def test_a_success_keeps_the_counts() -> None:
    """Crashes and interruptions stay on record; the row of losses is over."""
    ending = complete(job(crashes=2, interruptions=3, lost_in_row=4), output="1", now_us=NOW_US)
    assert (ending.status, ending.ended, ending.crashes, ending.interruptions) == (JobStatus.COMPLETED, True, 2, 3)
    assert (ending.lost_in_row, ending.output) == (0, "1")


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(
    st.sampled_from(UNSUCCESSFUL),
    st.builds(
        job,
        attempts=st.integers(1, 5),
        max_attempts=st.integers(1, 5),
        crashes=st.integers(0, 4),
        interruptions=st.integers(0, 30),
        lost_in_row=st.integers(0, 6),
    ),
    st.booleans(),
)
def test_every_end_leaves_the_job_ended_or_due(outcome: Outcome, claimed: ClaimedJob, permanent: bool) -> None:  # noqa: FBT001 - drawn
    """P1, P8: nothing is left pending for ever, no attempt goes below zero, and it comes to an end."""
    ending = end_attempt(claimed, outcome, error="e", now_us=NOW_US, jitter=0.7, permanent=permanent)
    assert ending.ended == (ending.next_attempt_us is None)
    assert 0 <= ending.attempts <= claimed.attempts
    progressed = ending.attempts == claimed.attempts or ending.interruptions > claimed.interruptions
    assert ending.ended or progressed, "the same again for ever"
    if not ending.ended:
        assert ending.next_attempt_us is not None
        assert ending.next_attempt_us >= NOW_US


def test_the_delay_doubles_with_each_attempt() -> None:
    """The delay times 2^attempts times jitter."""
    delays = [retry_delay_seconds(job(attempts=attempts), jitter=1.0) for attempts in (1, 2, 3)]
    assert delays == [120.0, 240.0, 480.0]
    assert retry_delay_seconds(job(attempts=1), jitter=0.5) == 60.0


def test_without_backoff_the_delay_is_plain() -> None:
    """No factor, no jitter."""
    assert retry_delay_seconds(job(retry_backoff=0, attempts=5), jitter=0.5) == 60.0


@pytest.mark.parametrize("backoff", [0, 1])
def test_the_delay_has_a_limit(backoff: int) -> None:
    """`retry_delay_max`, and a year in any case, however many attempts there were."""
    limited = job(retry_backoff=backoff, retry_delay_max=7.0, attempts=3)
    assert retry_delay_seconds(limited, jitter=1.0) == 7.0
    assert retry_delay_seconds(job(attempts=10_000), jitter=1.0) == LONGEST_DELAY_SECONDS


@pytest.mark.parametrize("asked", [float("nan"), float("inf"), 1e300, -5.0])
def test_a_delay_that_no_date_can_hold_is_bounded(asked: float) -> None:
    """Whatever number a handler asks to be retried after, its job gets a next attempt that can be stored."""
    ending = end_attempt(JOB, Outcome.FAILED, error="no", now_us=0, jitter=1, retry_after=asked)
    assert ending.next_attempt_us is not None
    assert 0 <= ending.next_attempt_us <= 366 * 86_400 * 1_000_000
