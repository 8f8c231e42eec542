"""Retrying a job together with what ended because of it, found level by level and revived at once.

Only jobs that were cancelled or failed as dependents are revived; each waits again for those of its prerequisites
that have not completed, and ends again if another one of them has failed. Works in a transaction of its caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select, text, update

from jobwarden.jobs.outcome import FailureReason, JobStatus
from jobwarden.store.gates.edges import MET
from jobwarden.store.matching import chunks
from jobwarden.store.people.reviving import revive_jobs
from jobwarden.store.row_locks import lock_jobs
from jobwarden.store.schema import edge, job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements

# MISSED or GAVE_UP; a literal, so that the partial index edge_failed is used.
_FAILED = text("edge.settled > 1")
_BECAUSE_OF_OTHERS = and_(job.c.ended_at.is_not(None), job.c.failure_reason == FailureReason.DEPENDENCY)


def revive_dependents(
    connection: Connection, sql: Statements, ids: Sequence[int], *, touched: set[Place], now_us: int
) -> list[int]:
    """Revive what ended because of these jobs, which live again, and what ended because of that; the ids."""
    found: set[int] = set()
    level = list(ids)
    while level:
        level = [job_id for job_id in _given_up(connection, level) if job_id not in found]
        found.update(level)
    together = lock_jobs(connection, sorted(found), _BECAUSE_OF_OTHERS)
    for some in chunks(together):
        _reopen(connection, some)
    return revive_jobs(connection, sql, together, touched=touched, now_us=now_us)


def _given_up(connection: Connection, ids: Sequence[int]) -> list[int]:
    found: set[int] = set()
    for some in chunks(ids):
        query = (
            select(edge.c.job_id)
            .join_from(edge, job, job.c.id == edge.c.job_id)
            .where(_FAILED, edge.c.depends_on.in_(some), _BECAUSE_OF_OTHERS)
        )
        found.update(connection.execute(query).scalars())
    return sorted(found)


def _reopen(connection: Connection, ids: Sequence[int]) -> None:
    """A prerequisite that was removed since is met if it was met before."""
    to_come = select(job.c.id).where(job.c.id == edge.c.depends_on, job.c.status != JobStatus.COMPLETED).exists()
    edges_of_these = update(edge).where(edge.c.job_id.in_(ids), or_(edge.c.settled != MET, to_come))
    connection.execute(edges_of_these.values(settled=None))
