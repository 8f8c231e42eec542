"""Aging: priorities are strict, but no job that may run waits for ever.

The rule: in each round of maintenance, of each job type, one job that has been due for longer than
`starvation_seconds` while higher priorities go before it, of its own or of another type, moves to the front of all. It
is the longest due among those of the 16 lowest priorities that the type has waiting. No other of the type follows
before that one has been claimed. So under an overload of high priorities a trickle of low ones goes on running, and
everything else keeps its order. Jobs that wait in the lane of a limited type or group take part. Being claimed ends
it: a job that has to wait again has the rank of its priority.

Called by the maintenance round, inside its transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import TextClause, select, text, update

from jobwarden.clock import SECOND_US
from jobwarden.store.row_locks import lock_idle_jobs
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

FRONT = -(2**31)
"""No priority leads to this rank."""
RANKS_PER_TYPE = 16
_MOST_TYPES = 500
_CHUNK = 500


def _lowest(standing: str) -> TextClause:
    """The longest due job of each of the last ranks of each type. Steps over the index: backlogs do not matter."""
    return text(f"""
WITH RECURSIVE types (name) AS (
    SELECT min(job_type) FROM job WHERE {standing}
    UNION ALL
    SELECT (SELECT min(job_type) FROM job WHERE {standing} AND job_type > types.name)
    FROM types WHERE types.name IS NOT NULL),
known (name) AS (SELECT name FROM types WHERE name IS NOT NULL LIMIT {_MOST_TYPES}),
ranks (name, place, number) AS (
    SELECT known.name, (SELECT max(claim_rank) FROM job WHERE {standing} AND job_type = known.name), 1 FROM known
    UNION ALL
    SELECT ranks.name, (SELECT max(claim_rank) FROM job
                        WHERE {standing} AND job_type = ranks.name AND claim_rank < ranks.place), ranks.number + 1
    FROM ranks WHERE ranks.place > {FRONT} AND ranks.number < {RANKS_PER_TYPE})
SELECT ranks.name, ranks.place,
       (SELECT min(claim_rank) FROM job WHERE {standing} AND job_type = ranks.name) AS first,
       (SELECT id FROM job WHERE {standing} AND job_type = ranks.name AND claim_rank = ranks.place
        ORDER BY due_at, id LIMIT 1) AS id
FROM ranks WHERE ranks.place > {FRONT}
""")


_READY = "ready = 1"
_IN_LANE = "gate = 'lane'"
_LOWEST = {standing: _lowest(standing) for standing in (_READY, _IN_LANE)}
LOWEST_READY = _LOWEST[_READY]
LOWEST_IN_LANES = _LOWEST[_IN_LANE]


class _Lowest(NamedTuple):
    job_type: str
    rank: int
    first: int
    """The rank of the next job of this type."""
    id: int


def lift_starved(connection: Connection, *, now_us: int, after_seconds: float | None, per_type: int = 1) -> int:
    """Move the starved (see the rule above) to the front; how many. `after_seconds`: None switches it off."""
    if after_seconds is None:
        return 0
    before_us = now_us - int(after_seconds * SECOND_US)
    starved: list[int] = []
    for standing in (_READY, _IN_LANE):
        lowest = [_Lowest(*row) for row in connection.execute(_LOWEST[standing])]
        found = _starved(connection, _behind(lowest), before_us=before_us, per_type=per_type)
        # One that was claimed meanwhile keeps the rank of its priority.
        starved += lock_idle_jobs(connection, found, text(standing))
    for some in _chunks(starved):
        connection.execute(update(job).where(job.c.id.in_(some)).values(claim_rank=FRONT))
    return len(starved)


def _behind(lowest: list[_Lowest]) -> dict[int, str]:
    """Id -> type of those that others go before, without types of which one is at the front already."""
    waiting = [each for each in lowest if each.first > FRONT]
    first = min((each.first for each in waiting), default=FRONT)
    return {each.id: each.job_type for each in waiting if each.rank > first}


def _starved(connection: Connection, behind: dict[int, str], *, before_us: int, per_type: int) -> list[int]:
    """The longest due of each type, if they have been due for long enough."""
    due: dict[str, list[tuple[int, int]]] = {}
    for some in _chunks(list(behind)):
        late = select(job.c.id, job.c.due_at).where(job.c.id.in_(some), job.c.due_at <= before_us)
        for job_id, due_at in connection.execute(late):
            due.setdefault(behind[job_id], []).append((due_at, job_id))
    return [job_id for found in due.values() for _due_at, job_id in sorted(found)[:per_type]]


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
