"""What follows, in the same transaction, from jobs that ended: the one place for all verbs.

Called after any statement that ends jobs; never decides about those jobs themselves. Of a cascade only the first level
is settled here, so that no end of a job stalls its transaction; the repair pass (`repair`) does the rest. The places
of which jobs came or went are added to `touched`: their lanes are adjusted once, at the end of the transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select

from jobwarden.store import entries
from jobwarden.store.gates import barriers, dead_letters, edges
from jobwarden.store.gates.free_ends import bury_tags
from jobwarden.store.gates.lanes import Lanes
from jobwarden.store.keeping import tallies
from jobwarden.store.matching import chunks
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements


class _Kind(msgspec.Struct, frozen=True, array_like=True):
    """The jobs of one type and status that ended, and whether anything at all is to be done about them."""

    job_type: str
    status: str
    number: int
    awaited: int
    """An open edge or a barrier leads to one of them."""
    tagged: int
    lettered: int
    """One of them has a dead letter type and has failed."""


_decode_kinds = msgspec.json.Decoder(list[_Kind]).decode


def follow_up(
    connection: Connection,
    sql: Statements,
    *,
    ended: Collection[int],
    touched: set[Place],
    now_us: int,
) -> None:
    """Settle dependents and barriers of the `ended` jobs: their rows say so already, or they were removed."""
    if not ended:
        return
    lanes = Lanes.load(connection)
    settled = edges.settle(connection, sql, ended, lanes=lanes, now_us=now_us)
    touched |= settled.touched
    over = [*ended, *settled.ended]
    touched |= barriers.look_again(connection, sql, over, lanes=lanes, now_us=now_us).touched
    if not lanes.empty:
        touched |= places_of(connection, list(ended))


def follow_attempts(
    connection: Connection, sql: Statements, *, ids: Sequence[int], touched: set[Place], now_us: int
) -> bool:
    """All that follows from the ends, in this transaction, of attempts of these jobs, tallies included.

    For the path of a job: one statement says what is to be done, and for plain jobs nothing is. Whether other jobs may
    have become ready by it.
    """
    limited, found = connection.execute(sql.ended_kinds, {"ids": entries.as_json(ids)}).one()
    kinds = _decode_kinds(found)
    tallies.note(connection, {(kind.job_type, kind.status): kind.number for kind in kinds})
    ended: list[int] = []
    if any(kind.awaited or kind.tagged or kind.lettered for kind in kinds):
        ended = _ended_of(connection, ids)
        if any(kind.tagged for kind in kinds):
            bury_tags(connection, ended)
        if any(kind.lettered for kind in kinds):
            for some in chunks(ended):
                touched |= dead_letters.send(connection, sql, some, now_us=now_us)
    if limited:
        touched |= places_of(connection, ids)
    awaited = ended if any(kind.awaited for kind in kinds) else ()
    follow_up(connection, sql, ended=awaited, touched=touched, now_us=now_us)
    return bool(awaited) or any(kind.lettered for kind in kinds)


def places_of(connection: Connection, ids: Sequence[int]) -> set[Place]:
    """(job type, group) of these jobs."""
    places: set[Place] = set()
    for some in chunks(ids):
        query = select(job.c.job_type, job.c.group_id).where(job.c.id.in_(some)).distinct()
        places.update((row[0], row[1]) for row in connection.execute(query))
    return places


def _ended_of(connection: Connection, ids: Sequence[int]) -> list[int]:
    found: list[int] = []
    for some in chunks(ids):
        found += connection.execute(select(job.c.id).where(job.c.id.in_(some), job.c.ended_at.is_not(None))).scalars()
    return found
