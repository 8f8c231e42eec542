"""Expiry: a job that was not started by its `expiresAt` is cancelled, with a reason.

Never started means that `startedAt` is empty: a job that was given back unstarted can expire, one that was interrupted
or is retrying cannot. Called by the claim before it chooses, and by maintenance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, text

from jobwarden.clock import to_datetime
from jobwarden.jobs.outcome import FailureReason, JobStatus
from jobwarden.store.gates.follow_up import follow_up
from jobwarden.store.gates.free_ends import end_free_jobs
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements

MOST_AT_ONCE = 500
MOST_ROUNDS = 10

# A literal, so that the partial index job_expiry is used.
_EXPIRING = text("expires_at IS NOT NULL AND started_at IS NULL AND ended_at IS NULL")


def expire_all(connection: Connection, sql: Statements, *, touched: set[Place], now_us: int) -> bool:
    """Cancel all whose time is over, thousands at most; whether none is left, so that a claim may choose."""
    for _ in range(MOST_ROUNDS):
        over = _over(connection, now_us=now_us, limit=MOST_AT_ONCE)
        _end(connection, sql, over, touched=touched, now_us=now_us)
        if len(over) < MOST_AT_ONCE:
            return True
    return False


def expire(
    connection: Connection, sql: Statements, *, touched: set[Place], now_us: int, limit: int = MOST_AT_ONCE
) -> list[int]:
    """Cancel at most `limit` jobs whose time is over, the longest over first, and what follows; their ids."""
    over = _over(connection, now_us=now_us, limit=limit)
    return _end(connection, sql, over, touched=touched, now_us=now_us)


def _over(connection: Connection, *, now_us: int, limit: int) -> dict[int, str | None]:
    """Job -> why it is cancelled."""
    query = select(job.c.id, job.c.expires_at).where(_EXPIRING, job.c.expires_at <= now_us)
    return {
        row.id: f"not started by {to_datetime(row.expires_at):%Y-%m-%d %H:%M:%S} UTC, when it expired"
        for row in connection.execute(query.order_by(job.c.expires_at, job.c.id).limit(limit))
    }


def _end(
    connection: Connection, sql: Statements, reasons: dict[int, str | None], *, touched: set[Place], now_us: int
) -> list[int]:
    """Not those that have been started meanwhile, or that somebody else is about to end."""
    if not reasons:
        return []
    ended = end_free_jobs(
        connection,
        sql,
        reasons,
        status=JobStatus.CANCELLED,
        failure_reason=FailureReason.EXPIRED,
        touched=touched,
        now_us=now_us,
        only=_EXPIRING,
        patient=False,
    )
    follow_up(connection, sql, ended=ended, touched=touched, now_us=now_us)
    return ended
