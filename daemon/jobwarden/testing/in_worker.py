"""The fixture `run_job`: a job through a daemon of its own, in a real worker, on a database that the test throws away.

Hard limits, crashes, retries and hooks are those of a daemon; it is `run_jobs` with less to write. Imports no handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from jobwarden.client import Client
from jobwarden.testing.running import run_jobs
from jobwarden.testing.served import definition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jobwarden.jobs import JobRecord


class RunJob:
    """What the fixture gives: call it. `client` and `url` are for whatever else the test wants to see or add."""

    def __init__(self, database: Path, *, handlers: Path) -> None:
        """`handlers` is the directory unless a call names another one."""
        self.url = f"sqlite:///{database}"
        self.client = Client(self.url)
        self._handlers = handlers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def __call__(
        self,
        job: str | Callable[..., object],
        payload: object = None,
        *,
        handlers: str | Path | None = None,
        timeout: float | None = 60,
        settings: Mapping[str, object] | None = None,
        **options: object,
    ) -> JobRecord:
        """Add a job, run what of its type is ready, and give the record of it.

        `job` is a type or a function with `@handler`; `options` are those of `add_job` (`timeout_ms=`, `max_attempts=`,
        `retry_delay=`, ...), `settings` those of `jobwarden run`. What is due later is not waited for: with the usual
        `retry_delay`, a job that fails once is `failed` with a `next_attempt_at`. Jobs of other types that the handler
        adds are added, and not run.

        Raises ErrandFailedError with the daemon's log, when nothing here serves the type or after `timeout` seconds.
        """
        job_type = job if isinstance(job, str) else definition_of(job).job_type
        job_id = self.client.add_job(job_type, payload, **options)  # type: ignore[arg-type]
        where = handlers or self._handlers
        run_jobs(self.url, handlers=where, types=[job_type], workers=1, timeout=timeout, settings=settings)
        return self._record(job_id)

    def _record(self, job_id: int) -> JobRecord:
        record = self.client.get_job(job_id)
        if record is None:
            message = f"job {job_id} has been removed"
            raise LookupError(message)
        return record
