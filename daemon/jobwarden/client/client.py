"""`Client`: the verbs for applications, over the store, inside the caller's own transaction if wanted.

Blocking and safe to share between threads. The database is opened at the first call, and again after a fork:
a connection that was inherited over a fork is never touched.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Self

from jobwarden.client import arguments, waiting
from jobwarden.client.rings import ring_nodes_after
from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.errors import InvalidSettingsError, StoreUnavailableError, UnknownJobError
from jobwarden.jobs import JobOptions
from jobwarden.store.changing import CANCELLED
from jobwarden.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from sqlalchemy import Connection

    from jobwarden.jobs import Attempt, JobEvent, JobRecord, JobStatus
    from jobwarden.store.store import Store

URL_VARIABLE = "JOBWARDEN_DATABASE_URL"

_inherited: list[Store] = []
"""Stores of a parent process. Kept for ever: closing one here could harm the parent's connection."""


class Client:
    """Adds jobs to one database and follows them. A context manager; a call opens a closed one again.

    All verbs raise InvalidJobError for arguments that cannot be right, StoreUnavailableError when the database
    cannot be used now, SchemaMismatchError when it is of another version; nothing was changed then.
    """

    def __init__(self, url: str | None = None) -> None:
        """`url` is an SQLAlchemy URL, by default that of JOBWARDEN_DATABASE_URL. Nothing is opened yet."""
        self._url = url or _url_of_environment()
        self._lock = threading.Lock()
        self._opened: tuple[int, Store] | None = None

    def add_job(
        self,
        job_type: str,
        payload: object = None,
        *,
        connection: Connection | None = None,
        **options: Any,
    ) -> int:
        """Add one job and return its id; the job is committed then. `options` are the fields of JobOptions.

        With `connection` it becomes part of the caller's transaction instead, and exists when that commits. A
        second job with the same `idempotency_key` is not added: the first one's id is returned. Raises
        CommitUnknownError if the answer to the commit was lost.
        """
        job = JobOptions.parse(job_type=job_type, payload=payload, **options)
        (job_id,) = self.add_jobs([job], connection=connection)
        return job_id

    def add_jobs(self, jobs: Iterable[JobOptions], *, connection: Connection | None = None) -> list[int]:
        """Add many jobs in one transaction: all or none. Returns their ids in the same order."""
        checked = arguments.checked_jobs(jobs)
        if not checked:
            return []
        store = self.store if connection is None else self._store_beside(connection)
        ids = store.add(checked, now_us=SYSTEM_CLOCK.now_us(), connection=connection)
        if connection is not None:
            ring_nodes_after(connection, store.bell)
        return ids

    def get_job(self, job_id: int) -> JobRecord | None:
        """The job as it is now; None if there is none."""
        return self.store.get(arguments.checked_id(job_id))

    def get_jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[JobRecord]:
        """Jobs, newest first; `tags` finds those that carry all of them. `limit` is at most 10,000.

        `status` may also be "retrying": failed, and planned to run again.
        """
        limit, offset = arguments.checked_page(limit, offset)
        return self.store.find(
            status=arguments.checked_status(status),
            job_type=arguments.checked_type(job_type),
            tags=arguments.checked_tags(tags),
            limit=limit,
            offset=offset,
        )

    def get_job_events(self, job_id: int) -> list[JobEvent]:
        """All that happened to the job, oldest first; empty for an unknown one."""
        return self.store.events(arguments.checked_id(job_id))

    def get_job_attempts(self, job_id: int) -> list[Attempt]:
        """The ended attempts of the job, oldest first, with what they printed; empty for an unknown one."""
        return self.store.attempts(arguments.checked_id(job_id))

    def cancel_job(self, job_id: int, *, reason: str | None = None, wait_seconds: float | None = None) -> JobRecord:
        """Cancel a job that has not ended, and return it as it is then.

        A waiting one is cancelled at once. A running one is asked to stop and then killed; it is still
        `processing` when this returns, unless `wait_seconds` says how long to wait for its end; raises
        WaitTimeoutError when that is not enough.
        Raises UnknownJobError, and JobStateError for a job that has ended.
        """
        job_id = arguments.checked_id(job_id)
        reason = arguments.checked_reason(reason)
        seconds = arguments.checked_seconds(wait_seconds, name="wait_seconds")
        state = self.store.cancel(job_id, now_us=SYSTEM_CLOCK.now_us(), reason=reason)
        if state == CANCELLED and self.store.bell:
            self.store.bell.ring_waiters()
        if seconds is not None:
            waiting.wait_until_ended(self.store, job_id, seconds=seconds)
        return self._existing(job_id)

    def retry_job(self, job_id: int) -> JobRecord:
        """Make a failed or cancelled job run again now; raises UnknownJobError and JobStateError."""
        job_id = arguments.checked_id(job_id)
        self.store.retry(job_id, now_us=SYSTEM_CLOCK.now_us())
        return self._existing(job_id)

    def wait(self, job_id: int, timeout: float | None = None) -> JobRecord:
        """Wait until the job has ended (completed, cancelled, or failed for good) and return it.

        `timeout` is in seconds, None waits without a limit. Woken by the daemon, not by polling, on SQLite.
        Raises WaitTimeoutError (also a TimeoutError) and UnknownJobError.
        """
        job_id = arguments.checked_id(job_id)
        seconds = arguments.checked_seconds(timeout, name="timeout")
        waiting.wait_until_ended(self.store, job_id, seconds=seconds)
        return self._existing(job_id)

    def close(self) -> None:
        """Give the database connections back."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened:
            _let_go(*opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def store(self) -> Store:
        """This process's store; opened here if need be."""
        with self._lock:
            if self._opened and self._opened[0] != os.getpid():
                _let_go(*self._opened)
                self._opened = None
            if self._opened is None:
                self._opened = (os.getpid(), open_store(self._url))
            return self._opened[1]

    def _store_beside(self, connection: Connection) -> Store:
        """The store, for a call inside a caller's transaction, which may be what keeps a new database locked."""
        try:
            return self.store
        except StoreUnavailableError as error:
            if not connection.in_transaction():
                raise
            problem = (
                f"{error.problem}; if it is your own transaction that holds it, make the first use of the client "
                "(or run `jobwarden migrate`) before that transaction begins"
            )
            raise StoreUnavailableError(error.where, problem) from error

    def _existing(self, job_id: int) -> JobRecord:
        record = self.store.get(job_id)
        if record is None:
            raise UnknownJobError(job_id)
        return record


def _url_of_environment() -> str:
    url = os.environ.get(URL_VARIABLE)
    if not url:
        raise InvalidSettingsError([f"no database is named; give Client a URL or set {URL_VARIABLE}"])
    return url


def _let_go(pid: int, store: Store) -> None:
    if pid == os.getpid():
        store.close()
    else:
        _inherited.append(store)
