"""Adding jobs, inside the caller's own transaction if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobwarden.client import arguments
from jobwarden.client.connected import Connected, now_us
from jobwarden.client.payloads import Schemas
from jobwarden.client.rings import ring_nodes_after
from jobwarden.errors import StoreUnavailableError
from jobwarden.jobs import JobOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from jobwarden.store.store import Store


class Adding(Connected):
    """Verbs that add jobs."""

    def __init__(self, url: str | None, *, validate_payloads: bool) -> None:
        super().__init__(url)
        self._schemas = Schemas() if validate_payloads else None

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
        connection = arguments.checked_connection(connection)
        job = JobOptions.parse(job_type=job_type, payload=payload, **options)
        (job_id,) = self._add([job], now_us(), connection=connection, single=True)
        return job_id

    def add_jobs(self, jobs: Iterable[JobOptions], *, connection: Connection | None = None) -> list[int]:
        """Add many jobs in one transaction: all or none. Returns their ids in the same order.

        In `depends_on.job_ids`, -(i+1) is the i-th of these jobs.
        """
        connection = arguments.checked_connection(connection)
        return self._add(arguments.checked_jobs(jobs), now_us(), connection=connection)

    def add_at(self, at_us: int, job: JobOptions) -> int:
        """Add one job at a moment from which its caller has counted already."""
        return self._add([job], at_us, connection=None, single=True)[0]

    def _add(
        self, jobs: list[JobOptions], at_us: int, *, connection: Connection | None, single: bool = False
    ) -> list[int]:
        if not jobs:
            return []
        store = self.store if connection is None else self._store_beside(connection)
        if self._schemas is not None:
            self._schemas.check(store, jobs, single=single)
        ids = store.add(jobs, now_us=at_us, connection=connection)
        if connection is not None:
            ring_nodes_after(connection, store.bell)
        return ids

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
