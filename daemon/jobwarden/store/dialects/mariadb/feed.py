"""In which order a follower of MariaDB reads events, and from when on an event may be handed out (R20).

Numbers are given before commits, and MariaDB tells nobody in which order transactions have committed. But a read that
is allowed to see what others have not committed yet shows their numbers: an event waits while one with a lower number
is open. Between giving a number and writing the row lies a moment in which nothing is to be seen but that the number is
missing, as many are for ever. So an event after a gap waits until it is two seconds old, by the server's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from jobwarden.store import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Engine

EVENTS_SETTLE_SECONDS = 2
MOST_LOOKED_AT = 1_000
"""Events in one look; a page is never longer."""

FEED_KEY: Sequence[ColumnElement[int]] = (schema.event.c.id,)

_OPEN_TOO = text("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
_COLUMNS = f"id, written > UTC_TIMESTAMP(6) - INTERVAL {EVENTS_SETTLE_SECONDS} SECOND AS young"
_FOLLOWING = text(f"SELECT {_COLUMNS} FROM event WHERE id > :after ORDER BY id LIMIT {MOST_LOOKED_AT}")
_NEWEST = text(
    f"SELECT * FROM (SELECT {_COLUMNS} FROM event ORDER BY id DESC LIMIT {MOST_LOOKED_AT}) AS newest ORDER BY id"
)


def settled_until(engine: Engine, after: int | None) -> int:
    """The id of the last event after this one (None: of the newest) up to which nothing can come in any more."""
    look, given = (_NEWEST, {}) if after is None else (_FOLLOWING, {"after": after})
    with engine.connect() as connection:
        connection.execute(_OPEN_TOO)
        seen = connection.execute(look, given).all()
        connection.rollback()
        committed = set(connection.execute(look, given).scalars())
        connection.rollback()
    last = after if after is not None else seen[0].id - 1 if seen else 0
    for each in seen:
        if each.id not in committed or (each.young and each.id != last + 1):
            break
        last = each.id
    return last
