"""Which jobs a bulk verb is about: ids only, locked, in chunks; and what the verb did to them.

A hundred thousand matches are a hundred thousand integers here, never rows. Used by `bulk`, `editing`, `reviving`,
`removing`; never writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, select

from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.people.filters import conditions, in_states
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection

    from jobwarden.jobs.filter import JobFilter

CHUNK = 500
"""Ids in one IN list."""


class Changed(msgspec.Struct, frozen=True):
    """What a bulk verb did."""

    ids: list[int]
    """The jobs that were changed, in ascending order."""
    running: int
    """How many running jobs matched; they were left alone, or asked to stop where the verb says so."""


def matching_ids(connection: Connection, wanted: JobFilter, *more: ColumnElement[bool]) -> list[int]:
    """The ids of all jobs that match the filter and `more`, ascending; locked until the transaction ends."""
    query = select(job.c.id).where(*conditions(wanted), *more).order_by(job.c.id).with_for_update()
    return list(connection.execute(query).scalars())


def count_running(connection: Connection, wanted: JobFilter) -> int:
    """How many running jobs match."""
    query = select(func.count()).select_from(job).where(*conditions(wanted), in_states(JobStatus.PROCESSING))
    return connection.execute(query).scalar_one()


def chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """The ids, at most `CHUNK` at once."""
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
