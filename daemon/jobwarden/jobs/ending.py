"""From the outcome of an attempt to what becomes of its job: the one retry path (P8) and who pays (design §7).

Pure: the caller brings time and jitter. The store applies the resulting `Ending` as it is; no rule of this page
is repeated in SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jobwarden.clock import SECOND_US
from jobwarden.jobs.outcome import FailureReason, JobStatus, Outcome
from jobwarden.jobs.retry import bounded_delay, retry_delay_seconds

if TYPE_CHECKING:
    from jobwarden.jobs.claim import ClaimedJob

CRASHES_TO_QUARANTINE = 3
LOST_IN_ROW_TO_QUARANTINE = 5
FREE_INTERRUPTIONS = 20
"""From this many interruptions on, each further one costs an attempt."""

_REASONS = {
    Outcome.FAILED: FailureReason.HANDLER_ERROR,
    Outcome.TIMED_OUT: FailureReason.TIMEOUT,
    Outcome.CRASHED: FailureReason.CRASHED,
    Outcome.MEMORY_EXCEEDED: FailureReason.MEMORY_LIMIT,
    Outcome.CANCELLED: FailureReason.CANCELLED,
    Outcome.INTERRUPTED: FailureReason.LOST,
    Outcome.LOST: FailureReason.LOST,
}


class AttemptFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was seen of one attempt; stored with its outcome event."""

    worker_pid: int | None = None
    generation: int | None = None
    started_us: int | None = None
    ended_us: int | None = None
    signal: int | None = None
    exit_code: int | None = None
    peak_rss_kb: int | None = None
    cpu_ms: int | None = None
    captured: str | None = None
    """The tail of what the attempt printed."""
    stack_dump: str | None = None
    """Python stacks of all threads, taken before a hard kill."""
    left_behind: list[str] | None = None
    """Processes that were still alive when the handler had returned; they were killed."""


NO_FACTS = AttemptFacts()


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's end and the state in which it leaves its job; one entry of a finish statement."""

    job_id: int
    fence: int
    outcome: Outcome
    status: JobStatus
    at_us: int
    next_attempt_us: int | None = None
    """When a retrying or given-back job may be claimed again; None for an ended one."""
    failure_reason: FailureReason | None = None
    error: str | None = None
    """One sentence; appended to the job's error history."""
    pending_reason: str | None = None
    output: str | None = None
    """Raw JSON text."""
    attempts: int = 0
    """The job's count of attempts after this end (a given-back attempt is taken off)."""
    crashes: int = 0
    interruptions: int = 0
    lost_in_row: int = 0
    raise_fence: bool = False
    """True when somebody other than the attempt's owner ends it, so that the owner's own finish is refused."""
    facts: AttemptFacts = NO_FACTS

    @property
    def ended(self) -> bool:
        """Whether the job has ended (design §2)."""
        return self.status in {JobStatus.COMPLETED, JobStatus.CANCELLED} or (
            self.status is JobStatus.FAILED and self.next_attempt_us is None
        )


def complete(job: ClaimedJob, *, output: str | None, now_us: int, facts: AttemptFacts = NO_FACTS) -> Ending:
    """The handler returned: the job is completed."""
    return Ending(
        job_id=job.id,
        fence=job.fence,
        outcome=Outcome.SUCCEEDED,
        status=JobStatus.COMPLETED,
        at_us=now_us,
        output=output,
        attempts=job.attempts,
        crashes=job.crashes,
        interruptions=job.interruptions,
        facts=facts,
    )


def end_attempt(
    job: ClaimedJob,
    outcome: Outcome,
    *,
    error: str,
    now_us: int,
    jitter: float,
    reason: FailureReason | None = None,
    permanent: bool = False,
    retry_after: float | None = None,
    raise_fence: bool = False,
    facts: AttemptFacts = NO_FACTS,
) -> Ending:
    """Decide what follows from an attempt that did not succeed.

    `jitter` is a number in [0.5, 1]. `reason` refines the default reason of the outcome (`invalid_payload`,
    `no_handler`). `permanent` forbids a retry; `retry_after` (seconds) replaces the job's own delay.
    """
    crashes = job.crashes + (outcome in {Outcome.CRASHED, Outcome.MEMORY_EXCEEDED})
    given_back = outcome in {Outcome.INTERRUPTED, Outcome.LOST}
    interruptions = job.interruptions + given_back
    lost_in_row = job.lost_in_row + 1 if outcome is Outcome.LOST else 0
    attempts = job.attempts - (given_back and interruptions <= FREE_INTERRUPTIONS)
    quarantined = (crashes > job.crashes and crashes >= CRASHES_TO_QUARANTINE) or (
        lost_in_row >= LOST_IN_ROW_TO_QUARANTINE
    )
    status, next_us = JobStatus.FAILED, None
    if outcome is Outcome.CANCELLED:
        status = JobStatus.CANCELLED
    elif permanent or quarantined or attempts >= job.max_attempts:
        pass
    elif given_back:
        status, next_us = JobStatus.PENDING, now_us
    else:
        delay = retry_delay_seconds(job, jitter=jitter) if retry_after is None else bounded_delay(retry_after)
        next_us = now_us + int(delay * SECOND_US)
    return Ending(
        job_id=job.id,
        fence=job.fence,
        outcome=outcome,
        status=status,
        at_us=now_us,
        next_attempt_us=next_us,
        failure_reason=reason or _REASONS[outcome],
        error=error,
        pending_reason="quarantined" if quarantined else None,
        attempts=attempts,
        crashes=crashes,
        interruptions=interruptions,
        lost_in_row=lost_in_row,
        raise_fence=raise_fence,
        facts=facts,
    )
