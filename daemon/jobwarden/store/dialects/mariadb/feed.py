"""In which order a follower of MariaDB reads events, and from when on an event may be handed out (R20).

MariaDB tells nobody in which order transactions have committed. Numbers are given before commits, so an event is handed
out two seconds after it was written (by the server's clock), when those with lower numbers are there too. A transaction
that stays open for longer than that, an application's own for instance, may put its events in behind a follower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Boolean, literal_column

from jobwarden.store import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

EVENTS_SETTLE_SECONDS = 2

FEED_KEY: Sequence[ColumnElement[int]] = (schema.event.c.id,)
FEED_SETTLED: ColumnElement[bool] = literal_column(
    f"(event.written <= UTC_TIMESTAMP(6) - INTERVAL {EVENTS_SETTLE_SECONDS} SECOND)", Boolean
)
