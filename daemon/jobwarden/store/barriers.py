"""Barriers: a job with `dependsOn.tags` waits while an earlier job that has not ended carries all these tags.

A row of `barrier` names one such job, the last of them; when that one ends, the next is looked for. Only smaller
numbers count, so that no two jobs wait for each other. `admit` is the way of every job through its last gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, delete, insert, select, text, update

from jobwarden.jobs.outcome import JobStatus
from jobwarden.store import entries
from jobwarden.store.matching import chunks
from jobwarden.store.readiness import Gate, readiness
from jobwarden.store.schema import barrier, job

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from jobwarden.store.lanes import Lanes
    from jobwarden.store.statements import Statements

Place = tuple[str, str | None]
"""(job type, group): what decides in which lanes a job is."""

MOST_AT_ONCE = 1_000
"""How many jobs one end may open or settle in its own transaction; the repair pass does the rest."""


class Waiting(NamedTuple):
    """A pending job, as far as its gates need it."""

    id: int
    job_type: str
    group_id: str | None
    run_at: int
    depends_on_tags: str | None
    """JSON array, or null."""


WAITING = [job.c[name] for name in Waiting._fields]


def admit(connection: Connection, sql: Statements, jobs: Sequence[Waiting], *, lanes: Lanes, now_us: int) -> set[Place]:
    """Let pending jobs without open edges and barriers go on: to a barrier, to wait for their time, or to be ready.

    Returns the places of those that came into lanes: the caller has the lanes adjusted.
    """
    if not jobs:
        return set()
    found = _find(connection, sql, [(each.id, each.depends_on_tags) for each in jobs if each.depends_on_tags])
    _hold(connection, found)
    rows: list[dict[str, Any]] = []
    for each in jobs:
        gate = Gate.TAGS if each.id in found else None
        limited = lanes.limited(each.job_type, each.group_id)
        state = readiness(JobStatus.PENDING, due_us=each.run_at, now_us=now_us, gate=gate, limited=limited)
        rows.append({"admitted": each.id, "ready_": state.ready, "due_": state.due_at, "gate_": state.gate})
    connection.execute(_PLACE, rows)
    return {(each.job_type, each.group_id) for each in jobs if lanes.limited(each.job_type, each.group_id)}


_PLACE = (
    update(job)
    .where(job.c.id == bindparam("admitted"))
    .values(ready=bindparam("ready_"), due_at=bindparam("due_"), gate=bindparam("gate_"))
)


def look_again(
    connection: Connection, sql: Statements, ended: Collection[int], *, lanes: Lanes, now_us: int
) -> set[Place]:
    """Jobs that waited for one of these go on, or wait for another; at most `MOST_AT_ONCE`. As `admit`."""
    touched: set[Place] = set()
    for some in chunks(sorted(ended)):
        query = _held().where(barrier.c.waits_for.in_(some)).limit(MOST_AT_ONCE)
        held = _all(connection, query)
        for few in chunks([each.id for each in held]):
            connection.execute(delete(barrier).where(barrier.c.job_id.in_(few)))
        touched |= admit(connection, sql, held, lanes=lanes, now_us=now_us)
    return touched


def _find(connection: Connection, sql: Statements, wanted: Sequence[tuple[int, str]]) -> dict[int, int]:
    """Job id -> the last earlier job that has not ended and carries all of the tags; without those that have none.

    `wanted`: (job id, JSON array of its tags).
    """
    if not wanted:
        return {}
    rows = connection.execute(sql.find_barriers, {"entries": entries.as_json(wanted)})
    return {row[0]: row[1] for row in rows}


def _hold(connection: Connection, found: dict[int, int]) -> None:
    """Write a row for each; the jobs have none yet."""
    if found:
        connection.execute(insert(barrier), [{"job_id": key, "waits_for": value} for key, value in found.items()])


def _held() -> Any:
    """Jobs that a barrier holds, locked."""
    query = select(*WAITING).select_from(barrier).join(job, job.c.id == barrier.c.job_id)
    return query.where(text("job.gate = 'tags'")).order_by(job.c.id).with_for_update(of=job)


def _all(connection: Connection, query: Any) -> list[Waiting]:
    return [Waiting(*row) for row in connection.execute(query)]
