"""The closed vocabularies: job statuses, outcomes of attempts, reasons of failure."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """The public status of a job. Whether it has *ended* is another question: see `JobRecord.ended`."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    WAITING = "waiting"


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    MEMORY_EXCEEDED = "memory_exceeded"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    PARKED = "parked"


class FailureReason(StrEnum):
    """Why a job, or the last attempt of it, did not succeed."""

    TIMEOUT = "timeout"
    HANDLER_ERROR = "handler_error"
    NO_HANDLER = "no_handler"
    CRASHED = "crashed"
    MEMORY_LIMIT = "memory_limit"
    LOST = "lost"
    CANCELLED = "cancelled"
    INVALID_PAYLOAD = "invalid_payload"
    STALLED = "stalled"
    """No sign of life within `heartbeatTimeoutMs`; the outcome of the attempt is TimedOut."""
    EXPIRED = "expired"
    """Not started by the moment that `expires_in` gave; the job is cancelled."""
    DEPENDENCY = "dependency"
    """A job on which it depends ended failed or cancelled."""


class OnParentFailure(StrEnum):
    """What happens to a dependent job when a prerequisite ends failed or cancelled; said for each dependency."""

    CANCEL = "cancel"
    RUN = "run"
    FAIL = "fail"
