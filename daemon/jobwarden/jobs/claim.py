"""A job as the claim hands it to the pool: what is needed to run it and to decide what follows."""

from __future__ import annotations

import msgspec


class ClaimedJob(msgspec.Struct, frozen=True, array_like=True):
    """One claimed job. `attempts` and `fence` are those of the attempt that this claim began.

    The order of the fields is the order of the columns that the store's claim returns.
    """

    id: int
    fence: int
    job_type: str
    payload: str
    """Raw JSON text, one well-formed value."""
    attempts: int
    max_attempts: int
    timeout_ms: int | None
    force_kill_on_timeout: int
    """0 or 1: SQLite has no booleans inside JSON arrays."""
    retry_delay: float
    """Seconds."""
    retry_backoff: int
    """0 or 1."""
    retry_delay_max: float | None
    """Seconds."""
    crashes: int
    interruptions: int
    lost_in_row: int
    heartbeat_timeout_ms: int | None = None

    @property
    def attempt(self) -> tuple[int, int]:
        """What identifies the attempt: (job id, fence). A fence alone does not; each job counts its own."""
        return self.id, self.fence


class TypeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler declares for its job type; used where the job itself says nothing.

    The claim writes the resulting values into the row, so that whoever ends the attempt, this node or
    another one, judges by the same numbers. A field that is None leaves the daemon's default.
    """

    job_type: str
    timeout_ms: int | None = None
    max_attempts: int | None = None
    retry_delay: float | None = None
    """Seconds."""
    heartbeat_timeout_ms: int | None = None
    max_per_node: int | None = None
    """How many jobs of this type may run on one node at once; a control of the same type may say less."""
