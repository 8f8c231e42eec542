"""What jobs are: record, options, outcomes and the rules that lead from one to the next. Pure."""

from jobwarden.jobs.claim import ClaimedJob, TypeTerms
from jobwarden.jobs.control import Control, ControlScope, Explanation, Reason, ReasonKind
from jobwarden.jobs.ending import AttemptFacts, Ending, complete, end_attempt
from jobwarden.jobs.filter import JobChanges, JobFilter, TagMode
from jobwarden.jobs.history import Attempt, FeedEvent, JobEvent
from jobwarden.jobs.options import Dependency, DependsOn, JobOptions
from jobwarden.jobs.outcome import FailureReason, JobStatus, OnParentFailure, Outcome
from jobwarden.jobs.record import JobRecord

__all__ = [
    "Attempt",
    "AttemptFacts",
    "ClaimedJob",
    "Control",
    "ControlScope",
    "Dependency",
    "DependsOn",
    "Ending",
    "Explanation",
    "FailureReason",
    "FeedEvent",
    "JobChanges",
    "JobEvent",
    "JobFilter",
    "JobOptions",
    "JobRecord",
    "JobStatus",
    "OnParentFailure",
    "Outcome",
    "Reason",
    "ReasonKind",
    "TagMode",
    "TypeTerms",
    "complete",
    "end_attempt",
]
