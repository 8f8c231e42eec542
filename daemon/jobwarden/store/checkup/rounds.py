"""Whether maintenance runs: who wins a round moves its row on, so a row that stays behind means that nobody does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from jobwarden.clock import SECOND_US
from jobwarden.findings import ok, warning
from jobwarden.store.schema import maintenance, node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from jobwarden.findings import Finding

_LATE_US = 15 * 60 * SECOND_US
"""Many periods, however long the lease."""


def rounds(connection: Connection, *, now_us: int) -> Iterator[Finding]:
    """Only where a daemon is there to do it."""
    beaten = select(func.max(node.c.beat_at))
    newest_us = connection.execute(beaten).scalar()
    due = connection.execute(select(func.max(maintenance.c.next_at)).where(maintenance.c.name == "round")).scalar()
    if newest_us is None or due is None or now_us - newest_us > _LATE_US:
        return
    late_us = now_us - due
    if late_us > _LATE_US:
        yield warning(
            "maintenance",
            f"no round of maintenance for {late_us / SECOND_US / 60:,.0f} minutes, though daemons run",
            why="old jobs are not removed, missed dependents not freed, expired jobs not cancelled",
            do="look for `maintenance` in the daemons' logs and in `jobwarden status`, then restart them",
        )
    else:
        yield ok("maintenance", "rounds of maintenance are done")
