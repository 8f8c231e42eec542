"""Known defects of earlier systems (end of design section 6) that only show with processes, each by its name.

The others are in tests/store/test_known_defects.py.
"""

from __future__ import annotations

from typing import Any

from jobwarden.jobs import JobStatus, Outcome
from tests.support.site import Site
from tests.support.waiting import eventually

SERVED_WITH = {"workers": 2, "kill_grace_seconds": 0.3}


def test_prolong_unavailable_under_hard_kill(served: Site) -> None:
    """A job that is to be killed at its limit can still ask for more time, by a call and by a callback at the limit."""
    options: dict[str, Any] = {"timeout_ms": 300, "max_attempts": 1, "force_kill_on_timeout": True}
    called = served.add("prolong", extra={"ms": 30_000, "work_ms": 600}, **options)
    called_back = served.add("prolong_in_callback", extra={"ms": 30_000, "work_ms": 600, "times": 1}, **options)
    for job_id in (called, called_back):
        assert served.await_end(job_id).status is JobStatus.COMPLETED
        assert "prolonged" in [event.type for event in served.client.get_job_events(job_id)]
        assert [attempt.outcome for attempt in served.attempts(job_id)] == [Outcome.SUCCEEDED]


def test_rescue_by_age_that_runs_a_healthy_long_job_twice(served: Site) -> None:
    """Its node is asked: the first attempt is dead before the second one begins, and no attempt is charged.

    The handler holds a lock of its own while it runs; the site's invariants see an overlap.
    """
    gate = served.gate()
    job_id = served.add("gated", gate, max_attempts=1)
    first = gate.await_arrival()
    assert served.client.reclaim_stuck_jobs(60).asked == []

    reclaimed = served.client.reclaim_stuck_jobs(0)

    assert (reclaimed.freed, reclaimed.asked) == ([], [job_id])
    eventually(lambda: served.attempts(job_id), what="the end of the first attempt")
    assert [attempt.outcome for attempt in served.attempts(job_id)] == [Outcome.INTERRUPTED]
    second = gate.await_arrival()
    assert (second.job_id, second.pid != first.pid) == (job_id, True)
    gate.let_go()
    assert served.await_end(job_id).status is JobStatus.COMPLETED
    assert served.job(job_id).attempts == 1
