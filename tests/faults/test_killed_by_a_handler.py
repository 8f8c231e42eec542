"""Must show 6 of issue 5, the last act: a handler of the supervisor's own user kills it. See P5: only run-as helps."""

from __future__ import annotations

import signal
from collections.abc import Callable

from jobwarden.clock import MILLISECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobStatus, Outcome
from jobwarden.jobs.outcome import FailureReason
from tests.support.site import Site

MOST_LOST = 5
"""So many attempts in a row may be lost (design §7)."""


def test_a_job_that_kills_its_supervisor_is_lost_and_after_five_times_runs_no_more(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    """Keeper and lock clear up each time, and the next start frees the job at once, until it is quarantined."""
    job_id = site.add("kill_supervisor", max_attempts=2)
    began_ns = SYSTEM_CLOCK.monotonic_ns()
    for deaths in range(1, MOST_LOST + 1):
        daemon = site.start(lease_seconds=300, workers=1, settled=False)
        assert daemon.wait() == 128 + signal.SIGKILL
        assert site.processes_below == set()
        assert not site.is_held(job_id)
        assert len(site.lines("runs")) == deaths
    record_property("ms_for_each_death", (SYSTEM_CLOCK.monotonic_ns() - began_ns) // MILLISECOND_NS // MOST_LOST)

    site.start(lease_seconds=300)

    record = site.await_end(job_id)
    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.LOST)
    assert record.pending_reason == "quarantined"
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.LOST] * MOST_LOST
    assert site.await_end(site.client.add_job("echo", {"n": 1})).output == {"n": 1}
    assert len(site.lines("runs")) == MOST_LOST
