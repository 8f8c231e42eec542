"""jobwarden: a worker pool for background jobs that kills what hangs and loses nothing.

This module is what the author of a handler file needs; applications import `jobwarden.client`. It imports neither
SQLAlchemy nor watchfiles, so that templates and workers stay small, and nothing at all before it is asked for: the
pytest plugin, which every pytest run on the machine loads, comes through here.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from jobwarden.version import __version__

if TYPE_CHECKING:
    from jobwarden.errors import FailPermanently, JobCancelled, JobStopped, JobTimeout, RetryLater
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

_HOMES = {
    "FailPermanently": "errors",
    "JobCancelled": "errors",
    "JobContext": "worker.context",
    "JobStopped": "errors",
    "JobTimeout": "errors",
    "RetryLater": "errors",
    "handler": "worker.handler",
    "on_worker_start": "worker.hooks",
    "on_worker_stop": "worker.hooks",
    "warm_up": "worker.hooks",
}


def __getattr__(name: str) -> object:
    """Import a name of `__all__` when it is first used (PEP 562)."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
