"""What follows, in the same transaction, from jobs that ended or left their lanes: the one place for all verbs.

Called after any statement that ends, edits, removes, frees or revives jobs; never decides about those jobs themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from jobwarden.store.statements import Statements


def follow_up(
    connection: Connection,
    sql: Statements,
    *,
    ended: Collection[int] = (),
    touched: Collection[tuple[str, str | None]] = (),
    now_us: int,
) -> None:
    """Settle dependents and barriers of the `ended` jobs, then adjust the lanes that they or `touched` jobs are in.

    `ended`: ids of jobs that have just ended (their rows say so already). `touched`: (job type, group) of jobs that
    otherwise came into, or left, what a limit counts.
    """
