"""Operating: limits, rates and pauses that hold for all nodes, and upkeep by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.client import arguments
from jobwarden.client.connected import Connected, now_us
from jobwarden.clock import to_us
from jobwarden.store.people.controls import UNCHANGED, Unchanged

if TYPE_CHECKING:
    from datetime import datetime

    from jobwarden.jobs.control import Control
    from jobwarden.store.keeping.upkeep import Reclaimed


class Operating(Connected):
    """Verbs for operators. What they set is kept in the database and holds until it is changed."""

    def set_limit(
        self,
        *,
        job_type: str | None = None,
        group_id: str | None = None,
        max_running: int | Unchanged | None = UNCHANGED,
        max_per_node: int | Unchanged | None = UNCHANGED,
        rate: int | Unchanged | None = UNCHANGED,
        rate_seconds: float | Unchanged | None = UNCHANGED,
    ) -> Control:
        """Limit a job type or a group; what is not given stays as it is, None takes it away.

        `max_running` jobs at once over all nodes, `max_per_node` on each (types only), `rate` starts within any
        `rate_seconds`. The group "*" stands for each group without limits of its own. Jobs beyond a limit wait;
        running ones go on when one is lowered.
        """
        scope, name = arguments.checked_lane(job_type, group_id)
        return self.store.controls.set_limit(
            scope,
            name,
            max_running=max_running,
            max_per_node=max_per_node,
            rate=rate,
            rate_seconds=rate_seconds,
            now_us=now_us(),
        )

    def clear_limits(self, *, job_type: str | None = None, group_id: str | None = None) -> bool:
        """Take all limits of a job type or a group away (a pause stays); whether there were any."""
        return self.store.controls.clear_limits(*arguments.checked_lane(job_type, group_id), now_us=now_us())

    def get_controls(self) -> list[Control]:
        """All limits, rates and pauses that hold now."""
        return self.store.controls.list(now_us=now_us())

    def pause(
        self, job_type: str | None = None, *, reason: str | None = None, until: datetime | None = None
    ) -> Control:
        """Start no further job of this type (None: of any) on any node, `until` a moment (aware) or `resume`.

        Jobs that run go on. Survives restarts.
        """
        moment = arguments.checked_moment(until, name="until")
        until_us = None if moment is None else to_us(moment)
        return self.store.controls.pause(job_type, reason=reason, until_us=until_us, now_us=now_us())

    def resume(self, job_type: str | None = None) -> bool:
        """End the pause of this type (None: the pause of all); whether there was one."""
        return self.store.controls.resume(job_type, now_us=now_us())

    def cleanup_old_jobs(self, days: float) -> int:
        """Remove jobs that ended more than `days` ago, with their history; how many. A retrying job has not ended."""
        return self.store.upkeep.cleanup_old_jobs(days, now_us=now_us())

    def cleanup_old_job_events(self, days: float) -> int:
        """Remove events older than `days` of jobs that have ended; how many."""
        return self.store.upkeep.cleanup_old_job_events(days, now_us=now_us())

    def reclaim_stuck_jobs(self, minutes: float) -> Reclaimed:
        """Give jobs that have been running for more than `minutes`, and past their own limit, another start.

        `Reclaimed.freed` belonged to nodes that are gone; the nodes that have `Reclaimed.asked` were told to kill
        and requeue them. A living job is never freed by its age.
        """
        return self.store.upkeep.reclaim_stuck_jobs(minutes, now_us=now_us())
