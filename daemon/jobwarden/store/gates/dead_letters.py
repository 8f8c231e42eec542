"""Dead letters: a job that has failed for good leaves a pending job of its dead letter type, and both name each other.

Called in the transaction in which the job ended, whatever ended it; never ends or changes anything else. A dead letter
has no dead letter type of its own, so there are no loops, and a job gets at most one, also when it is retried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import bindparam, insert, select, text, update

from jobwarden.clock import to_datetime
from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, JobOptions
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store import entries
from jobwarden.store.gates.lanes import Lanes
from jobwarden.store.numbers import reserve_numbers
from jobwarden.store.readiness import readiness
from jobwarden.store.schema import event, job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements

_COLUMNS = [
    job.c[name]
    for name in (
        "id",
        "job_type",
        "attempts",
        "max_attempts",
        "payload",
        "error_history",
        "failure_reason",
        "ended_at",
        "dead_letter_job_type",
    )
]


def send(connection: Connection, sql: Statements, ids: Sequence[int], *, now_us: int) -> set[Place]:
    """Add the dead letters of those of these jobs that have failed for good and have none yet. At most 500 ids.

    Returns the letters' places: the caller has the lanes adjusted.
    """
    query = select(*_COLUMNS).where(
        job.c.id.in_(ids),
        text("status = 'failed' AND ended_at IS NOT NULL AND dead_lettered_at IS NULL"),
        job.c.dead_letter_job_type.is_not(None),
    )
    failed = connection.execute(query.order_by(job.c.id)).all()
    if not failed:
        return set()
    lanes = Lanes.load(connection)
    numbers, _controlled = reserve_numbers(connection, sql, len(failed))
    letters = list(zip(numbers, failed, strict=True))
    rows = [_letter(letter_id, row, lanes=lanes, now_us=now_us) for letter_id, row in letters]
    for _, some in entries.portions(rows, longest_bytes=sql.longest_set_bytes):
        connection.execute(sql.insert_jobs_in_full, {"entries": some, "now": now_us})
    _link(connection, letters, now_us=now_us)
    _record(connection, letters, now_us=now_us)
    return set() if lanes.empty else {(row.dead_letter_job_type, None) for row in failed}


def _letter(letter_id: int, row: Row[Any], *, lanes: Lanes, now_us: int) -> entries.Row:
    limited = lanes.limited(row.dead_letter_job_type, None)
    place = readiness(JobStatus.PENDING, due_us=now_us, now_us=now_us, limited=limited)
    options = JobOptions(job_type=row.dead_letter_job_type)
    known = entries.added(options, now_us=now_us, payload=_payload(row))
    return (letter_id, *known, *place, *entries.rare_fields(options, now_us=now_us))


def _payload(row: Row[Any]) -> str:
    """The fixed shape of design section 6. The original payload is text that is JSON, however large it is."""
    original = {
        "id": row.id,
        "jobType": row.job_type,
        "attempts": row.attempts,
        "maxAttempts": row.max_attempts or DEFAULT_MAX_ATTEMPTS,
    }
    history = msgspec.json.decode(row.error_history or "[]")
    failure = {
        "message": history[-1]["message"] if history else None,
        "reason": row.failure_reason,
        "failedAt": to_datetime(row.ended_at).isoformat().replace("+00:00", "Z"),
    }
    return (
        f'{{"originalJob":{entries.as_json(original)},"originalPayload":{row.payload},'
        f'"failure":{entries.as_json(failure)}}}'
    )


def _link(connection: Connection, letters: list[tuple[int, Row[Any]]], *, now_us: int) -> None:
    original = update(job).where(job.c.id == bindparam("original"))
    linked = original.values(dead_lettered_at=now_us, dead_letter_job_id=bindparam("letter"), updated_at=now_us)
    connection.execute(linked, [{"original": row.id, "letter": letter_id} for letter_id, row in letters])


def _record(connection: Connection, letters: list[tuple[int, Row[Any]]], *, now_us: int) -> None:
    told: list[tuple[int, str, dict[str, object]]] = []
    for letter_id, row in letters:
        names = {"deadLetterJobId": letter_id, "deadLetterJobType": row.dead_letter_job_type}
        told += [(row.id, "dead_lettered", names), (letter_id, "added", {"deadLetterOf": row.id})]
    rows = [{"job_id": job_id, "type": kind, "at": now_us, "metadata": entries.as_json(m)} for job_id, kind, m in told]
    connection.execute(insert(event), rows)
