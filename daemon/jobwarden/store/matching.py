"""Which jobs a bulk verb is about: ids only, locked, in chunks; and what the verb did to them.

A hundred thousand matches are a hundred thousand integers here, never rows. Used by `bulk`, `editing`, `reviving`,
`removing`; never writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, select

from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.people.filters import RUNNING, conditions, in_states, is_in_state
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

    from jobwarden.jobs.filter import JobFilter

CHUNK = 500
"""Ids in one IN list."""


class Changed(msgspec.Struct, frozen=True):
    """What a bulk verb did."""

    ids: list[int]
    """The jobs that were changed, in ascending order."""
    running: int
    """How many running jobs matched; they were left alone, or asked to stop where the verb says so."""


def matching_ids(
    connection: Connection, wanted: JobFilter, *among: str, more: ColumnElement[bool] | None = None
) -> list[int]:
    """The ids of all jobs that match the filter, are in one of the states `among` (none: in any) and match `more`."""
    return [row.id for row in connection.execute(_matching(wanted, among, more))]


def lock_matching(
    connection: Connection, wanted: JobFilter, *among: str, more: ColumnElement[bool] | None = None
) -> list[int]:
    """As `matching_ids`, but locked until the transaction ends.

    A job that somebody else changed while this waited for it is judged by the state in which it was left: the filter
    looks states up in subqueries, which see what was there when the statement began.
    """
    rows = connection.execute(_matching(wanted, among, more).with_for_update())
    return [row.id for row in rows if _is_among(row, among) and _is_among(row, wanted.status or ())]


def running_among(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Those of these jobs that run."""
    found: list[int] = []
    for some in chunks(ids):
        found += connection.execute(select(job.c.id).where(job.c.id.in_(some), RUNNING).order_by(job.c.id)).scalars()
    return found


def _matching(wanted: JobFilter, among: Sequence[str], more: ColumnElement[bool] | None) -> Select[Any]:
    query = select(job.c.id, job.c.status, job.c.ended_at).where(*conditions(wanted)).order_by(job.c.id)
    if among:
        query = query.where(in_states(*among))
    return query if more is None else query.where(more)


def _is_among(row: Row[Any], states: Sequence[str]) -> bool:
    return not states or any(is_in_state(state, row.status, ended=row.ended_at is not None) for state in states)


def count_running(connection: Connection, wanted: JobFilter) -> int:
    """How many running jobs match."""
    query = select(func.count()).select_from(job).where(*conditions(wanted), in_states(JobStatus.PROCESSING))
    return connection.execute(query).scalar_one()


def chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """The ids, at most `CHUNK` at once."""
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
