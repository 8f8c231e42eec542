"""`MessageJob`: a job as users of a message queue see it; the second view of the same row (design section 6).

Its fields are fixed. Pure: the caller brings the time.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from jobwarden.clock import MILLISECOND_US, to_us
from jobwarden.jobs.outcome import JobStatus

if TYPE_CHECKING:
    from jobwarden.jobs import JobRecord


class MessageStatus(StrEnum):
    """What a message queue knows of a job."""

    PENDING = "pending"
    """Ready, or waiting for something other than time (other jobs, tags, room under a limit)."""
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    """Failed for good, or cancelled: `error` then says "cancelled"."""
    DELAYED = "delayed"
    """Waits for its time, be it the first or the next attempt."""


class MessageJob(BaseModel):
    """One job. Attributes are snake_case, `model_dump(by_alias=True, mode="json")` gives the camelCase names."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    id: str
    type: str
    data: JsonValue = None
    status: MessageStatus
    priority: int
    """Higher first."""
    attempts: int
    max_attempts: int = Field(alias="maxAttempts")
    delay: int
    """Milliseconds from its adding to the moment before which it was not to start."""
    created_at: datetime = Field(alias="createdAt")
    process_at: datetime = Field(alias="processAt")
    """When it may start, or might have: of a retrying job, its next attempt."""
    completed_at: datetime | None = Field(default=None, alias="completedAt")
    failed_at: datetime | None = Field(default=None, alias="failedAt")
    """When it ended otherwise, or its last attempt failed."""
    error: str | None = None
    """What was wrong with the last attempt that failed."""
    metadata: dict[str, Any] = Field(default_factory=dict)


def message_of(job: JobRecord, *, now_us: int) -> MessageJob:
    """The job at this moment."""
    status = _status(job, now_us=now_us)
    failing = status is MessageStatus.FAILED or job.retrying
    return MessageJob(
        id=str(job.id),
        type=job.job_type,
        data=job.payload,
        status=status,
        priority=job.priority,
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        delay=max(to_us(job.run_at) - to_us(job.created_at), 0) // MILLISECOND_US,
        created_at=job.created_at,
        process_at=_process_at(job),
        completed_at=job.completed_at if status is MessageStatus.COMPLETED else None,
        failed_at=_failed_at(job) if failing else None,
        error=_error(job) if failing else None,
        metadata=job.metadata,
    )


def _status(job: JobRecord, *, now_us: int) -> MessageStatus:
    match job.status:
        case JobStatus.PROCESSING:
            return MessageStatus.PROCESSING
        case JobStatus.COMPLETED:
            return MessageStatus.COMPLETED
        case _ if job.ended:
            return MessageStatus.FAILED
        case _:
            return MessageStatus.DELAYED if to_us(_process_at(job)) > now_us else MessageStatus.PENDING


def _process_at(job: JobRecord) -> datetime:
    if job.retrying and job.next_attempt_at is not None:
        return job.next_attempt_at
    return job.wait_until or job.run_at


def _failed_at(job: JobRecord) -> datetime | None:
    return job.last_cancelled_at if job.status is JobStatus.CANCELLED else job.last_failed_at


def _error(job: JobRecord) -> str | None:
    if job.status is JobStatus.CANCELLED:
        return str(JobStatus.CANCELLED)
    return job.error_history[-1].message if job.error_history else None
