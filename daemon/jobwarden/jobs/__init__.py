"""What jobs are: record, options, outcomes and the rules that lead from one to the next. Pure."""

from jobwarden.jobs.claim import ClaimedJob, TypeTerms
from jobwarden.jobs.ending import AttemptFacts, Ending, complete, end_attempt
from jobwarden.jobs.history import Attempt, JobEvent
from jobwarden.jobs.options import JobOptions
from jobwarden.jobs.outcome import FailureReason, JobStatus, Outcome
from jobwarden.jobs.record import JobRecord

__all__ = [
    "Attempt",
    "AttemptFacts",
    "ClaimedJob",
    "Ending",
    "FailureReason",
    "JobEvent",
    "JobOptions",
    "JobRecord",
    "JobStatus",
    "Outcome",
    "TypeTerms",
    "complete",
    "end_attempt",
]
