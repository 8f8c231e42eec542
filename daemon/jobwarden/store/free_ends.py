"""Ending jobs that nobody runs: cancelled by people, expired, or given up because of a prerequisite."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from jobwarden.jobs.outcome import FailureReason, JobStatus
    from jobwarden.store.statements import Statements


def end_free_jobs(
    connection: Connection,
    sql: Statements,
    reasons: Mapping[int, str | None],
    *,
    status: JobStatus,
    failure_reason: FailureReason,
    now_us: int,
) -> list[int]:
    """End those of these jobs that are free (pending, waiting, retrying), each with its reason; the ids that were.

    `status` is CANCELLED or FAILED. Writes row, event, tally, live tags and dead letter; the caller follows up.
    """
    raise NotImplementedError
