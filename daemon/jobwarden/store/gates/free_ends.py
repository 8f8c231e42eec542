"""Ending jobs that nobody runs: cancelled by people, expired, or given up because of a prerequisite.

Works in sets, in a transaction that its caller began, and leaves running jobs alone. The caller follows up
(`follow_up`), because it may have more to follow up than these.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, select, text, update

from jobwarden.jobs.outcome import JobStatus
from jobwarden.store import entries
from jobwarden.store.gates import dead_letters
from jobwarden.store.keeping import tallies
from jobwarden.store.matching import chunks
from jobwarden.store.people.filters import FREE
from jobwarden.store.schema import barrier, event, job, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Row

    from jobwarden.jobs.outcome import FailureReason
    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.row_locks import Condition
    from jobwarden.store.statements import Statements


def end_free_jobs(
    connection: Connection,
    sql: Statements,
    reasons: Mapping[int, str | None],
    *,
    status: JobStatus,
    failure_reason: FailureReason,
    touched: set[Place],
    now_us: int,
    only: Condition = FREE,
    patient: bool = True,
) -> list[int]:
    """End those of these jobs that are free (pending, waiting, retrying), each with its reason; the ids that were.

    `status` is CANCELLED or FAILED; `only` must hold of them besides, when they have been locked. Not `patient`: those
    that somebody else is changing are passed over. Writes row, event, tally, live tags and dead letter; the caller
    follows up, and has the lanes of `touched` places adjusted.
    """
    told = {job_id: entries.storable(reason) for job_id, reason in reasons.items()}
    ended: list[int] = []
    for ids in chunks(sorted(told)):
        free = connection.execute(_free(ids).where(only).with_for_update(skip_locked=not patient)).all()
        if not free:
            continue
        found = [row.id for row in free]
        _end(connection, free, told, status=status, failure_reason=failure_reason, now_us=now_us)
        tallies.note(connection, Counter((row.job_type, str(status)) for row in free))
        bury_tags(connection, found)
        connection.execute(delete(barrier).where(barrier.c.job_id.in_(found)))
        if status is JobStatus.FAILED:
            touched |= dead_letters.send(connection, sql, found, now_us=now_us)
        ended += found
    return ended


def bury_tags(connection: Connection, ids: Sequence[int]) -> None:
    """Nobody waits for the tags of these jobs any more: they have ended."""
    for some in chunks(ids):
        connection.execute(update(tag).where(tag.c.job_id.in_(some), text("live = 1")).values(live=None))


def _free(ids: Sequence[int]) -> Any:
    columns = (job.c.id, job.c.job_type, job.c.error_history)
    return select(*columns).where(job.c.id.in_(ids), FREE).order_by(job.c.id)


def _end(
    connection: Connection,
    free: Sequence[Row[Any]],
    reasons: Mapping[int, str | None],
    *,
    status: JobStatus,
    failure_reason: FailureReason,
    now_us: int,
) -> None:
    failed = status is JobStatus.FAILED
    values: dict[str, Any] = {
        "status": status,
        "failure_reason": failure_reason,
        "updated_at": now_us,
        "last_failed_at" if failed else "last_cancelled_at": now_us,
        "ended_at": now_us,
        **dict.fromkeys(("ready", "due_at", "gate", "next_attempt_at", "pending_reason", "wish")),
    }
    if failed:
        _append_errors(connection, free, reasons, now_us=now_us)
    connection.execute(update(job).where(job.c.id.in_([row.id for row in free])).values(**values))
    rows = [
        {
            "job_id": row.id,
            "type": str(status),
            "at": now_us,
            "metadata": _told(reasons[row.id], status, failure_reason),
        }
        for row in free
    ]
    connection.execute(insert(event), rows)


def _append_errors(
    connection: Connection, free: Sequence[Row[Any]], reasons: Mapping[int, str | None], *, now_us: int
) -> None:
    told = [
        {"ended": row.id, "history": entries.longer_history(row.error_history, reason, at_us=now_us)}
        for row in free
        if (reason := reasons[row.id]) is not None
    ]
    if told:
        mine = update(job).where(job.c.id == bindparam("ended"))
        connection.execute(mine.values(error_history=bindparam("history")), told)


def _told(reason: str | None, status: JobStatus, failure_reason: FailureReason) -> str | None:
    if status is JobStatus.FAILED:
        return entries.as_json({"error": reason, "reason": failure_reason, "willRetry": False})
    return None if reason is None else entries.as_json({"reason": reason})
