"""Editing jobs that nobody runs: what a `JobChanges` says becomes their row, and all that follows from it.

Only free jobs (pending, waiting, retrying) are edited, and the WHERE says so: an edit that meets a claim loses. An
edit is about no attempt, so it leaves the fence alone. Works in a transaction that its caller began.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import case, delete, insert, null, select, update

from jobwarden.clock import to_us
from jobwarden.errors import InvalidJobError, JobStateError, UnknownJobError
from jobwarden.jobs.filter import JobChanges
from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, encode_json
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store import entries
from jobwarden.store.gates.barriers import look_again
from jobwarden.store.gates.lanes import Lanes, lanes_adjusted
from jobwarden.store.matching import chunks
from jobwarden.store.people.filters import FREE
from jobwarden.store.readiness import Gate, Readiness, claim_rank, readiness
from jobwarden.store.schema import event, job, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements

_CHANGE_PLACE = frozenset({"run_at", "group_id"})
"""What decides when, or in which lanes, a job may run."""
_ELSEWHERE = frozenset({"tags"})


class _Job(NamedTuple):
    id: int
    job_type: str
    group_id: str | None
    status: JobStatus
    attempts: int
    run_at: int
    due_at: int | None
    gate: str | None
    next_attempt_at: int | None
    wait_until: int | None


_COLUMNS = [job.c[name] for name in _Job._fields]


def edit_job(connection: Connection, sql: Statements, job_id: int, changes: JobChanges, *, now_us: int) -> None:
    """Edit one job. Raises UnknownJobError, JobStateError unless it is free, InvalidJobError as `edit_jobs`."""
    found = connection.execute(select(job.c.status, job.c.ended_at).where(job.c.id == job_id).with_for_update()).first()
    if found is None:
        raise UnknownJobError(job_id)
    if found.ended_at is not None or found.status == JobStatus.PROCESSING:
        raise JobStateError(job_id, found.status, "edited")
    edit_jobs(connection, sql, [job_id], changes, now_us=now_us)


def edit_jobs(
    connection: Connection, sql: Statements, ids: Sequence[int], changes: JobChanges, *, now_us: int
) -> list[int]:
    """Edit those of these jobs that are free; their ids.

    A new `run_at` does not shorten or lengthen the wait of a retrying job: that is its `nextAttemptAt`. New tags hold
    up jobs that are added from now on. Raises InvalidJobError for a payload that cannot be stored, and for a
    `max_attempts` that leaves one of the jobs no attempt; then the caller rolls back.
    """
    values = _values(changes, now_us=now_us)
    lanes = Lanes.load(connection)
    edited: list[int] = []
    with lanes_adjusted(connection, now_us=now_us) as touched:
        for some in chunks(ids):
            query = select(*_COLUMNS).where(job.c.id.in_(some), FREE).order_by(job.c.id).with_for_update()
            jobs = [_Job(*row) for row in connection.execute(query)]
            _refuse_spent(jobs, changes)
            _edit(connection, jobs, changes, values, lanes, now_us=now_us)
            if "tags" in changes.model_fields_set:
                _replace_tags(connection, sql, [each.id for each in jobs], changes.tags or [])
            _record(connection, jobs, changes, now_us=now_us)
            edited += [each.id for each in jobs]
            touched.update(_touched(jobs, changes))
        if "tags" in changes.model_fields_set:
            looked = look_again(connection, sql, edited, lanes=lanes, now_us=now_us, most=None)
            touched.update(looked.touched)
    return edited


def _values(changes: JobChanges, *, now_us: int) -> dict[str, Any]:
    values: dict[str, Any] = {**changes.given(), "updated_at": now_us}
    for name in _ELSEWHERE & values.keys():
        del values[name]
    if "payload" in values:
        values["payload"] = encode_json(changes.payload, what="payload")
    if "priority" in values:
        values["claim_rank"] = claim_rank(changes.priority)
    if "run_at" in values:
        values["run_at"] = now_us if changes.run_at is None else to_us(changes.run_at)
    if "max_attempts" in values and changes.max_attempts is None:
        values["max_attempts"] = _DEFAULT_LIMIT
    return values


_DEFAULT_LIMIT = case(
    (job.c.attempts == 0, null()),
    (job.c.attempts < DEFAULT_MAX_ATTEMPTS, DEFAULT_MAX_ATTEMPTS),
    else_=job.c.attempts + 1,
)
"""A job that was tried may not fall to a handler's default below what it has used: it keeps one attempt."""


def _refuse_spent(jobs: Sequence[_Job], changes: JobChanges) -> None:
    limit = changes.max_attempts
    for each in jobs:
        if limit is not None and each.attempts >= limit:
            problem = f"{limit} leaves job {each.id} no attempt, it has used {each.attempts}; cancel it, or allow more"
            raise InvalidJobError("max_attempts", problem)


def _edit(
    connection: Connection,
    jobs: Sequence[_Job],
    changes: JobChanges,
    values: dict[str, Any],
    lanes: Lanes,
    *,
    now_us: int,
) -> None:
    places: dict[Readiness | None, list[int]] = defaultdict(list)
    moves = not _CHANGE_PLACE.isdisjoint(changes.model_fields_set)
    for each in jobs:
        places[_place(each, values, lanes, now_us=now_us) if moves else None].append(each.id)
    for place, ids in places.items():
        where = {} if place is None else place._asdict()
        connection.execute(update(job).where(job.c.id.in_(ids), FREE).values(**values, **where))


def _place(each: _Job, values: dict[str, Any], lanes: Lanes, *, now_us: int) -> Readiness:
    gate = Gate(each.gate) if each.gate in {Gate.PARENTS, Gate.TAGS} else None
    limited = lanes.limited(each.job_type, values.get("group_id", each.group_id))
    due_us = _due(each, values)
    return readiness(JobStatus(each.status), due_us=due_us, now_us=now_us, gate=gate, limited=limited)


def _due(each: _Job, values: dict[str, Any]) -> int | None:
    match each.status:
        case JobStatus.FAILED:
            return each.next_attempt_at
        case JobStatus.WAITING:
            return each.wait_until
        case _:
            stays = each.run_at if each.due_at is None else each.due_at
            return int(values.get("run_at", stays))


def _replace_tags(connection: Connection, sql: Statements, ids: Sequence[int], tags: Sequence[str]) -> None:
    connection.execute(delete(tag).where(tag.c.job_id.in_(ids)))
    rows = [(job_id, name, position) for job_id in ids for position, name in enumerate(dict.fromkeys(tags))]
    if rows:
        for _, some in entries.portions(rows, longest_bytes=sql.longest_set_bytes):
            connection.execute(sql.insert_tags, {"entries": some})


def _record(connection: Connection, jobs: Sequence[_Job], changes: JobChanges, *, now_us: int) -> None:
    names = [JobChanges.model_fields[name].alias or name for name in changes.given()]
    told = entries.as_json({"changes": names})
    rows = [{"job_id": each.id, "type": "edited", "at": now_us, "metadata": told} for each in jobs]
    if rows:
        connection.execute(insert(event), rows)


def _touched(jobs: Sequence[_Job], changes: JobChanges) -> set[Place]:
    """The places that these jobs left or came to."""
    touched: set[Place] = set()
    if not _CHANGE_PLACE.isdisjoint(changes.model_fields_set):
        touched |= {(each.job_type, each.group_id) for each in jobs}
    if "group_id" in changes.model_fields_set:
        touched |= {(each.job_type, changes.group_id) for each in jobs}
    return touched
