"""Reclaiming by hand: running jobs that take longer than they should are freed if their node is gone, else asked for.

Never frees the job of a node that may live: that would run a healthy long job twice. Works in a transaction that its
caller began; the caller has looked which nodes are seen to be dead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import and_, or_, select, text, update

from jobwarden.clock import SECOND_US
from jobwarden.jobs.claim import ClaimedJob
from jobwarden.store import entries
from jobwarden.store.freeing import Orphan, end_as_lost
from jobwarden.store.moments import later
from jobwarden.store.schema import event, job, node

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection, Row, Select

    from jobwarden.store.statements import Statements

_MILLISECOND_US = 1_000
_RUNNING = text("status = 'processing'")

REQUEUE = "requeue"
"""The wish of whoever wants a running job given back."""

GRACE_US = 10 * SECOND_US
"""How long after its timeoutMs its own node may still be busy with its kill."""


_decode_jobs = msgspec.json.Decoder(list[ClaimedJob]).decode


class Batch(NamedTuple):
    """What one transaction did. `last_id`: the last job that it looked at; None if there was none left."""

    freed: list[int]
    asked: list[int]
    last_id: int | None


def reclaim(
    connection: Connection,
    sql: Statements,
    *,
    dead: Collection[str],
    before_us: int,
    after_id: int,
    limit: int,
    now_us: int,
    jitter: Callable[[], float],
) -> Batch:
    """Of the next running jobs above `after_id`, take back those that were begun until `before_us`.

    `dead` names nodes with a row that are seen to be dead; a node without a row is dead as well.
    """
    rows = connection.execute(_stuck(before_us, now_us).where(job.c.id > after_id).limit(limit)).all()
    # Asked once the jobs are locked: one that was freed and claimed meanwhile has another node than before.
    known = _known_nodes(connection, {row.node_id for row in rows})
    lost = [row for row in rows if row.node_id not in known or row.node_id in dead]
    # A wish to cancel stands.
    held = [row.id for row in rows if row not in lost and row.wish in {None, REQUEUE}]
    held = beyond_prolonged(connection, held, now_us=now_us)
    if held:
        minutes = (now_us - before_us) / (60 * SECOND_US)
        reason = f"reclaimed by hand: it ran for more than {minutes:g} minutes"
        wish = {"wish": REQUEUE, "wish_reason": reason, "wish_at": now_us}
        connection.execute(update(job).where(job.c.id.in_(held), _RUNNING).values(wish))
    _free(connection, sql, lost, now_us=now_us, jitter=jitter)
    return Batch([row.id for row in lost], held, rows[-1].id if rows else None)


def _stuck(before_us: int, now_us: int) -> Select[Any]:
    """Running jobs that are beyond both limits."""
    own_limit = later(job.c.locked_at, job.c.timeout_ms * _MILLISECOND_US + GRACE_US)
    columns = [job.c[name] for name in ("id", "node_id", "locked_by", "wish", "wish_reason")]
    return (
        select(*columns)
        .where(_RUNNING, job.c.locked_at <= before_us)
        .where(or_(job.c.timeout_ms.is_(None), own_limit <= now_us))
        .order_by(job.c.id)
        .with_for_update()
    )


def _known_nodes(connection: Connection, ids: Collection[str | None]) -> set[str]:
    query = select(node.c.id).where(node.c.id.in_([each for each in ids if each is not None]))
    return set(connection.execute(query).scalars())


def beyond_prolonged(connection: Connection, ids: Sequence[int], *, now_us: int) -> list[int]:
    """Those whose running attempt was not granted more time that has not passed yet."""
    granted = (
        select(event.c.job_id, event.c.at, event.c.metadata)
        .join(job, and_(job.c.id == event.c.job_id, job.c.fence == event.c.fence))
        .where(event.c.job_id.in_(ids), event.c.type == "prolonged")
        .order_by(event.c.id)
    )
    until = {row.job_id: row.at + _granted_us(row.metadata) + GRACE_US for row in connection.execute(granted)}
    return [job_id for job_id in ids if until.get(job_id, now_us) <= now_us]


def _granted_us(metadata: str) -> int:
    return int(msgspec.json.decode(metadata)["ms"]) * _MILLISECOND_US


def _free(
    connection: Connection, sql: Statements, lost: Sequence[Row[Any]], *, now_us: int, jitter: Callable[[], float]
) -> None:
    if not lost:
        return
    found = connection.execute(sql.jobs_by_id, {"ids": entries.as_json([row.id for row in lost])}).scalar_one()
    claimed = {each.id: each for each in _decode_jobs(found)}
    orphans = [Orphan(row.node_id, row.locked_by, row.wish, row.wish_reason, claimed[row.id]) for row in lost]
    end_as_lost(connection, sql, orphans, now_us=now_us, jitter=jitter)
