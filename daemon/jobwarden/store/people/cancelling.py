"""Cancelling in sets: free jobs end at once, running ones get a wish for their owner to see (R15).

Works in a transaction that its caller began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from jobwarden.jobs.outcome import FailureReason, JobStatus
from jobwarden.store.entries import storable
from jobwarden.store.gates.follow_up import follow_up
from jobwarden.store.gates.free_ends import end_free_jobs
from jobwarden.store.matching import chunks
from jobwarden.store.people.filters import RUNNING
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements


def cancel_jobs(
    connection: Connection,
    sql: Statements,
    reasons: Mapping[int, str | None],
    *,
    touched: set[Place],
    now_us: int,
    patient: bool = True,
) -> list[int]:
    """End those of these jobs that are free, each with its reason, and what follows from it; the ids of those.

    Not `patient`: without those that somebody else is changing.
    """
    ended = end_free_jobs(
        connection,
        sql,
        reasons,
        status=JobStatus.CANCELLED,
        failure_reason=FailureReason.CANCELLED,
        touched=touched,
        now_us=now_us,
        patient=patient,
    )
    follow_up(connection, sql, ended=ended, touched=touched, now_us=now_us)
    return ended


def ask_to_cancel(connection: Connection, ids: Sequence[int], *, reason: str | None, now_us: int) -> None:
    """Write the wish on those of these jobs that run."""
    wish = {"wish": "cancel", "wish_reason": storable(reason), "wish_at": now_us}
    for some in chunks(ids):
        connection.execute(update(job).where(job.c.id.in_(some), RUNNING).values(wish))
