"""Retrying a job together with what ended because of it, level by level. Works in a transaction of its caller's.

Only jobs that were cancelled or failed as dependents are revived; each waits again for those of its prerequisites
that have not completed, and ends again if another one of them has failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from jobwarden.jobs.outcome import FailureReason, JobStatus, OnParentFailure
from jobwarden.store.matching import chunks
from jobwarden.store.reviving import revive_jobs
from jobwarden.store.schema import edge, job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from jobwarden.store.statements import Statements


def revive_dependents(connection: Connection, sql: Statements, ids: Sequence[int], *, now_us: int) -> list[int]:
    """Revive what ended because of these jobs, which live again, and what ended because of that; the ids."""
    revived: list[int] = []
    level = list(ids)
    while level:
        level = _given_up(connection, level)
        for some in chunks(level):
            _reopen(connection, some)
        revived += revive_jobs(connection, sql, level, now_us=now_us)
    return revived


def _given_up(connection: Connection, ids: Sequence[int]) -> list[int]:
    found: set[int] = set()
    for some in chunks(ids):
        query = (
            select(edge.c.job_id)
            .join_from(edge, job, job.c.id == edge.c.job_id)
            .where(edge.c.depends_on.in_(some), edge.c.on_failure != OnParentFailure.RUN)
            .where(job.c.ended_at.is_not(None), job.c.failure_reason == FailureReason.DEPENDENCY)
        )
        found.update(connection.execute(query).scalars())
    return sorted(found)


def _reopen(connection: Connection, ids: Sequence[int]) -> None:
    completed = select(job.c.id).where(job.c.id == edge.c.depends_on, job.c.status == JobStatus.COMPLETED).exists()
    edges_of_these = update(edge).where(edge.c.job_id.in_(ids), ~completed)
    connection.execute(edges_of_these.values(settled=None))
