"""Removing jobs with everything that is only theirs: events, tags, edges, barriers, keys without a time of their own.

`delete_jobs` never asks whether a job may go; its callers do: people's `remove` and `clear`, and retention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from jobwarden.errors import JobStateError, UnknownJobError
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.gates.follow_up import follow_up
from jobwarden.store.gates.lanes import lanes_adjusted
from jobwarden.store.keeping import tallies
from jobwarden.store.matching import chunks
from jobwarden.store.people.cancelling import cancel_jobs
from jobwarden.store.schema import edge, event, job, key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements


def remove_job(connection: Connection, sql: Statements, job_id: int, *, now_us: int) -> None:
    """Remove one job. Raises UnknownJobError, or JobStateError for a running one."""
    status = connection.execute(select(job.c.status).where(job.c.id == job_id).with_for_update()).scalar()
    if status is None:
        raise UnknownJobError(job_id)
    if status == JobStatus.PROCESSING:
        raise JobStateError(job_id, status, "removed")
    remove_jobs(connection, sql, [job_id], now_us=now_us)


def remove_jobs(connection: Connection, sql: Statements, ids: Sequence[int], *, now_us: int) -> None:
    """Remove jobs, locked by the caller, of which none runs. For dependents, one that had not ended is cancelled."""
    with lanes_adjusted(connection, now_us=now_us) as touched:
        cancel_jobs(connection, sql, dict.fromkeys(ids, "it was removed"), touched=touched, now_us=now_us)
        delete_jobs(connection, sql, ids, touched=touched, now_us=now_us)


def delete_jobs(
    connection: Connection, sql: Statements, ids: Sequence[int], *, touched: set[Place], now_us: int
) -> int:
    """Delete these jobs and uncount the ended ones; how many there were.

    Dependents that are not settled yet are settled first. The caller has locked them, and has ended what had not ended
    (`end_free_jobs`, `follow_up`); it never gives the id of a running job. Takes as long as there are `ids`: retention
    asks in batches.
    """
    return sum(_delete(connection, sql, some, touched=touched, now_us=now_us) for some in chunks(ids))


def _delete(connection: Connection, sql: Statements, ids: Sequence[int], *, touched: set[Place], now_us: int) -> int:
    _settle_dependents(connection, sql, ids, touched=touched, now_us=now_us)
    ended = select(job.c.job_type, job.c.status, func.count()).where(job.c.id.in_(ids), job.c.ended_at.is_not(None))
    rows = connection.execute(ended.group_by(job.c.job_type, job.c.status))
    tallies.note(connection, {(job_type, status): -number for job_type, status, number in rows})
    connection.execute(delete(event).where(event.c.job_id.in_(ids)))
    # A key with a time of its own holds until then, also without its job.
    connection.execute(delete(key).where(key.c.job_id.in_(ids), key.c.expires_at.is_(None)))
    # Its tags, its edges and its barrier go with it (ON DELETE CASCADE).
    return connection.execute(delete(job).where(job.c.id.in_(ids))).rowcount


def _settle_dependents(
    connection: Connection, sql: Statements, ids: Sequence[int], *, touched: set[Place], now_us: int
) -> None:
    """While the prerequisite can still say how it ended. `follow_up` settles a thousand dependents at a time."""
    left = _open_edges(connection, ids)
    while left:
        follow_up(connection, sql, ended=ids, touched=touched, now_us=now_us)
        before, left = left, _open_edges(connection, ids)
        if left >= before:
            return


def _open_edges(connection: Connection, ids: Sequence[int]) -> int:
    query = select(func.count()).select_from(edge).where(edge.c.settled.is_(None), edge.c.depends_on.in_(ids))
    return connection.execute(query).scalar_one()
