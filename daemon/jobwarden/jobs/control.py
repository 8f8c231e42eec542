"""`Control`: what an operator set for a type, a group or everything; `Explanation`: why a job does not run now."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from jobwarden.jobs.outcome import JobStatus


class ControlScope(StrEnum):
    """What a control is about."""

    ALL = "all"
    """Every job; its name is `*`. Can only be paused."""
    TYPE = "type"
    GROUP = "group"
    """The name `*` is the default of every group without a control of its own."""


EVERYTHING = "*"
"""The name of `all`, and of the default of groups."""


class Control(BaseModel):
    """One operator's row. `model_dump(by_alias=True, mode="json")` gives camelCase names; null is no limit."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    scope: ControlScope
    name: str
    max_running: int | None = Field(default=None, alias="maxRunning")
    """Jobs that may run at once over all nodes."""
    max_per_node: int | None = Field(default=None, alias="maxPerNode")
    """Jobs of a type that may run at once on one node; the handler's own `max_concurrency` may say less."""
    rate: int | None = None
    """Jobs that may start within any `rate_seconds`."""
    rate_seconds: float | None = Field(default=None, alias="rateSeconds")
    paused_at: datetime | None = Field(default=None, alias="pausedAt")
    """Set while it is paused: nothing new starts, what runs goes on."""
    paused_until: datetime | None = Field(default=None, alias="pausedUntil")
    """When it goes on by itself; null for not before somebody resumes it."""
    pause_reason: str | None = Field(default=None, alias="pauseReason")


class ReasonKind(StrEnum):
    """Why a job does not run now, in the order in which they are told."""

    ENDED = "ended"
    RUNNING = "running"
    EXPIRED = "expired"
    EXPIRES = "expires"
    """No reason, but worth knowing: it will be cancelled if it has not been started by then."""
    NOT_DUE = "not_due"
    WAITS_FOR_JOB = "waits_for_job"
    WAITS_FOR_TAGS = "waits_for_tags"
    PAUSED = "paused"
    LIMIT = "limit"
    RATE = "rate"
    NODE_LIMIT = "node_limit"
    NO_NODE = "no_node"
    NO_HANDLER = "no_handler"
    READY = "ready"


class Reason(BaseModel):
    """One thing that keeps the job from running, or that it runs or has ended."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    kind: ReasonKind
    text: str
    """A sentence for people."""
    until: datetime | None = None
    """When this reason passes by itself; null if time alone does not help."""


class Explanation(BaseModel):
    """All reasons that hold now: never none for a job that has not ended."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    job_id: int = Field(alias="jobId")
    status: JobStatus
    reasons: list[Reason]
    next_at: datetime | None = Field(default=None, alias="nextAt")
    """The next moment at which it may run if nothing but time is missing; null if something else is."""
