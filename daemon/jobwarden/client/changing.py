"""Changing jobs: edit, cancel, retry, replay, remove; one by its id, or all that match a filter.

Whatever is running stays with its owner: it is asked (cancel) or left alone and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from jobwarden.client import arguments, waiting
from jobwarden.client.connected import Connected, now_us
from jobwarden.client.filters import FilterFields, checked_changes, demanded_filter
from jobwarden.store.people.changing import CANCELLED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobwarden.jobs import JobChanges, JobFilter, JobRecord
    from jobwarden.store.people.bulk import Changed


class Changing(Connected):
    """Verbs that change jobs. Each is one transaction: all of it happens, or nothing.

    Those for many jobs want a filter that says something: `JobFilter()` means all, no filter is refused.
    """

    def edit_job(self, job_id: int, **changes: Any) -> JobRecord:
        """Change a job that is neither running nor ended; it is returned as it is then.

        `changes` are fields of JobChanges; None clears what may be empty, so that the default holds again. Raises
        UnknownJobError and JobStateError.
        """
        job_id = arguments.checked_id(job_id)
        self.store.bulk.edit(job_id, checked_changes(changes), now_us=now_us())
        return self._existing(job_id)

    def edit_jobs(self, jobs: JobFilter | Mapping[str, object], changes: JobChanges | Mapping[str, object]) -> Changed:
        """Change all jobs that match and are neither running nor ended.

        As in `edit_jobs({"job_type": "report"}, {"priority": 5})`. `Changed.ids` are those that were changed,
        `Changed.running` counts the running ones that matched and were left alone.
        """
        wanted = checked_changes(changes)
        return self.store.bulk.edit_all(demanded_filter(jobs, {}), wanted, now_us=now_us())

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
        state = self.store.cancel(job_id, now_us=now_us(), reason=reason)
        if state == CANCELLED and self.store.bell:
            self.store.bell.ring_waiters()
        if seconds is not None:
            return waiting.wait_until_ended(self.store, job_id, seconds=seconds)
        return self._existing(job_id)

    def cancel_jobs(
        self,
        jobs: JobFilter | None = None,
        *,
        reason: str | None = None,
        running: bool = False,
        **fields: Unpack[FilterFields],
    ) -> Changed:
        """Cancel all jobs that match and have not ended.

        `Changed.ids` are those that have ended now. `Changed.running` counts the running ones that matched; they are
        left alone, or with `running` asked to stop as by `cancel_job`.
        """
        reason = arguments.checked_reason(reason)
        running = arguments.checked_flag(running, name="running")
        found = demanded_filter(jobs, fields)
        return self.store.bulk.cancel_all(found, now_us=now_us(), reason=reason, running=running)

    def retry_job(self, job_id: int, *, with_dependents: bool = False) -> JobRecord:
        """Make a failed or cancelled job run again now; raises UnknownJobError and JobStateError.

        With `with_dependents`, so are the jobs that ended because of it, and those that ended because of them.
        """
        job_id = arguments.checked_id(job_id)
        with_dependents = arguments.checked_flag(with_dependents, name="with_dependents")
        self.store.retry(job_id, now_us=now_us(), with_dependents=with_dependents)
        return self._existing(job_id)

    def retry_jobs(
        self, jobs: JobFilter | None = None, *, dry_run: bool = False, **fields: Unpack[FilterFields]
    ) -> list[int]:
        """Make all failed and cancelled jobs that match run again now; their ids. `dry_run` only lists them."""
        dry_run = arguments.checked_flag(dry_run, name="dry_run")
        return self.store.bulk.retry_all(demanded_filter(jobs, fields), now_us=now_us(), dry_run=dry_run)

    def replay_dead_letters(
        self, jobs: JobFilter | None = None, *, dry_run: bool = False, **fields: Unpack[FilterFields]
    ) -> list[int]:
        """Make the matching jobs that have left a dead letter run again now; their ids. `dry_run` only lists them."""
        dry_run = arguments.checked_flag(dry_run, name="dry_run")
        found = demanded_filter(jobs, fields)
        return self.store.bulk.replay_dead_letters(found, now_us=now_us(), dry_run=dry_run)

    def remove_job(self, job_id: int) -> None:
        """Remove a job that is not running, with its history. Raises UnknownJobError and JobStateError."""
        self.store.bulk.remove(arguments.checked_id(job_id), now_us=now_us())

    def clear_jobs(self, jobs: JobFilter | None = None, **fields: Unpack[FilterFields]) -> Changed:
        """Remove all jobs that match and are not running, with their history."""
        return self.store.bulk.clear(demanded_filter(jobs, fields), now_us=now_us())
