"""`store.bulk`: what people do to many jobs at once, by filter; and editing and removing single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.gates.lanes import lanes_adjusted
from jobwarden.store.matching import Changed, count_running, lock_matching, matching_ids, running_among
from jobwarden.store.people import counting, paging
from jobwarden.store.people.cancelling import ask_to_cancel, cancel_jobs
from jobwarden.store.people.editing import edit_job, edit_jobs
from jobwarden.store.people.filters import FREE_STATE, NOT_RUNNING
from jobwarden.store.people.paging import Page
from jobwarden.store.people.removing import remove_job, remove_jobs
from jobwarden.store.people.reviving import DEAD_LETTERED, replay_dead_letters, revive_jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

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
        self._access.write(lambda connection: edit_job(connection, self._access.sql, job_id, changes, now_us=now_us))

    def edit_all(self, wanted: JobFilter, changes: JobChanges, *, now_us: int) -> Changed:
        """Edit all that match and are pending, waiting or retrying. Raises InvalidJobError, and then edits none."""

        def edit(connection: Connection) -> Changed:
            free = lock_matching(connection, wanted, FREE_STATE)
            ids = edit_jobs(connection, self._access.sql, free, changes, now_us=now_us)
            return Changed(ids, count_running(connection, wanted))

        return self._access.write(edit)

    def cancel_all(
        self, wanted: JobFilter, *, now_us: int, reason: str | None = None, running: bool = False
    ) -> Changed:
        """Cancel all that match and are pending, waiting or retrying. With `running`, the running ones are asked too.

        `ids` are those that have ended now; `running` counts the others, which end when their owners have stopped them.
        """

        def cancel(connection: Connection) -> Changed:
            busy: list[int] = []
            if running:
                matching = lock_matching(connection, wanted, FREE_STATE, JobStatus.PROCESSING)
                busy = running_among(connection, matching)
                ask_to_cancel(connection, busy, reason=reason, now_us=now_us)
            else:
                matching = lock_matching(connection, wanted, FREE_STATE)
            with lanes_adjusted(connection, now_us=now_us) as touched:
                reasons = dict.fromkeys(matching, reason)
                ids = cancel_jobs(connection, self._access.sql, reasons, touched=touched, now_us=now_us)
            return Changed(ids, len(busy) if running else count_running(connection, wanted))

        changed = self._access.write(cancel)
        self._access.ring_waiters()
        return changed

    def retry_all(self, wanted: JobFilter, *, now_us: int, dry_run: bool = False) -> list[int]:
        """Run all again, now, that match and have failed, were cancelled, or are retrying; their ids.

        `dry_run` changes nothing and tells which they would be.
        """
        if dry_run:
            return self._ids(wanted, *_REVIVABLE)

        def retry(connection: Connection) -> list[int]:
            ids = lock_matching(connection, wanted, *_REVIVABLE)
            with lanes_adjusted(connection, now_us=now_us) as touched:
                return revive_jobs(connection, self._access.sql, ids, touched=touched, now_us=now_us)

        return self._access.write(retry)

    def replay_dead_letters(self, wanted: JobFilter, *, now_us: int, dry_run: bool = False) -> list[int]:
        """Run the jobs that match and left a dead letter again, now, with all their attempts; their ids.

        The filter is about the originals. A dead letter that was never started is cancelled; one that runs or has
        ended stays. `dry_run` changes nothing.
        """
        if dry_run:
            return self._ids(wanted, JobStatus.FAILED, more=DEAD_LETTERED)

        def replay(connection: Connection) -> list[int]:
            ids = lock_matching(connection, wanted, JobStatus.FAILED, more=DEAD_LETTERED)
            with lanes_adjusted(connection, now_us=now_us) as touched:
                return replay_dead_letters(connection, self._access.sql, ids, touched=touched, now_us=now_us)

        return self._access.write(replay)

    # removing

    def remove(self, job_id: int, *, now_us: int) -> None:
        """Remove a job that does not run, with its events; dependents see it as cancelled unless it had ended.

        Raises UnknownJobError, JobStateError.
        """
        self._access.write(lambda connection: remove_job(connection, self._access.sql, job_id, now_us=now_us))
        self._access.ring_waiters()

    def clear(self, wanted: JobFilter, *, now_us: int) -> Changed:
        """Remove all that match, as `remove`; running ones stay and are counted."""

        def remove(connection: Connection) -> Changed:
            ids = lock_matching(connection, wanted, more=NOT_RUNNING)
            running = count_running(connection, wanted)
            remove_jobs(connection, self._access.sql, ids, now_us=now_us)
            return Changed(ids, running)

        changed = self._access.write(remove)
        self._access.ring_waiters()
        return changed

    def _ids(self, wanted: JobFilter, *among: str, more: ColumnElement[bool] | None = None) -> list[int]:
        with self._access.reading() as connection:
            return matching_ids(connection, wanted, *among, more=more)
