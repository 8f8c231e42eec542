"""After an add is committed: whether what its jobs wait for has ended at the same moment.

An add takes no locks on prerequisites, since it may be part of a client's transaction that stays open for long. So
where several write at once, the end of one may not see the new job, nor the add that end. Whoever ends a job locks its
row before looking for dependents: waiting here, once, until nobody has these rows locked, and then looking leaves no
gap. In a client's own transaction nobody can do that; there, and if this fails, the repair pass does.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import select

from jobwarden.errors import StoreError
from jobwarden.store.gates import barriers, edges
from jobwarden.store.gates.follow_up import follow_up
from jobwarden.store.gates.lanes import Lanes, lanes_adjusted
from jobwarden.store.matching import chunks
from jobwarden.store.schema import barrier, edge, job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from jobwarden.store.access import Access
    from jobwarden.store.statements import Statements


def look_once_more(access: Access, ids: Sequence[int], *, now_us: int) -> None:
    """For jobs that were just added, with prerequisites. Raises nothing: they are in the store."""
    with suppress(StoreError):
        awaited, busy = access.write(partial(_look, ids=ids), ring=False)
        for job_id in busy:
            # Each in a transaction of its own: whoever waits has nothing locked.
            access.write(partial(_wait_for, job_id=job_id), ring=False)
        if busy or access.write(partial(_over, ids=awaited), ring=False):
            access.write(partial(_settle, sql=access.sql, ids=ids, awaited=awaited, now_us=now_us))


def _look(connection: Connection, *, ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """What these jobs wait for; and what of that somebody is changing."""
    awaited: set[int] = set()
    for some in chunks(ids):
        open_edges = select(edge.c.depends_on).where(edge.c.job_id.in_(some), edges.OPEN)
        awaited.update(connection.execute(open_edges).scalars())
        awaited.update(connection.execute(select(barrier.c.waits_for).where(barrier.c.job_id.in_(some))).scalars())
    idle: set[int] = set()
    for some in chunks(sorted(awaited)):
        query = select(job.c.id).where(job.c.id.in_(some)).order_by(job.c.id)
        idle.update(connection.execute(query.with_for_update(read=True, skip_locked=True)).scalars())
    return sorted(awaited), sorted(awaited - idle)


def _wait_for(connection: Connection, *, job_id: int) -> None:
    connection.execute(select(job.c.id).where(job.c.id == job_id).with_for_update(read=True)).all()


def _settle(
    connection: Connection, *, sql: Statements, ids: Sequence[int], awaited: Sequence[int], now_us: int
) -> None:
    lanes = Lanes.load(connection)
    with lanes_adjusted(connection, now_us=now_us) as touched:
        settled = edges.settle_of(connection, sql, ids, lanes=lanes, now_us=now_us)
        touched.update(settled.touched)
        over = _over(connection, ids=awaited)
        touched.update(barriers.look_again(connection, sql, over, lanes=lanes, now_us=now_us).touched)
        follow_up(connection, sql, ended=settled.ended, touched=touched, now_us=now_us)


def _over(connection: Connection, *, ids: Sequence[int]) -> list[int]:
    """Those of these jobs that have not ended are left out."""
    live: set[int] = set()
    for some in chunks(ids):
        live.update(connection.execute(select(job.c.id).where(job.c.id.in_(some), job.c.ended_at.is_(None))).scalars())
    return [job_id for job_id in ids if job_id not in live]
