"""Lanes: limited types and groups. A job of one becomes ready only when a lane has room for it (R14).

The claim knows nothing of this: it takes what is ready. Claiming moves a job from ready to running and leaves the
sum of both as it was, so the limit is exact, and nothing that could leak is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


class Lanes:
    """The limits in force, as this transaction sees them."""

    @classmethod
    def load(cls, connection: Connection) -> Lanes:
        """Read them; cheap where there are none."""
        return cls()

    @property
    def empty(self) -> bool:
        """Whether nothing is limited."""
        return True

    def limited(self, job_type: str, group_id: str | None) -> bool:
        """Whether a job of this type and group has to be admitted once it is due."""
        return False

    def adjust(self, connection: Connection, touched: Collection[tuple[str, str | None]], *, now_us: int) -> None:
        """Admit what there is room for, and withdraw what there is no room for, in the lanes of these jobs.

        `touched` names (job type, group) of jobs that came into the lanes or left them in this transaction.
        """
