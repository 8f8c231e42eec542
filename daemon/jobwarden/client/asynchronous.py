"""`AsyncClient`: the verbs of `Client` as coroutines.

Database calls run in one thread of its own and never block the event loop; waiting and following take no thread at
all. A verb that only asks the database is made from that of `Client` by `_in_thread`, with the same arguments.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar

from jobwarden.client import arguments, waiting
from jobwarden.client.client import Client
from jobwarden.client.echo import InLoop
from jobwarden.client.listeners import checked_callback
from jobwarden.store.bell import drain

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType

    from jobwarden.client.listeners import Callback
    from jobwarden.jobs import JobOptions, JobRecord
    from jobwarden.jobs.history import FeedEvent

P = ParamSpec("P")
T = TypeVar("T")

_Verb: TypeAlias = Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]


def _in_thread(verb: Callable[Concatenate[Client, P], T]) -> _Verb[P, T]:
    """A verb of `Client` as a coroutine of `AsyncClient`."""

    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(verb, self.blocking, *args, **kwargs)

    update_wrapper(call, verb)
    return call


class AsyncClient:
    """`Client` for asyncio; an async context manager. Verbs, arguments and errors are those of `Client`.

    A verb that is cancelled goes on in its thread: the job of a cancelled `add_job` may exist.

    To add a job inside a transaction of your own: `await conn.run_sync(lambda c: client.blocking.add_job(…,
    connection=c))`.
    """

    def __init__(self, url: str | None = None, *, validate_payloads: bool = False) -> None:
        """As `Client`. Nothing is opened yet."""
        self.blocking = Client(url, validate_payloads=validate_payloads)
        """The client whose verbs run in the thread."""
        self._thread = _one_thread()
        self._owner_pid = os.getpid()
        self._closing = asyncio.Event()

    async def add_job(self, job_type: str, payload: object = None, **options: Any) -> int:
        """As `Client.add_job`, without `connection`."""
        return await self._run(self.blocking.add_job, job_type, payload, **options)

    async def add_jobs(self, jobs: Iterable[JobOptions]) -> list[int]:
        """As `Client.add_jobs`, without `connection`."""
        return await self._run(self.blocking.add_jobs, jobs)

    get_job = _in_thread(Client.get_job)
    get_jobs = _in_thread(Client.get_jobs)
    get_page = _in_thread(Client.get_page)
    count_jobs = _in_thread(Client.count_jobs)
    counts = _in_thread(Client.counts)
    get_job_events = _in_thread(Client.get_job_events)
    get_job_attempts = _in_thread(Client.get_job_attempts)
    explain = _in_thread(Client.explain)

    edit_jobs = _in_thread(Client.edit_jobs)
    cancel_jobs = _in_thread(Client.cancel_jobs)
    retry_job = _in_thread(Client.retry_job)
    retry_jobs = _in_thread(Client.retry_jobs)
    replay_dead_letters = _in_thread(Client.replay_dead_letters)
    remove_job = _in_thread(Client.remove_job)
    clear_jobs = _in_thread(Client.clear_jobs)

    set_limit = _in_thread(Client.set_limit)
    clear_limits = _in_thread(Client.clear_limits)
    get_controls = _in_thread(Client.get_controls)
    pause = _in_thread(Client.pause)
    resume = _in_thread(Client.resume)
    cleanup_old_jobs = _in_thread(Client.cleanup_old_jobs)
    cleanup_old_job_events = _in_thread(Client.cleanup_old_job_events)
    reclaim_stuck_jobs = _in_thread(Client.reclaim_stuck_jobs)

    remove_all_listeners = _in_thread(Client.remove_all_listeners)

    async def edit_job(self, job_id: int, **changes: Any) -> JobRecord:
        """As `Client.edit_job`."""
        return await self._run(self.blocking.edit_job, job_id, **changes)

    async def cancel_job(
        self, job_id: int, *, reason: str | None = None, wait_seconds: float | None = None
    ) -> JobRecord:
        """As `Client.cancel_job`."""
        arguments.checked_seconds(wait_seconds, name="wait_seconds")
        record = await self._run(self.blocking.cancel_job, job_id, reason=reason)
        return record if wait_seconds is None or record.ended else await self.wait(job_id, wait_seconds)

    async def wait(self, job_id: int, timeout: float | None = None) -> JobRecord:  # noqa: ASYNC109 - the verb of Client
        """As `Client.wait`; any number of jobs can be waited for at once."""
        job_id = arguments.checked_id(job_id)
        patience = waiting.Patience(job_id, seconds=arguments.checked_seconds(timeout, name="timeout"))
        store = await self._run(lambda: self.blocking.store)
        with waiting.listening(store) as ear:
            while (record := await self._run(waiting.ended_record, store, job_id)) is None:
                await _listen(ear, seconds=patience.next_wait_seconds(store))
        return record

    async def events(
        self,
        after: str | None = None,
        *,
        follow: bool = False,
        idle_seconds: float | None = None,
        stop: asyncio.Event | None = None,
    ) -> AsyncIterator[FeedEvent]:
        """As `Client.events`; without `after`, it follows from the moment on at which its first event is asked for."""
        arguments.checked_stop(stop)
        closing = self._closing
        begin = partial(self.blocking.track, after, follow=follow, idle_seconds=idle_seconds)
        store, track = await self._run(lambda: (self.blocking.store, begin()))
        with waiting.listening(store) as ear:
            while not (track.abandoned or closing.is_set() or (stop is not None and stop.is_set())):
                found = await self._run(track.next_batch)
                for event in found:
                    track.advance(event)
                    yield event
                    if closing.is_set() or (stop is not None and stop.is_set()):
                        return
                if not found:
                    if track.finished:
                        return
                    await _listen(ear, seconds=track.next_wait_seconds)

    async def on(self, name: str, callback: Callback) -> None:
        """As `Client.on`; the callback is called in this event loop, and may be a coroutine function."""
        await self._run(self.blocking.on, name, self._echo(callback))

    async def once(self, name: str, callback: Callback) -> None:
        """As `on`, for the first such event only."""
        await self._run(self.blocking.once, name, self._echo(callback))

    async def off(self, name: str, callback: Callback) -> None:
        """As `Client.off`."""
        await self._run(self.blocking.off, name, self._echo(callback))

    async def close(self) -> None:
        """Give the database connections and the thread back; iterators and listeners end."""
        self._closing.set()
        self._closing = asyncio.Event()
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

    def _echo(self, callback: Callback) -> Callback:
        return InLoop(checked_callback(callback), asyncio.get_running_loop(), self.blocking)

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
            drain(ear)
