"""Ringing the doorbell after a transaction that is not ours: not before it is over, or daemons look too early.

SQLAlchemy's commit event comes before the commit. A connection that goes back to its pool comes after it; one that
its owner keeps is found by the daemons' own slow look. A ring carries no meaning and may be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from jobwarden.store.bell import Bell

_OWED = "jobwarden.bell"
"""Key in a connection's `info`: the doorbell to ring when the connection goes back to its pool."""


def ring_nodes_after(connection: Connection, bell: Bell | None) -> None:
    """Ring the daemons once the caller's transaction is over; None where the database itself rings."""
    if bell is None:
        return
    connection.info[_OWED] = bell
    pool = connection.engine.pool
    if not event.contains(pool, "checkin", _ring_what_is_owed):
        event.listen(pool, "checkin", _ring_what_is_owed)


def _ring_what_is_owed(_: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    bell: Bell | None = entry.info.pop(_OWED, None)
    if bell is not None:
        bell.ring_nodes()
