"""In which order a follower of PostgreSQL reads events, and from when on an event may be handed out (R20).

Numbers are given before commits, so an event with a lower number may appear later. Each event carries the id of the
transaction that wrote it. Once no transaction with a lower id is open, nothing can come in before it any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, literal_column

from jobwarden.store import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

_XID = literal_column("event.xid", BigInteger)
_OLDEST_OPEN = literal_column("(pg_snapshot_xmin(pg_current_snapshot())::text::bigint)", BigInteger)

FEED_KEY: Sequence[ColumnElement[int]] = (_XID, schema.event.c.id)
FEED_SETTLED: ColumnElement[bool] = _XID < _OLDEST_OPEN
"""Also of other databases of the server: a long transaction there that has written holds events back."""
