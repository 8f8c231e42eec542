"""Locks on rows of `job`, taken so that writers never wait for each other crosswise (README, "The order of locks").

Where there is one writer at a time these are plain reads: it has the lock of the whole database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from jobwarden.store.matching import chunks
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, TextClause

    Condition = ColumnElement[bool] | TextClause


def lock_jobs(connection: Connection, ids: Sequence[int], *conditions: Condition) -> list[int]:
    """Lock those of these jobs that match, in the order of their ids, waiting for whoever has one; the ids of those."""
    found: list[int] = []
    for some in chunks(sorted(ids)):
        query = select(job.c.id).where(job.c.id.in_(some), *conditions).order_by(job.c.id).with_for_update()
        found += connection.execute(query).scalars()
    return found


def lock_idle_jobs(connection: Connection, ids: Sequence[int], *conditions: Condition) -> list[int]:
    """Lock those of these jobs that match and that nobody else is changing; the ids of those. Waits for nobody."""
    found: list[int] = []
    for some in chunks(sorted(ids)):
        query = select(job.c.id).where(job.c.id.in_(some), *conditions).order_by(job.c.id)
        found += connection.execute(query.with_for_update(skip_locked=True)).scalars()
    return found
