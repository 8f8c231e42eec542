"""`JobQueue`: jobs as a message queue; for producers, and for consumers outside the daemon.

The same jobs as those of `Client`, in the view of `message`. What it dequeues is held by a node of its own (`holder`).
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from jobwarden.client import arguments
from jobwarden.client.client import Client
from jobwarden.client.connected import now_us
from jobwarden.client.holder import CANCEL, NEVER_TAKEN, Holder, jitter
from jobwarden.client.message import MessageStatus, message_of
from jobwarden.clock import MILLISECOND_US, to_datetime
from jobwarden.errors import InvalidJobError, NotHeldError
from jobwarden.jobs import JobFilter, JobOptions, JobStatus, Outcome, complete, end_attempt
from jobwarden.jobs.options import LONGEST_SECONDS, encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from jobwarden.client.message import MessageJob
    from jobwarden.store.store import Store

LEASE_SECONDS = 15.0
LONGEST_DELAY_MS = LONGEST_SECONDS * 1_000

_STATES: dict[str, tuple[JobStatus, ...]] = {
    MessageStatus.COMPLETED: (JobStatus.COMPLETED,),
    MessageStatus.FAILED: (JobStatus.FAILED, JobStatus.CANCELLED),
}
"""What is behind the two statuses in which a message has ended."""
_PAGE = 500
_PUBLIC_NAMES = {"job_type": "type", "payload": "data", "run_at": "delay"}
"""What JobOptions calls by another name than `enqueue`."""


class JobQueue:
    """A message queue over the jobs of one database; a context manager, safe to share between threads.

    `dequeue` makes the calling process a node: if it dies, its jobs are found and run again, as those of a daemon. But
    nobody can kill it: time limits, cancelling and reclaiming do not reach what it holds (`cancelled` tells of a wish),
    and if it goes on after it was taken for dead, two attempts of a job may overlap (promise P2 does not cover it);
    the late one's `complete` or `fail` is refused. A fork of it holds nothing. Errors are those of `Client`.
    """

    def __init__(self, database: str | Client | None = None, *, lease_seconds: float = LEASE_SECONDS) -> None:
        """`database` is a URL, by default that of JOBWARDEN_DATABASE_URL, or a client that stays its owner's to close.

        `lease_seconds` is how long a silent node counts as living where no file lock shows it. Nothing is opened yet.
        """
        self._owns_client = not isinstance(database, Client)
        self._client = database if isinstance(database, Client) else Client(database)
        self._lease_seconds = arguments.checked_lease(lease_seconds)
        self._locked = (os.getpid(), threading.Lock())
        self._holder: Holder | None = None

    # producing

    def enqueue(
        self,
        type: str,  # noqa: A002 - the name is fixed by design section 6
        data: object = None,
        *,
        priority: int = 0,
        delay: int = 0,
        max_attempts: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Add a job and return its id; it is committed then. `delay` is in milliseconds, higher priorities come first.

        A second one with the same `idempotency_key` is not added, the first one's id is returned.
        """
        delay = arguments.checked_integer(delay, name="delay", least=0, most=LONGEST_DELAY_MS)
        at_us = now_us()
        with _own_names():
            job = JobOptions.parse(
                job_type=type,
                payload=data,
                priority=priority,
                run_at=to_datetime(at_us + delay * MILLISECOND_US) if delay else None,
                max_attempts=max_attempts,
                metadata={} if metadata is None else metadata,
                idempotency_key=idempotency_key,
            )
            return str(self._client.add_at(at_us, job))

    # consuming

    def dequeue(self, types: Sequence[str] | None = None) -> MessageJob | None:
        """Take the next ready job of these types, None: of any; None if there is none.

        It is `processing` and held by this queue then, until `complete`, `fail` or `close`.
        """
        wanted = arguments.checked_types(types)
        while True:
            holder = self._own_holder()
            taken = holder.take(wanted)
            if taken is not None:
                return self._shown(holder, taken.id)
            # Nothing: because somebody took this node for dead, or because a dead one still has it?
            if not holder.gone and not holder.free_the_dead():
                return None

    def complete(self, id: str, result: object = None) -> None:  # noqa: A002 - as `type`
        """The job succeeded; `result`, a JSON value, becomes its output. Raises NotHeldError."""
        holder, job_id = self._holding(id)
        output = None if result is None else encode_json(result, what="result")
        holder.end(complete(holder.held(job_id), output=output, now_us=now_us()))

    def fail(
        self,
        id: str,  # noqa: A002 - as `type`
        error: str | BaseException,
        *,
        retry: Mapping[str, object] | None = None,
    ) -> None:
        """The attempt failed. By the job's own rules it is tried again, unless `retry` says otherwise.

        `retry` is {"enabled": bool, "delayMs": int}, each may be left out: whether there may be another attempt, if any
        is left, and after how many milliseconds. A job that was to be cancelled meanwhile ends so. Raises NotHeldError.
        """
        holder, job_id = self._holding(id)
        message = arguments.checked_error(error)
        again, after_seconds = arguments.checked_retry(retry)
        job = holder.held(job_id)
        ending = end_attempt(
            job,
            Outcome.CANCELLED if holder.wish(job) == CANCEL else Outcome.FAILED,
            error=message,
            now_us=now_us(),
            jitter=jitter(),
            permanent=not again,
            retry_after=after_seconds,
        )
        holder.end(ending)

    def cancelled(self, id: str) -> bool:  # noqa: A002 - as `type`
        """Whether somebody wants this held job to be cancelled: stop, and call `fail`. Raises NotHeldError."""
        holder, job_id = self._holding(id)
        return holder.wish(holder.held(job_id)) == CANCEL

    # looking

    def peek(self, types: Sequence[str] | None = None) -> MessageJob | None:
        """The job that `dequeue` would take now; it stays where it is."""
        job_id = self._store.ready.next_id(arguments.checked_types(types), now_us=now_us())
        return None if job_id is None else self.get_job(str(job_id))

    def size(self, types: Sequence[str] | None = None) -> int:
        """How many jobs are ready to be dequeued."""
        return self._store.ready.count(arguments.checked_types(types), now_us=now_us())

    def get_job(self, id: str) -> MessageJob | None:  # noqa: A002 - as `type`
        """The job as it is now; None if there is none."""
        record = self._client.get_job(arguments.checked_message_id(id))
        return None if record is None else message_of(record, now_us=now_us())

    # removing

    def remove(self, id: str) -> None:  # noqa: A002 - as `type`
        """Remove a job that is not being processed. Raises UnknownJobError and JobStateError."""
        self._client.remove_job(arguments.checked_message_id(id))

    def clear(self) -> int:
        """Remove all jobs but those that are being processed; how many."""
        return len(self._client.clear_jobs(JobFilter()).ids)

    def cleanup_terminal(self, statuses: Sequence[str] = tuple(_STATES)) -> int:
        """Remove jobs that have ended, completed or failed as `statuses` says; how many. A retrying one stays."""
        wanted = arguments.checked_statuses(statuses, known=_STATES)
        return sum(self._clear_ended(state) for status in wanted for state in _STATES[status])

    def close(self) -> None:
        """Give the held jobs back, which costs them no attempt, and sign off. It can be used again."""
        with self._own_lock():
            holder, self._holder = self._holder, None
        try:
            if holder is not None and holder.owner_pid == os.getpid():
                holder.close()
        finally:
            if self._owns_client:
                self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _store(self) -> Store:
        return self._client.store

    def _own_holder(self) -> Holder:
        """The node of this process; registered at the first need, and again after it was taken for dead."""
        store = self._store
        with self._own_lock():
            holder = self._holder
            if holder is not None and holder.owner_pid == os.getpid():
                if not holder.gone:
                    return holder
                holder.close()
            self._holder = Holder(store, lease_seconds=self._lease_seconds)
            return self._holder

    def _shown(self, holder: Holder, job_id: int) -> MessageJob | None:
        """What was taken. If that cannot be told, nobody would ever end it: it is given back."""
        try:
            return self.get_job(str(job_id))
        except BaseException:
            holder.disown(job_id)
            raise

    def _own_lock(self) -> threading.Lock:
        """A fork may have come while another thread, which is not there any more, held the lock."""
        pid, lock = self._locked
        if pid != os.getpid():
            lock = threading.Lock()
            self._locked = (os.getpid(), lock)
        return lock

    def _holding(self, id: object) -> tuple[Holder, int]:  # noqa: A002 - as `type`
        job_id = arguments.checked_message_id(id)
        holder = self._holder
        if holder is None or holder.owner_pid != os.getpid():
            raise NotHeldError(job_id, NEVER_TAKEN)
        return holder, job_id

    def _clear_ended(self, state: JobStatus) -> int:
        if state is not JobStatus.FAILED:
            return len(self._client.clear_jobs(status=state).ids)
        removed, cursor = 0, None
        while True:
            page = self._client.get_page(status=state, order="id", limit=_PAGE, cursor=cursor)
            ids = [job.id for job in page.jobs]
            # Only now is it judged who has ended: failed may also mean retrying, and somebody may be retrying others.
            removed += len(self._client.clear_jobs(ids=ids, status="ended").ids) if ids else 0
            if (cursor := page.cursor) is None:
                return removed


@contextmanager
def _own_names() -> Iterator[None]:
    """A mistake is told under the name that `enqueue` has for the option."""
    try:
        yield
    except InvalidJobError as error:
        name = re.split(r"[.\[]", error.field)[0]
        field = _PUBLIC_NAMES.get(name, name) + error.field.removeprefix(name)
        raise InvalidJobError(field, error.problem) from None
