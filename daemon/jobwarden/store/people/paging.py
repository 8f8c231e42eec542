"""Pages of jobs: orders, and cursors that stay right while jobs come and go.

A cursor holds the last row's place in its order, not a number of rows: what is inserted or deleted meanwhile can
neither repeat nor skip a job. Called by `bulk` and `Store.find`; never writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import and_, or_

from jobwarden.clock import to_us
from jobwarden.errors import InvalidJobError
from jobwarden.jobs.record import JobRecord
from jobwarden.store.moments import Instant
from jobwarden.store.people import cursors, reading
from jobwarden.store.people.filters import conditions
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement, Connection

    from jobwarden.jobs.filter import JobFilter

_COLUMNS = ("id", "priority", "run_at", "created_at")
ORDERS = tuple(sign + name for name in _COLUMNS for sign in ("", "-"))
"""Ascending, and with "-" exactly the reverse; equal ones by id."""
NEWEST_FIRST = "-id"
OLDEST_FIRST = "id"


class Page(msgspec.Struct, frozen=True):
    """Some jobs, and where the next ones begin."""

    jobs: list[JobRecord]
    cursor: str | None
    """None: there were no more when this page was read."""


class _Order(NamedTuple):
    name: str
    column: Column[int]
    descending: bool

    @classmethod
    def parse(cls, name: str) -> _Order:
        if name not in ORDERS:
            raise InvalidJobError("order", f"{name[:60]!r} is no order; use {', '.join(ORDERS)}")
        return cls(name, job.c[name.removeprefix("-")], name.startswith("-"))

    @property
    def columns(self) -> list[Column[int]]:
        return [self.column] if self.column is job.c.id else [self.column, job.c.id]

    @property
    def clauses(self) -> list[ColumnElement[int]]:
        return [each.desc() if self.descending else each.asc() for each in self.columns]

    def after(self, cursor: str) -> ColumnElement[bool]:
        place = cursors.decode(cursor, kind=self.name, length=len(self.columns))
        *_, (last, last_value) = pairs = list(zip(self.columns, place, strict=True))
        beyond = last < last_value if self.descending else last > last_value
        if len(pairs) == 1:
            return beyond
        first, value = pairs[0]
        if first.type is Instant:
            cursors.refuse_no_moment(value)
        return or_(first < value if self.descending else first > value, and_(first == value, beyond))

    def cursor(self, record: JobRecord) -> str:
        values = [getattr(record, column.name) for column in self.columns]
        return cursors.encode(self.name, [each if isinstance(each, int) else to_us(each) for each in values])


def find_page(
    connection: Connection,
    wanted: JobFilter,
    *,
    order: str = NEWEST_FIRST,
    limit: int,
    offset: int = 0,
    cursor: str | None = None,
) -> Page:
    """At most `limit` jobs that match, after `cursor` and then `offset` more. Raises InvalidJobError."""
    sorting = _Order.parse(order)
    # One more than asked for says whether there is a next page.
    query = reading.RECORDS.where(*conditions(wanted)).order_by(*sorting.clauses).limit(limit + 1).offset(offset)
    if cursor is not None:
        query = query.where(sorting.after(cursor))
    found = reading.records(connection, query)
    more = len(found) > limit
    return Page(found[:limit], sorting.cursor(found[limit - 1]) if more else None)
