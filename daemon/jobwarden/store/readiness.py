"""When a job may be claimed: the one place that derives the private columns ready, due_at and claim_rank (R13).

A row with `ready = 1` stands in the claim index; one with a `due_at` and no gate stands in the due index until it is
promoted; one with a gate waits for something other than time; one with none of these runs or has ended.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from jobwarden.jobs.outcome import JobStatus

_WAITING_FOR_TIME = frozenset({JobStatus.PENDING, JobStatus.FAILED, JobStatus.WAITING})


class Gate(StrEnum):
    """What other than time is missing. A job passes its gates in this order, and time between TAGS and LANE."""

    PARENTS = "parents"
    """A prerequisite has not been settled: there is an open `edge`. `due_at` is null."""
    TAGS = "tags"
    """An earlier job with these tags has not ended: there is a `barrier`. `due_at` is null."""
    LANE = "lane"
    """It is due, but its type or group is limited and full. `due_at` says since when it is due, for the order."""


class Readiness(NamedTuple):
    """The values of the columns of the same names; `ready` is 1 or None, never 0."""

    ready: int | None
    due_at: int | None
    gate: Gate | None = None


NOT_READY = Readiness(None, None)


def readiness(
    status: JobStatus, *, due_us: int | None, now_us: int, gate: Gate | None = None, limited: bool = False
) -> Readiness:
    """What the claim may know of a job that enters `status` now.

    `due_us` is its runAt, nextAttemptAt or waitUntil, in wall microseconds; None if it has ended. `gate` is PARENTS
    or TAGS if one of these holds it; `limited` says that a lane has to admit it once it is due (see `lanes`).
    """
    if due_us is None or status not in _WAITING_FOR_TIME:
        return NOT_READY
    if gate is not None:
        return Readiness(None, None, gate)
    if due_us > now_us:
        return Readiness(None, due_us)
    return Readiness(None, due_us, Gate.LANE) if limited else Readiness(1, due_us)


def claim_rank(priority: int) -> int:
    """Lower goes first; negated because not every database has descending indexes."""
    return -priority
