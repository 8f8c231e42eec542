"""Freeing the jobs of nodes that are gone: each ends as lost through the one retry path, a wished cancel is obeyed.

Called by the writer, inside its transaction. Never judges whether a node is dead: its caller has seen that.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, select

from jobwarden.jobs.claim import ClaimedJob
from jobwarden.jobs.ending import AttemptFacts, Ending, end_attempt
from jobwarden.jobs.outcome import Outcome
from jobwarden.store.ends import EndWriter
from jobwarden.store.gates.follow_up import follow_attempts
from jobwarden.store.gates.lanes import lanes_adjusted
from jobwarden.store.schema import node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from jobwarden.store.statements import Statements


class Orphan(msgspec.Struct, frozen=True, array_like=True):
    """A job that is processing under a node which is gone."""

    node_id: str | None
    owner: str | None
    wish: str | None
    wish_reason: str | None
    job: ClaimedJob


_decode = msgspec.json.Decoder(list[Orphan]).decode


def free_node(
    connection: Connection,
    sql: Statements,
    node_id: str,
    *,
    now_us: int,
    jitter: Callable[[], float],
    beat: int | None,
) -> int:
    """Delete the row and end its jobs; 0 if `beat` is given and the row shows another one (it lives)."""
    if not _bury(connection, node_id, beat=beat):
        return 0
    orphans = _decode(connection.execute(sql.jobs_to_free).scalar_one())
    end_as_lost(connection, sql, orphans, now_us=now_us, jitter=jitter)
    return len(orphans)


def end_as_lost(
    connection: Connection, sql: Statements, orphans: Sequence[Orphan], *, now_us: int, jitter: Callable[[], float]
) -> None:
    """End these attempts, and all that follows from it."""
    ended: list[int] = []
    for (dead, owner), group in groupby(sorted(orphans, key=_owner), key=_owner):
        writer = EndWriter(connection, sql, node_id=dead or None, owner=owner)
        writer.write([_lost(orphan, now_us=now_us, jitter=jitter()) for orphan in group])
        ended += writer.accepted
    if ended:
        with lanes_adjusted(connection, now_us=now_us) as touched:
            follow_attempts(connection, sql, ids=ended, touched=touched, now_us=now_us)


def _bury(connection: Connection, node_id: str, *, beat: int | None) -> bool:
    dead = delete(node).where(node.c.id == node_id)
    if beat is None:
        connection.execute(dead)
        return True
    if connection.execute(dead.where(node.c.beat == beat)).rowcount:
        return True
    return connection.execute(select(node.c.id).where(node.c.id == node_id)).first() is None


def _owner(orphan: Orphan) -> tuple[str, str]:
    return orphan.node_id or "", orphan.owner or ""


def _lost(orphan: Orphan, *, now_us: int, jitter: float) -> Ending:
    cancelled = orphan.wish == "cancel"
    return end_attempt(
        orphan.job,
        Outcome.CANCELLED if cancelled else Outcome.LOST,
        error=_sentence(orphan),
        now_us=now_us,
        jitter=jitter,
        raise_fence=True,
        facts=AttemptFacts(),
    )


def _sentence(orphan: Orphan) -> str:
    if orphan.wish == "cancel":
        return orphan.wish_reason or "cancelled while it ran"
    return f"the node {orphan.owner or 'without a name'} is gone; nobody saw how this attempt ended"
