"""When a job may be claimed: the one place that derives the private columns ready, due_at and claim_rank (R13).

A row with `ready = 1` stands in the claim index; one with a `due_at` only stands in the due index until it is
promoted; one with neither waits for something other than time, runs, or has ended.
"""

from __future__ import annotations

from typing import NamedTuple

from jobwarden.jobs.outcome import JobStatus

_WAITING_FOR_TIME = frozenset({JobStatus.PENDING, JobStatus.FAILED, JobStatus.WAITING})


class Readiness(NamedTuple):
    """The values of the columns of the same names; `ready` is 1 or None, never 0."""

    ready: int | None
    due_at: int | None


NOT_READY = Readiness(None, None)


def readiness(status: JobStatus, *, due_us: int | None, now_us: int) -> Readiness:
    """What the claim may know of a job that enters `status` now.

    `due_us` is its runAt, nextAttemptAt or waitUntil, in wall microseconds; None if something other than time is
    missing, or if it has ended.
    """
    if due_us is None or status not in _WAITING_FOR_TIME:
        return NOT_READY
    return Readiness(1 if due_us <= now_us else None, due_us)


def claim_rank(priority: int) -> int:
    """Lower goes first; negated because not every database has descending indexes."""
    return -priority
