"""Rate tokens: how many jobs of a lane were started in which slice of time (`jobs.rate`), shared by all nodes.

Rows of `start` are written while the lane's control is locked (`lanes`), so that nobody counts at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from jobwarden.store.schema import start

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection

    from jobwarden.jobs.rate import Rate
    from jobwarden.store.gates.limits import Lane

_CHUNK = 500


def starts_of(connection: Connection, scope: str, names: Collection[str]) -> dict[str, list[tuple[int, int]]]:
    """Name -> (slice, number) of the starts that are still kept, for lanes of one scope."""
    found: dict[str, list[tuple[int, int]]] = {}
    wanted = list(names)
    for first in range(0, len(wanted), _CHUNK):
        query = select(start.c.name, start.c.slice, start.c.number).where(
            start.c.scope == scope, start.c.name.in_(wanted[first : first + _CHUNK])
        )
        for name, slice_us, number in connection.execute(query):
            found.setdefault(name, []).append((slice_us, number))
    return found


def take_tokens(connection: Connection, lane: Lane, rate: Rate, *, number: int, now_us: int) -> None:
    """So many jobs of this lane start now. What no window reaches any more is removed."""
    slice_us = rate.slice_of(now_us)
    connection.execute(delete(start).where(*_of(lane), start.c.slice <= now_us - rate.window_us))
    added = update(start).where(*_of(lane), start.c.slice == slice_us).values(number=start.c.number + number)
    if not connection.execute(added).rowcount:
        row = {"scope": lane.scope, "name": lane.name, "slice": slice_us, "number": number}
        connection.execute(insert(start), row)


def return_tokens(connection: Connection, lane: Lane, rate: Rate, *, number: int, taken_us: int) -> None:
    """So many jobs that took their tokens then were never started."""
    connection.execute(
        update(start)
        .where(*_of(lane), start.c.slice == rate.slice_of(taken_us), start.c.number >= number)
        .values(number=start.c.number - number)
    )


def _of(lane: Lane) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return start.c.scope == lane.scope, start.c.name == lane.name
