"""Tallies: how many jobs have ended, by type and status. Every transaction that ends jobs, or undoes an end, says so.

Rows are only added, never updated, so that nobody waits for anybody; maintenance folds them (`fold`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert

from jobwarden.store.schema import tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


def note(connection: Connection, changes: Mapping[tuple[str, str], int]) -> None:
    """`changes`: (job type, status) -> how many more (or, negative, fewer) ended jobs there are now."""
    rows = [{"job_type": key[0], "status": key[1], "number": number} for key, number in changes.items() if number]
    if rows:
        connection.execute(insert(tally), rows)
