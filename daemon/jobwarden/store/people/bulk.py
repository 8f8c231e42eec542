"""`store.bulk`: what people do to many jobs at once, by filter; and editing and removing single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.matching import Changed, count_running, matching_ids
from jobwarden.store.people import counting, paging
from jobwarden.store.people.cancelling import ask_to_cancel, cancel_jobs
from jobwarden.store.people.editing import edit_job, edit_jobs
from jobwarden.store.people.filters import FREE_STATE, NOT_RUNNING, in_states
from jobwarden.store.people.paging import Page
from jobwarden.store.people.removing import remove_job, remove_jobs
from jobwarden.store.people.reviving import DEAD_LETTERED, replay_dead_letters, revive_jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from jobwarden.jobs.filter import JobChanges, JobFilter
    from jobwarden.store.access import Access

__all__ = ["Bulk", "Changed", "Page"]

_REVIVABLE = (JobStatus.FAILED, JobStatus.CANCELLED)


class Bulk:
    """Made by `Store`. Every verb is one transaction: all of it happens, or nothing."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def find(
        self,
        wanted: JobFilter,
        *,
        order: str = paging.NEWEST_FIRST,
        limit: int,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page:
        """At most `limit` jobs (at least 1) that match, in one of `paging.ORDERS`.

        `cursor`, of an earlier page of the same order, begins after that page whatever came or went meanwhile;
        `offset` is then counted from there. Raises InvalidJobError for an unknown order or another order's cursor.
        """
        with self._access.reading() as connection:
            return paging.find_page(connection, wanted, order=order, limit=limit, offset=offset, cursor=cursor)

    def count(self, wanted: JobFilter) -> int:
        """How many jobs match; without looking at any if only types and states are asked for."""
        with self._access.reading() as connection:
            return counting.count_matching(connection, wanted)

    # changing

    def edit(self, job_id: int, changes: JobChanges, *, now_us: int) -> None:
        """Edit a job that is pending, waiting or retrying; see `edit_jobs` for what each change means.

        Raises UnknownJobError, JobStateError, InvalidJobError.
        """
        with self._access.writing() as connection:
            edit_job(connection, self._access.sql, job_id, changes, now_us=now_us)

    def edit_all(self, wanted: JobFilter, changes: JobChanges, *, now_us: int) -> Changed:
        """Edit all that match and are pending, waiting or retrying. Raises InvalidJobError, and then edits none."""
        with self._access.writing() as connection:
            ids = edit_jobs(
                connection,
                self._access.sql,
                matching_ids(connection, wanted, in_states(FREE_STATE)),
                changes,
                now_us=now_us,
            )
            return Changed(ids, count_running(connection, wanted))

    def cancel_all(
        self, wanted: JobFilter, *, now_us: int, reason: str | None = None, running: bool = False
    ) -> Changed:
        """Cancel all that match and are pending, waiting or retrying. With `running`, the running ones are asked too.

        `ids` are those that have ended now; `running` counts the others, which end when their owners have stopped them.
        """
        with self._access.writing() as connection:
            free = matching_ids(connection, wanted, in_states(FREE_STATE))
            busy = matching_ids(connection, wanted, in_states(JobStatus.PROCESSING))
            if running:
                ask_to_cancel(connection, busy, reason=reason, now_us=now_us)
            ids = cancel_jobs(connection, self._access.sql, dict.fromkeys(free, reason), now_us=now_us)
        self._access.ring_waiters()
        return Changed(ids, len(busy))

    def retry_all(self, wanted: JobFilter, *, now_us: int, dry_run: bool = False) -> list[int]:
        """Run all again, now, that match and have failed, were cancelled, or are retrying; their ids.

        `dry_run` changes nothing and tells which they would be.
        """
        if dry_run:
            return self._ids(wanted, in_states(*_REVIVABLE))
        with self._access.writing() as connection:
            ids = matching_ids(connection, wanted, in_states(*_REVIVABLE))
            return revive_jobs(connection, self._access.sql, ids, now_us=now_us)

    def replay_dead_letters(self, wanted: JobFilter, *, now_us: int, dry_run: bool = False) -> list[int]:
        """Run the jobs that match and left a dead letter again, now, with all their attempts; their ids.

        The filter is about the originals. A dead letter that was never started is cancelled; one that runs or has
        ended stays. `dry_run` changes nothing.
        """
        if dry_run:
            return self._ids(wanted, in_states(JobStatus.FAILED), DEAD_LETTERED)
        with self._access.writing() as connection:
            ids = matching_ids(connection, wanted, in_states(JobStatus.FAILED), DEAD_LETTERED)
            return replay_dead_letters(connection, self._access.sql, ids, now_us=now_us)

    # removing

    def remove(self, job_id: int, *, now_us: int) -> None:
        """Remove a job that does not run, with its events; dependents see it as cancelled unless it had ended.

        Raises UnknownJobError, JobStateError.
        """
        with self._access.writing() as connection:
            remove_job(connection, self._access.sql, job_id, now_us=now_us)
        self._access.ring_waiters()

    def clear(self, wanted: JobFilter, *, now_us: int) -> Changed:
        """Remove all that match, as `remove`; running ones stay and are counted."""
        with self._access.writing() as connection:
            ids = matching_ids(connection, wanted, NOT_RUNNING)
            running = count_running(connection, wanted)
            remove_jobs(connection, self._access.sql, ids, now_us=now_us)
        self._access.ring_waiters()
        return Changed(ids, running)

    def _ids(self, wanted: JobFilter, *among: ColumnElement[bool]) -> list[int]:
        with self._access.reading() as connection:
            return matching_ids(connection, wanted, *among)
