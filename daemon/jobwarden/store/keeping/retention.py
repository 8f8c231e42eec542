"""What is old goes: ended jobs with their events, keys that hold nobody back any more, slices of rates gone by.

*Ended* decides, never a status: a retrying job is not old, however long ago it failed. A job that others still wait
for stays until the repair pass has told them. Works in batches, each in a transaction that its caller began: the
rounds of the daemon (`rounds`) and the verbs by hand (`upkeep`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import BigInteger, delete, exists, func, literal, or_, select, text, update

from jobwarden.clock import SECOND_US
from jobwarden.jobs.control import ControlScope
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.adding import IDEMPOTENCY_TTL_SECONDS
from jobwarden.store.gates.lanes import lanes_adjusted
from jobwarden.store.moments import later
from jobwarden.store.people.removing import delete_jobs
from jobwarden.store.schema import barrier, control, edge, event, job, key, start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Select

    from jobwarden.store.statements import Statements

DAY_US = 86_400 * SECOND_US

ENDS = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
"""The statuses in which a job may have ended."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How many days an ended job is kept; None keeps it for ever."""

    completed_days: float | None
    ended_days: float | None
    """For failed and cancelled jobs."""

    def days(self, status: JobStatus) -> float | None:
        """How long a job stays that has ended so."""
        return self.completed_days if status is JobStatus.COMPLETED else self.ended_days


def remove_old_jobs(
    connection: Connection, sql: Statements, status: JobStatus, *, before_us: int, limit: int, now_us: int
) -> int:
    """Remove at most `limit` jobs that have ended with this status until `before_us`, the oldest first; how many."""
    ids = list(connection.execute(_old_jobs(status, before_us).limit(limit)).scalars())
    if not ids:
        return 0
    _keep_keys(connection, ids, now_us=now_us)
    with lanes_adjusted(connection, now_us=now_us) as touched:
        return delete_jobs(connection, sql, ids, touched=touched, now_us=now_us)


def _keep_keys(connection: Connection, ids: Sequence[int], *, now_us: int) -> None:
    """A key holds for its time after the end of its job, also if the job is kept for less."""
    ttl_us = IDEMPOTENCY_TTL_SECONDS * SECOND_US
    holder = select(later(job.c.ended_at, literal(ttl_us, BigInteger))).where(
        job.c.id == key.c.job_id, job.c.ended_at > now_us - ttl_us
    )
    held = update(key).where(key.c.job_id.in_(ids), key.c.expires_at.is_(None), holder.exists())
    connection.execute(held.values(expires_at=holder.scalar_subquery()))


def _old_jobs(status: JobStatus, before_us: int) -> Select[int]:
    """Skips what another transaction is changing: it may be retried."""
    waited_for = exists().where(edge.c.depends_on == job.c.id, edge.c.settled.is_(None))
    looked_at = exists().where(barrier.c.waits_for == job.c.id)
    return (
        select(job.c.id)
        .where(text("job.ended_at IS NOT NULL"), job.c.status == status, job.c.ended_at <= before_us)
        .where(~waited_for, ~looked_at)
        .order_by(job.c.ended_at, job.c.id)
        .with_for_update(skip_locked=True)
    )


def old_events(connection: Connection, *, after_id: int, before_us: int, limit: int) -> Sequence[int]:
    """Ids above `after_id`, ascending, of events that are older and whose job has ended or is gone."""
    query = (
        _events_of_the_past().where(event.c.id > after_id, event.c.at <= before_us).order_by(event.c.id).limit(limit)
    )
    return connection.execute(query).scalars().all()


def remove_events(connection: Connection, ids: Sequence[int]) -> int:
    """Remove those of these events whose job has (still) ended or is gone; how many."""
    past = connection.execute(_events_of_the_past().where(event.c.id.in_(ids))).scalars().all()
    return connection.execute(delete(event).where(event.c.id.in_(past))).rowcount


def _events_of_the_past() -> Select[int]:
    joined = event.outerjoin(job, job.c.id == event.c.job_id)
    return select(event.c.id).select_from(joined).where(or_(job.c.id.is_(None), job.c.ended_at.is_not(None)))


def remove_expired_keys(connection: Connection, *, limit: int, now_us: int) -> int:
    """Remove at most `limit` keys whose own time is over; how many."""
    expired = select(key.c.name).where(key.c.expires_at.is_not(None), key.c.expires_at <= now_us)
    oldest = expired.order_by(key.c.expires_at).limit(limit).with_for_update(skip_locked=True)
    names = connection.execute(oldest).scalars().all()
    return connection.execute(delete(key).where(key.c.name.in_(names), key.c.expires_at <= now_us)).rowcount


def remove_idle_keys(connection: Connection, *, after: str, limit: int) -> tuple[int, str]:
    """Of the next `limit` keys by name, remove those whose job is gone.

    Returns how many, and where to go on: "" at the end. The key of a job that is kept stays: an add takes it over when
    its time is over, but if the job is retried before that, it holds again.
    """
    joined = key.outerjoin(job, job.c.id == key.c.job_id)
    idle = key.c.expires_at.is_(None) & job.c.id.is_(None)
    query = select(key.c.name, key.c.job_id, idle.label("idle")).select_from(joined)
    rows = connection.execute(query.where(key.c.name > after).order_by(key.c.name).limit(limit)).all()
    names = [row.name for row in rows if row.idle]
    # An add that takes a key over names another job.
    holders = [row.job_id for row in rows if row.idle]
    gone = (key.c.name.in_(names), key.c.job_id.in_(holders), key.c.expires_at.is_(None))
    idle_ones = select(key.c.name).where(*gone).with_for_update(skip_locked=True)
    locked = connection.execute(idle_ones).scalars().all() if names else []
    number = connection.execute(delete(key).where(key.c.name.in_(locked))).rowcount if locked else 0
    return number, rows[-1].name if len(rows) == limit else ""


def remove_old_slices(connection: Connection, *, now_us: int) -> int:
    """Remove the counts of starts that no rate of their scope looks at any more; how many."""
    longest = select(control.c.scope, func.max(control.c.rate_seconds)).group_by(control.c.scope)
    windows = {scope: seconds or 0.0 for scope, seconds in connection.execute(longest)}
    number = 0
    for scope in (ControlScope.TYPE, ControlScope.GROUP):
        before_us = now_us - int(windows.get(scope, 0.0) * SECOND_US)
        gone = delete(start).where(start.c.scope == scope, start.c.slice < before_us)
        number += connection.execute(gone).rowcount
    return number
