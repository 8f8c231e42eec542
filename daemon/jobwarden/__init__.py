"""jobwarden: a worker pool for background jobs that kills what hangs and loses nothing.

This module is what the author of a handler file needs; applications import `jobwarden.client`.
It imports neither SQLAlchemy nor watchfiles, so that templates and workers stay small.
"""

from jobwarden.errors import FailPermanently, JobCancelled, JobStopped, JobTimeout, RetryLater
from jobwarden.version import __version__
from jobwarden.worker.context import JobContext
from jobwarden.worker.handler import handler
from jobwarden.worker.hooks import on_worker_start, on_worker_stop, warm_up

__all__ = [
    "FailPermanently",
    "JobCancelled",
    "JobContext",
    "JobStopped",
    "JobTimeout",
    "RetryLater",
    "__version__",
    "handler",
    "on_worker_start",
    "on_worker_stop",
    "warm_up",
]
