"""What people may do to a job: cancel and retry. Each works in one transaction that its caller began.

A running job is never changed here: a wish is written on its row, for its owner to see (R15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import insert, select, update

from jobwarden.errors import JobStateError, UnknownJobError
from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS
from jobwarden.jobs.outcome import FailureReason, JobStatus
from jobwarden.store.entries import storable
from jobwarden.store.follow_up import follow_up
from jobwarden.store.free_ends import end_free_jobs
from jobwarden.store.readiness import readiness
from jobwarden.store.schema import event, job

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobwarden.store.statements import Statements

_decode_wished = msgspec.json.Decoder(list[tuple[int, str | None]]).decode

CANCELLED = "cancelled"
ASKED = "asked"


def cancel_job(connection: Connection, sql: Statements, job_id: int, *, now_us: int, reason: str | None) -> str:
    """CANCELLED for a job that was waiting for its turn, ASKED for a running one (its owner will end it).

    Raises UnknownJobError, or JobStateError for a job that has ended.
    """
    found = _locked(connection, job_id)
    reason = storable(reason)
    if found.ended_at is not None:
        raise JobStateError(job_id, found.status, "cancelled")
    if found.status == JobStatus.PROCESSING:
        _change(connection, job_id, wish="cancel", wish_reason=reason, wish_at=now_us)
        return ASKED
    end_free_jobs(
        connection,
        sql,
        {job_id: reason},
        status=JobStatus.CANCELLED,
        failure_reason=FailureReason.CANCELLED,
        now_us=now_us,
    )
    follow_up(connection, sql, ended=[job_id], now_us=now_us)
    return CANCELLED


def obey_wishes(connection: Connection, sql: Statements, *, now_us: int) -> None:
    """Cancel the jobs that somebody wished cancelled while they ran and that have come free in another way."""
    wished = _decode_wished(connection.execute(sql.wished_cancelled).scalar_one())
    if wished:
        ended = end_free_jobs(
            connection,
            sql,
            dict(wished),
            status=JobStatus.CANCELLED,
            failure_reason=FailureReason.CANCELLED,
            now_us=now_us,
        )
        follow_up(connection, sql, ended=ended, now_us=now_us)


def retry_job(connection: Connection, job_id: int, *, now_us: int) -> None:
    """Give the job another attempt, at once; quarantine and its counters are forgotten.

    Raises UnknownJobError, or JobStateError unless it has failed, was cancelled or is retrying.
    """
    found = _locked(connection, job_id)
    if found.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise JobStateError(job_id, found.status, "retried")
    ready, due_at, _gate = readiness(JobStatus.PENDING, due_us=now_us, now_us=now_us)
    allowed = found.max_attempts or DEFAULT_MAX_ATTEMPTS
    _change(
        connection,
        job_id,
        status=JobStatus.PENDING,
        updated_at=now_us,
        last_retried_at=now_us,
        ready=ready,
        due_at=due_at,
        next_attempt_at=None,
        ended_at=None,
        pending_reason=None,
        max_attempts=found.attempts + 1 if found.attempts >= allowed else found.max_attempts,
        crashes=0,
        interruptions=0,
        lost_in_row=0,
        wish=None,
        fence=job.c.fence + 1,
    )
    _record(connection, job_id, "retried", now_us=now_us, metadata={"from": found.status})


class _Seen(NamedTuple):
    status: JobStatus
    ended_at: int | None
    attempts: int
    max_attempts: int | None


_SEEN = [job.c[name] for name in _Seen._fields]


def _locked(connection: Connection, job_id: int) -> _Seen:
    row = connection.execute(select(*_SEEN).where(job.c.id == job_id).with_for_update()).first()
    if row is None:
        raise UnknownJobError(job_id)
    return _Seen(*row)


def _change(connection: Connection, job_id: int, **values: object) -> None:
    connection.execute(update(job).where(job.c.id == job_id).values(**values))


def _record(connection: Connection, job_id: int, kind: str, *, now_us: int, metadata: dict[str, str] | None) -> None:
    text = None if metadata is None else msgspec.json.encode(metadata).decode()
    connection.execute(insert(event), {"job_id": job_id, "type": kind, "at": now_us, "metadata": text})
