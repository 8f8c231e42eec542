"""`store.feed`: events of all jobs in the order of their commits, after a cursor.

Whoever follows hands back the cursor of the last event that it has dealt with. Which columns order the events, and
which events may be handed out already, is the dialect's to say (R20): numbers are given before commits, so where
several writers commit at once a lower number can appear after a higher one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select

from jobwarden.jobs.history import FeedEvent
from jobwarden.store.failures import store_errors
from jobwarden.store.people import cursors
from jobwarden.store.people.reading import event_of
from jobwarden.store.schema import event, job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, RowMapping

    from jobwarden.store.access import Access

_KIND = "events"


class Feed:
    """Made by `Store`."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._key = access.dialect.feed_key

    def after(self, cursor: str | None, *, limit: int = 500) -> list[FeedEvent]:
        """The next events after `cursor`, oldest first, at most `limit`; empty when there are none yet.

        None begins with the oldest event that is left. So does a cursor that is older than what retention kept: what
        was deleted in between is not mentioned. A newer `progress` event of a job takes the place of its older one.
        Every event is delivered at least once, on SQLite exactly once. Raises InvalidJobError for a text that is no
        cursor of events.
        """
        places = [column.label(f"place_{number}") for number, column in enumerate(self._key)]
        query = select(event, job.c.job_type, *places).outerjoin_from(event, job, job.c.id == event.c.job_id)
        query = query.order_by(*self._key).limit(limit)
        place = [0] * len(self._key)
        if cursor is not None:
            place = cursors.decode(cursor, kind=_KIND, length=len(self._key))
            query = query.where(_beyond(self._key, place))
        query = query.where(*self._settled(place))
        with self._access.reading() as connection:
            return [self._event(row) for row in connection.execute(query).mappings()]

    def now(self) -> str:
        """The cursor of this moment: after all events that are committed now."""
        newest = select(*self._key).order_by(*(column.desc() for column in self._key)).limit(1)
        newest = newest.where(*self._settled(None))
        with self._access.reading() as connection:
            row = connection.execute(newest).first()
        return cursors.encode(_KIND, [0] * len(self._key) if row is None else list(row))

    def _settled(self, after: list[int] | None) -> list[ColumnElement[bool]]:
        with store_errors(self._access.dialect.url_shown):
            settled = self._access.dialect.feed_settled(after)
        return [] if settled is None else [settled]

    def _event(self, row: RowMapping) -> FeedEvent:
        place = [row[f"place_{number}"] for number in range(len(self._key))]
        told: dict[str, Any] = event_of(row).model_dump()
        return FeedEvent(**told, job_type=row["job_type"], cursor=cursors.encode(_KIND, place))


def _beyond(key: Sequence[ColumnElement[int]], place: Sequence[int]) -> ColumnElement[bool]:
    """(a, b) > (x, y), spelled out so that an index finds the place: a >= x, and either a > x or b > y."""
    column, value = key[-1], place[-1]
    found: ColumnElement[bool] = column > value
    for outer, bound in reversed(list(zip(key[:-1], place[:-1], strict=True))):
        found = and_(outer >= bound, or_(outer > bound, found))
    return found
