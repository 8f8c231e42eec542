"""Barriers: a job with `dependsOn.tags` waits while an earlier job that has not ended carries all these tags.

A row of `barrier` names one such job, the last of them; when that one ends, the next is looked for. Only smaller
numbers count, so that no two jobs wait for each other. `admit` is the way of every job through its last gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, text, update

from jobwarden.jobs.outcome import JobStatus
from jobwarden.store import entries
from jobwarden.store.matching import chunks
from jobwarden.store.readiness import Gate, readiness
from jobwarden.store.schema import barrier, job, tag

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Lanes, Place
    from jobwarden.store.statements import Statements

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


class Looked(NamedTuple):
    """What `look_again` did."""

    number: int
    touched: set[Place]
    """As `admit` says."""


WAITING = [job.c[name] for name in Waiting._fields]


def admit(connection: Connection, sql: Statements, jobs: Sequence[Waiting], *, lanes: Lanes, now_us: int) -> set[Place]:
    """Let pending jobs without open edges and barriers go on: to a barrier, to wait for their time, or to be ready.

    The caller has locked them. Returns the places to which they may have come: it has the lanes adjusted.
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
    return set() if lanes.empty else {(each.job_type, each.group_id) for each in jobs}


_PLACE = (
    update(job)
    .where(job.c.id == bindparam("admitted"))
    .values(ready=bindparam("ready_"), due_at=bindparam("due_"), gate=bindparam("gate_"))
)


def look_again(
    connection: Connection,
    sql: Statements,
    ended: Collection[int],
    *,
    lanes: Lanes,
    now_us: int,
    most: int | None = MOST_AT_ONCE,
) -> Looked:
    """Jobs that waited for one of these go on, or wait for another; at most `most` of each 500 of these.

    One that somebody else is changing is left to the repair pass: what is locked already may lie behind it.
    """
    number = 0
    touched: set[Place] = set()
    for some in chunks(sorted(ended)):
        query = _held().where(barrier.c.waits_for.in_(some)).limit(most)
        held = _all(connection, query)
        for few in chunks([each.id for each in held]):
            connection.execute(delete(barrier).where(barrier.c.job_id.in_(few)))
        touched |= admit(connection, sql, held, lanes=lanes, now_us=now_us)
        number += len(held)
    return Looked(number, touched)


def _find(connection: Connection, sql: Statements, wanted: Sequence[tuple[int, str]]) -> dict[int, int]:
    """Job id -> the last earlier job that has not ended and carries all of the tags; without those that have none.

    `wanted`: (job id, JSON array of its tags). Of jobs that wait for the same tags only the last one looks, and those
    that stand before what it found: a walk along carriers of some of the tags can be long.
    """
    last: dict[str, int] = {}
    for job_id, tags in wanted:
        last[tags] = max(job_id, last.get(tags, job_id))
    by_rarity = {tags: _rarest_first(connection, tags) for tags in last}
    seen = _ask(connection, sql, [(job_id, by_rarity[tags]) for tags, job_id in last.items()])
    ends = {tags: seen.get(job_id) for tags, job_id in last.items()}
    found = {job_id: end for job_id, tags in wanted if (end := ends[tags]) is not None and end < job_id}
    before = [(job_id, by_rarity[tags]) for job_id, tags in wanted if (end := ends[tags]) is not None and end >= job_id]
    return found | _ask(connection, sql, before)


def _ask(connection: Connection, sql: Statements, wanted: Sequence[tuple[int, str]]) -> dict[int, int]:
    if not wanted:
        return {}
    found: dict[int, int] = {}
    for _, some in entries.portions(wanted, longest_bytes=sql.longest_set_bytes):
        found.update((row[0], row[1]) for row in connection.execute(sql.find_barriers, {"entries": some}))
    return found


def _rarest_first(connection: Connection, tags: str) -> str:
    """The statement walks along the carriers of the first tag: that has to be the one with the fewest."""
    names: list[str] = msgspec.json.decode(tags)
    if len(names) < 2:  # noqa: PLR2004 - one tag needs no order
        return tags
    return entries.as_json(sorted(names, key=lambda name: _carriers(connection, name)))


def _carriers(connection: Connection, name: str) -> int:
    """How many live jobs carry the tag, as far as it is worth knowing."""
    some = select(tag.c.job_id).where(text("live = 1"), tag.c.name == name).limit(MOST_AT_ONCE).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _hold(connection: Connection, found: dict[int, int]) -> None:
    """Write a row for each; the jobs have none yet."""
    if found:
        connection.execute(insert(barrier), [{"job_id": key, "waits_for": value} for key, value in found.items()])


def _held() -> Any:
    """Jobs that a barrier holds, locked."""
    query = select(*WAITING).select_from(barrier).join(job, job.c.id == barrier.c.job_id)
    return query.where(text("job.gate = 'tags'")).order_by(job.c.id).with_for_update(of=job, skip_locked=True)


def _all(connection: Connection, query: Any) -> list[Waiting]:
    return [Waiting(*row) for row in connection.execute(query)]
