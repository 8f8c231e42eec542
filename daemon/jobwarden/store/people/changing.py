"""What people may do to a job: cancel and retry. Each works in one transaction that its caller began.

A running job is never changed here: a wish is written on its row, for its owner to see (R15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import select

from jobwarden.errors import JobStateError, UnknownJobError
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.gates.dependents import revive_dependents
from jobwarden.store.gates.lanes import lanes_adjusted
from jobwarden.store.people.cancelling import ask_to_cancel, cancel_jobs
from jobwarden.store.people.reviving import revive_jobs
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements

_decode_wished = msgspec.json.Decoder(list[tuple[int, str | None]]).decode

CANCELLED = "cancelled"
ASKED = "asked"


def cancel_job(connection: Connection, sql: Statements, job_id: int, *, now_us: int, reason: str | None) -> str:
    """CANCELLED for a job that was waiting for its turn, ASKED for a running one (its owner will end it).

    Raises UnknownJobError, or JobStateError for a job that has ended.
    """
    found = _locked(connection, job_id)
    if found.ended_at is not None:
        raise JobStateError(job_id, found.status, "cancelled")
    if found.status == JobStatus.PROCESSING:
        ask_to_cancel(connection, [job_id], reason=reason, now_us=now_us)
        return ASKED
    with lanes_adjusted(connection, now_us=now_us) as touched:
        cancel_jobs(connection, sql, {job_id: reason}, touched=touched, now_us=now_us)
    return CANCELLED


def obey_wishes(connection: Connection, sql: Statements, *, touched: set[Place], now_us: int) -> None:
    """Cancel the jobs that somebody wished cancelled while they ran and that have come free in another way."""
    wished = _decode_wished(connection.execute(sql.wished_cancelled).scalar_one())
    if wished:
        cancel_jobs(connection, sql, dict(wished), touched=touched, now_us=now_us, patient=False)


def retry_job(
    connection: Connection, sql: Statements, job_id: int, *, now_us: int, with_dependents: bool = False
) -> None:
    """Give the job another attempt, at once; quarantine and its counters are forgotten.

    Jobs that ended because of it stay as they are, unless `with_dependents` takes them along. Raises UnknownJobError,
    or JobStateError unless it has failed, was cancelled or is retrying.
    """
    found = _locked(connection, job_id)
    if found.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise JobStateError(job_id, found.status, "retried")
    with lanes_adjusted(connection, now_us=now_us) as touched:
        revive_jobs(connection, sql, [job_id], touched=touched, now_us=now_us)
        if with_dependents:
            revive_dependents(connection, sql, [job_id], touched=touched, now_us=now_us)


class _Seen(NamedTuple):
    status: JobStatus
    ended_at: int | None


_SEEN = [job.c[name] for name in _Seen._fields]


def _locked(connection: Connection, job_id: int) -> _Seen:
    row = connection.execute(select(*_SEEN).where(job.c.id == job_id).with_for_update()).first()
    if row is None:
        raise UnknownJobError(job_id)
    return _Seen(*row)
