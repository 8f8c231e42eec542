"""Reading: jobs by id and by filter, counts, history, why a job does not run; and waiting for ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from jobwarden.client import arguments, waiting
from jobwarden.client.connected import Connected, now_us
from jobwarden.client.filters import FilterFields, checked_filter

if TYPE_CHECKING:
    from jobwarden.jobs import Attempt, JobEvent, JobFilter, JobRecord
    from jobwarden.jobs.control import Explanation
    from jobwarden.store.people.paging import Page

NEWEST_FIRST = "-id"


class Reading(Connected):
    """Verbs that change nothing. Filters are given as keyword arguments, or as one ready JobFilter."""

    def get_job(self, job_id: int) -> JobRecord | None:
        """The job as it is now; None if there is none."""
        return self.store.get(arguments.checked_id(job_id))

    def get_jobs(
        self,
        jobs: JobFilter | None = None,
        *,
        order: str = NEWEST_FIRST,
        limit: int = 100,
        offset: int = 0,
        **fields: Unpack[FilterFields],
    ) -> list[JobRecord]:
        """Jobs that match everything that is given, the newest first; `limit` is at most 10,000.

        `tags` finds jobs that carry all of them, unless `tag_mode` says any, none or exact. `status` may also be
        "retrying" (failed, and planned to run again) or "ended". `priority`, `run_at` and `created_at` take a value
        or bounds as in {"gte": 5}. `order` is id, priority, run_at or created_at, with - in
        front for the other way round.
        """
        limit, offset = arguments.checked_page(limit, offset)
        found = checked_filter(jobs, fields)
        return self.store.bulk.find(found, order=arguments.checked_order(order), limit=limit, offset=offset).jobs

    def get_page(
        self,
        jobs: JobFilter | None = None,
        *,
        order: str = NEWEST_FIRST,
        limit: int = 100,
        cursor: str | None = None,
        **fields: Unpack[FilterFields],
    ) -> Page:
        """As `get_jobs`, one page: its `jobs`, and the `cursor` to hand in for the next one, None on the last.

        Stable: jobs that come or go meanwhile neither repeat nor hide others.
        """
        limit, _ = arguments.checked_page(limit, 0)
        cursor = arguments.checked_cursor(cursor, name="cursor")
        found = checked_filter(jobs, fields)
        return self.store.bulk.find(found, order=arguments.checked_order(order), limit=limit, cursor=cursor)

    def count_jobs(self, jobs: JobFilter | None = None, **fields: Unpack[FilterFields]) -> int:
        """How many jobs match; without a filter, all. Filters of type and status alone do not look at ended jobs."""
        return self.store.bulk.count(checked_filter(jobs, fields))

    def counts(self) -> dict[str, dict[str, int]]:
        """Job type -> status -> number; a retrying job is counted under "retrying", not under "failed"."""
        return self.store.counts()

    def get_job_events(self, job_id: int) -> list[JobEvent]:
        """All that happened to the job, oldest first; empty for an unknown one."""
        return self.store.events(arguments.checked_id(job_id))

    def get_job_attempts(self, job_id: int) -> list[Attempt]:
        """The ended attempts of the job, oldest first, with what they printed; empty for an unknown one."""
        return self.store.attempts(arguments.checked_id(job_id))

    def explain(self, job_id: int) -> Explanation:
        """Why the job is not running, and the next moment at which it may. Raises UnknownJobError."""
        return self.store.controls.explain(arguments.checked_id(job_id), now_us=now_us())

    def wait(self, job_id: int, timeout: float | None = None) -> JobRecord:
        """Wait until the job has ended (completed, cancelled, or failed for good) and return it as it ended.

        `timeout` is in seconds, None waits without a limit. Woken by the daemon, not by polling, on SQLite.
        Raises WaitTimeoutError (also a TimeoutError), and UnknownJobError, also for a job that is removed meanwhile.
        """
        job_id = arguments.checked_id(job_id)
        seconds = arguments.checked_seconds(timeout, name="timeout")
        return waiting.wait_until_ended(self.store, job_id, seconds=seconds)
