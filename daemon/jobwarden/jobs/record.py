"""`JobRecord`: a job as everybody sees it. Its JSON names and their order are fixed (design §6)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from jobwarden.jobs.outcome import FailureReason, JobStatus

FIRST_ERRORS = 1
LONGEST_HISTORY = 100
"""An error history keeps the first error and the latest 99; how many there were is in `attempts` and the events."""


class HistoryEntry(BaseModel):
    """One line of a job's error history."""

    model_config = ConfigDict(frozen=True)

    message: str
    timestamp: datetime


class JobRecord(BaseModel):
    """One job. `model_dump(by_alias=True, mode="json")` gives the documented JSON (dates are ISO 8601 UTC)."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    id: int
    job_type: str = Field(alias="jobType")
    payload: JsonValue
    status: JobStatus
    created_at: datetime = Field(alias="createdAt")
    updated_at: datetime
    locked_at: datetime | None = None
    locked_by: str | None = None
    attempts: int
    max_attempts: int = Field(alias="maxAttempts")
    next_attempt_at: datetime | None = Field(default=None, alias="nextAttemptAt")
    priority: int
    run_at: datetime = Field(alias="runAt")
    pending_reason: str | None = Field(default=None, alias="pendingReason")
    error_history: list[HistoryEntry] = Field(default_factory=list, alias="errorHistory")
    timeout_ms: int | None = Field(default=None, alias="timeoutMs")
    failure_reason: FailureReason | None = Field(default=None, alias="failureReason")
    completed_at: datetime | None = Field(default=None, alias="completedAt")
    started_at: datetime | None = Field(default=None, alias="startedAt")
    last_retried_at: datetime | None = Field(default=None, alias="lastRetriedAt")
    last_failed_at: datetime | None = Field(default=None, alias="lastFailedAt")
    last_cancelled_at: datetime | None = Field(default=None, alias="lastCancelledAt")
    tags: list[str] = Field(default_factory=list)
    idempotency_key: str | None = Field(default=None, alias="idempotencyKey")
    progress: float | None = None
    output: JsonValue = None
    dead_letter_job_type: str | None = Field(default=None, alias="deadLetterJobType")
    dead_lettered_at: datetime | None = Field(default=None, alias="deadLetteredAt")
    dead_letter_job_id: int | None = Field(default=None, alias="deadLetterJobId")
    # our additions
    force_kill_on_timeout: bool = Field(default=False, alias="forceKillOnTimeout")
    retry_delay: float = Field(default=60, alias="retryDelay")
    retry_backoff: bool = Field(default=True, alias="retryBackoff")
    retry_delay_max: float | None = Field(default=None, alias="retryDelayMax")
    depends_on_job_ids: list[int] = Field(default_factory=list, alias="dependsOnJobIds")
    depends_on_tags: list[str] = Field(default_factory=list, alias="dependsOnTags")
    group_id: str | None = Field(default=None, alias="groupId")
    wait_until: datetime | None = Field(default=None, alias="waitUntil")
    wait_token_id: str | None = Field(default=None, alias="waitTokenId")
    step_data: dict[str, Any] | None = Field(default=None, alias="stepData")
    metadata: dict[str, Any] = Field(default_factory=dict)
    heartbeat_timeout_ms: int | None = Field(default=None, alias="heartbeatTimeoutMs")
    expires_at: datetime | None = Field(default=None, alias="expiresAt")

    @property
    def ended(self) -> bool:
        """Completed, cancelled, or failed with no further attempt planned (design §2)."""
        return self.status in {JobStatus.COMPLETED, JobStatus.CANCELLED} or (
            self.status is JobStatus.FAILED and self.next_attempt_at is None
        )

    @property
    def retrying(self) -> bool:
        """Failed, and planned to run again."""
        return self.status is JobStatus.FAILED and self.next_attempt_at is not None
