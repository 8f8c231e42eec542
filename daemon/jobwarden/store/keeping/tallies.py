"""Tallies: how many jobs have ended, by type and status. Every transaction that ends jobs, or undoes an end, says so.

Rows are only added, never updated, so that nobody waits for anybody; maintenance folds them (`fold`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from jobwarden.store.schema import tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

MOST_FOLDED = 20_000
"""Rows that one `fold` takes in."""


def note(connection: Connection, changes: Mapping[tuple[str, str], int]) -> None:
    """`changes`: (job type, status) -> how many more (or, negative, fewer) ended jobs there are now."""
    rows = [{"job_type": key[0], "status": key[1], "number": number} for key, number in changes.items() if number]
    if rows:
        connection.execute(insert(tally), rows)


def fold(connection: Connection) -> int:
    """Make one row of all rows of a type and status, and none of a zero; how many rows fewer there are now.

    Counts exactly the rows that it deletes, so that one which another transaction commits meanwhile stays as it is.
    """
    last = connection.execute(select(tally.c.id).order_by(tally.c.id).offset(MOST_FOLDED - 1).limit(1)).scalar()
    up_to = last or connection.execute(select(func.max(tally.c.id))).scalar()
    if up_to is None or not _is_worth_it(connection, up_to):
        return 0
    gone = delete(tally).where(tally.c.id <= up_to).returning(tally.c.job_type, tally.c.status, tally.c.number)
    rows = connection.execute(gone).all()
    sums: Counter[tuple[str, str]] = Counter()
    for job_type, status, number in rows:
        sums[job_type, status] += number
    note(connection, sums)
    return len(rows) - sum(1 for number in sums.values() if number)


def _is_worth_it(connection: Connection, up_to: int) -> bool:
    """Some type and status has more than one row; a single one is never zero."""
    groups = select(tally.c.job_type).where(tally.c.id <= up_to).group_by(tally.c.job_type, tally.c.status)
    return connection.execute(groups.having(func.count() > 1).limit(1)).first() is not None
