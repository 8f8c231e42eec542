"""`AsyncClient`: the verbs of `Client` as coroutines.

Database calls run in one thread of its own and never block the event loop; waiting takes no thread at all.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from jobwarden.client import arguments, waiting
from jobwarden.client.client import Client
from jobwarden.errors import UnknownJobError
from jobwarden.store.bell import Bell

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from jobwarden.jobs import Attempt, JobEvent, JobOptions, JobRecord, JobStatus

P = ParamSpec("P")
T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio; an async context manager. Verbs, arguments and errors are those of `Client`.

    A verb that is cancelled goes on in its thread: the job of a cancelled `add_job` may exist.

    To add a job inside a transaction of your own: `await conn.run_sync(lambda c: client.blocking.add_job(…,
    connection=c))`.
    """

    def __init__(self, url: str | None = None) -> None:
        """`url` is an SQLAlchemy URL, by default that of JOBWARDEN_DATABASE_URL. Nothing is opened yet."""
        self.blocking = Client(url)
        """The client whose verbs run in the thread."""
        self._thread = _one_thread()
        self._owner_pid = os.getpid()

    async def add_job(self, job_type: str, payload: object = None, **options: Any) -> int:
        """As `Client.add_job`, without `connection`."""
        return await self._run(self.blocking.add_job, job_type, payload, **options)

    async def add_jobs(self, jobs: Iterable[JobOptions]) -> list[int]:
        """As `Client.add_jobs`, without `connection`."""
        return await self._run(self.blocking.add_jobs, jobs)

    async def get_job(self, job_id: int) -> JobRecord | None:
        """As `Client.get_job`."""
        return await self._run(self.blocking.get_job, job_id)

    async def get_jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[JobRecord]:
        """As `Client.get_jobs`."""
        call = self.blocking.get_jobs
        return await self._run(call, status=status, job_type=job_type, tags=tags, limit=limit, offset=offset)

    async def get_job_events(self, job_id: int) -> list[JobEvent]:
        """As `Client.get_job_events`."""
        return await self._run(self.blocking.get_job_events, job_id)

    async def get_job_attempts(self, job_id: int) -> list[Attempt]:
        """As `Client.get_job_attempts`."""
        return await self._run(self.blocking.get_job_attempts, job_id)

    async def cancel_job(
        self, job_id: int, *, reason: str | None = None, wait_seconds: float | None = None
    ) -> JobRecord:
        """As `Client.cancel_job`."""
        arguments.checked_seconds(wait_seconds, name="wait_seconds")
        record = await self._run(self.blocking.cancel_job, job_id, reason=reason)
        return record if wait_seconds is None or record.ended else await self.wait(job_id, wait_seconds)

    async def retry_job(self, job_id: int) -> JobRecord:
        """As `Client.retry_job`."""
        return await self._run(self.blocking.retry_job, job_id)

    async def wait(self, job_id: int, timeout: float | None = None) -> JobRecord:  # noqa: ASYNC109 - the verb of Client
        """As `Client.wait`; any number of jobs can be waited for at once."""
        job_id = arguments.checked_id(job_id)
        patience = waiting.Patience(job_id, seconds=arguments.checked_seconds(timeout, name="timeout"))
        store = await self._run(lambda: self.blocking.store)
        with waiting.listening(store) as ear:
            while not await self._run(waiting.look, store, job_id):
                await _listen(ear, seconds=patience.next_wait_seconds())
        record = await self.get_job(job_id)
        if record is None:
            raise UnknownJobError(job_id)
        return record

    async def close(self) -> None:
        """Give the database connections and the thread back."""
        try:
            await self._run(self.blocking.close)
        finally:
            self._thread.shutdown(wait=False)
            self._thread = _one_thread()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._owner_pid != os.getpid():  # threads do not cross a fork: calls would wait for ever
            self._thread, self._owner_pid = _one_thread(), os.getpid()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(call, *args, **kwargs))


def _one_thread() -> ThreadPoolExecutor:
    """The thread itself begins with the first call."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="jobwarden-client")


async def _listen(ear: socket.socket | None, *, seconds: float) -> None:
    rung = asyncio.Event()
    loop = asyncio.get_running_loop()
    if ear:
        loop.add_reader(ear, rung.set)
    try:
        await asyncio.wait_for(rung.wait(), seconds)
    except TimeoutError:
        return
    finally:
        if ear:
            loop.remove_reader(ear)
            Bell.drain(ear)
