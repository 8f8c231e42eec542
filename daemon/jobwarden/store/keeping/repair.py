"""The repair pass: what should have followed from an end, and did not, follows now.

An end settles the first level of what depends on it, and two transactions that meet may each miss what the other did
(R11); a lane may have room that nobody noticed. This walks through what waits, some at a time, and looks. Jobs
without a living node are not its business: the renewal frees them. Each function works in a transaction that its
caller began, and says how much it changed and where to go on: 0, or "", is the beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, not_, or_, select, text

from jobwarden.store.gates import barriers, edges
from jobwarden.store.gates.lanes import Lanes, Place, adjust, admit
from jobwarden.store.gates.occupancy import overfull
from jobwarden.store.schema import barrier, edge, job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Select

    from jobwarden.store.statements import Statements

MOST_LEVELS = 10
"""How far one step follows a cascade downwards."""

_GATED = text("gate = 'lane'")


class Walk(NamedTuple):
    """One step through what waits."""

    number: int
    """How many waiting jobs went on, or ended. If any did, the same stretch is worth another look."""
    end: int
    """The last number of the stretch; 0 if there is nothing after it."""


def settle_edges(
    connection: Connection, sql: Statements, *, after_id: int, stretch: int, limit: int, now_us: int
) -> Walk:
    """Settle at most `limit` open edges to ended or removed jobs, among the next `stretch` awaited jobs, and below."""
    awaited = select(edge.c.depends_on.label("id")).where(edges.OPEN, edge.c.depends_on > after_id)
    over, end = _over(connection, awaited, stretch)
    if not over:
        return Walk(0, end)
    lanes = Lanes.load(connection)
    number, touched = 0, set[Place]()
    for _ in range(MOST_LEVELS):
        settled = edges.settle(connection, sql, over, lanes=lanes, now_us=now_us, most=limit - number)
        number, over = number + settled.edges, settled.ended
        touched |= settled.touched
        touched |= barriers.look_again(connection, sql, over, lanes=lanes, now_us=now_us).touched
        if not over or number >= limit:
            break
    adjust(connection, touched, now_us=now_us)
    return Walk(number, end)


def open_barriers(connection: Connection, sql: Statements, *, after_id: int, stretch: int, now_us: int) -> Walk:
    """Look again for those that wait for a tagged job which has ended or is gone, among the next awaited ones."""
    holder = job.alias()
    held = select(barrier.c.waits_for.label("id")).join_from(barrier, holder, holder.c.id == barrier.c.job_id)
    awaited = held.where(holder.c.gate == "tags", barrier.c.waits_for > after_id)
    over, end = _over(connection, awaited, stretch)
    if not over:
        return Walk(0, end)
    looked = barriers.look_again(connection, sql, over, lanes=Lanes.load(connection), now_us=now_us)
    adjust(connection, looked.touched, now_us=now_us)
    return Walk(looked.number, end)


def _over(connection: Connection, awaited: Select[Any], stretch: int) -> tuple[Sequence[int], int]:
    """Which of the next awaited jobs have ended or are gone; and the last one looked at, 0 if there are no more."""
    some = awaited.distinct().order_by("id").limit(stretch).subquery()
    over = or_(job.c.id.is_(None), job.c.ended_at.is_not(None))
    query = select(some.c.id, over.label("over")).outerjoin_from(some, job, job.c.id == some.c.id).order_by(some.c.id)
    rows = connection.execute(query).all()
    return [row.id for row in rows if row.over], rows[-1].id if len(rows) == stretch else 0


def fill_lanes(
    connection: Connection, sql: Statements, *, after_group: str, stretch: int, now_us: int
) -> tuple[int, str]:
    """Admit what the lanes of types, and of the next `stretch` groups, have room for; withdraw what is too much in any.

    Returns how many jobs became ready, and the group to go on after, "" if there are no more.
    """
    if Lanes.load(connection).empty:
        return 0, ""
    lanes = Lanes.lock(connection)
    found = connection.execute(sql.waiting_groups, {"after": after_group, "most": stretch})
    groups = list(found.scalars())
    types = list(_types_in_lanes(connection))
    # In a group each type counts alike: any does.
    wanted = lanes.of([*((name, None) for name in types), *((types[0], group) for group in groups)] if types else [])
    wanted |= overfull(connection, lanes.limits, now_us=now_us)
    number = lanes.settle(connection, wanted, now_us=now_us, thorough=True)
    return number, groups[-1] if len(groups) == stretch else ""


def release_unlimited(connection: Connection) -> int:
    """Jobs that wait for a lane which is none any more are ready; how many. Looks at all that wait for lanes.

    For whoever has locked the lanes.
    """
    limits = Lanes.load(connection).limits
    waiting = select(job.c.id).where(_GATED, not_(limits.condition()))
    return admit(connection, list(connection.execute(waiting).scalars()))


def _types_in_lanes(connection: Connection) -> Iterator[str]:
    """From one to the next over the index job_gated, however many jobs each has."""
    lowest, after = select(func.min(job.c.job_type)).where(_GATED), ""
    while (name := connection.execute(lowest.where(job.c.job_type > after)).scalar()) is not None:
        yield name
        after = name
