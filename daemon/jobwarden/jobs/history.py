"""What happened to a job: its events, and its attempts (a view of the outcome events)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from jobwarden.jobs.outcome import Outcome

EVENT_TYPES = (
    "added",
    "processing",
    "completed",
    "failed",
    "cancelled",
    "retried",
    "edited",
    "prolonged",
    "waiting",
    "reclaimed",
    "dead_lettered",
    "progress",
)
"""What may happen to a job (design section 6)."""


class JobEvent(BaseModel):
    """One transition of a job, written in the transaction that made it."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    id: int
    job_id: int = Field(alias="jobId")
    type: str
    at: datetime
    metadata: dict[str, Any] = Field(default_factory=dict)


class FeedEvent(JobEvent):
    """An event as a follower of all jobs gets it."""

    job_type: str | None = Field(default=None, alias="jobType")
    """None: the job was removed since."""
    cursor: str
    """Opaque; hand it back to go on after this event."""


class Attempt(BaseModel):
    """One ended attempt of a job, identified by (job_id, fence)."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    job_id: int = Field(alias="jobId")
    fence: int
    outcome: Outcome
    started_at: datetime | None = Field(default=None, alias="startedAt")
    ended_at: datetime | None = Field(default=None, alias="endedAt")
    node: str | None = None
    worker_pid: int | None = Field(default=None, alias="workerPid")
    generation: int | None = None
    signal: int | None = None
    exit_code: int | None = Field(default=None, alias="exitCode")
    peak_rss_kb: int | None = Field(default=None, alias="peakRssKb")
    cpu_ms: int | None = Field(default=None, alias="cpuMs")
    error: str | None = None
    captured: str | None = None
    stack_dump: str | None = Field(default=None, alias="stackDump")
    left_behind: list[str] | None = Field(default=None, alias="leftBehind")
