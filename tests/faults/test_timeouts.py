"""Must show 4 of issue 2: a job that passes its `timeoutMs` dies with everything that it started (P4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobwarden.jobs import JobStatus, Outcome
from jobwarden.jobs.outcome import FailureReason
from tests.support import processes
from tests.support.site import Site

SERVED_WITH = {"kill_grace_seconds": 0.3}

HANGS = ["sleep_in_c", "spin", "spin_in_c", "swallow", "run_away", "stop_itself"]
Record = Callable[[str, object], None]


def time_out(served: Site, job_type: str, record_property: Record, **options: Any) -> int:
    """Run a job of this type past its limit; check what is promised of every timeout, record how late its kill was."""
    (daemon,) = served.daemons
    gate = served.gate()
    job_id = served.add(job_type, gate, timeout_ms=1000, max_attempts=1, **options)
    arrival = gate.await_arrival()

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.TIMEOUT)
    assert not served.is_held(job_id), "a descendant still has the job's lock"
    assert not processes.lives(arrival.pid)
    assert not any(processes.lives(int(pid)) for pid in served.lines(f"{job_id}.pids"))
    (attempt,) = served.attempts(job_id)
    assert attempt.outcome is Outcome.TIMED_OUT
    assert "1000 ms" in (attempt.error or "")
    record_property("lateness_ms", round(daemon.wait_for("tree_cleared", job_id=job_id)["lateness_ms"], 1))
    return job_id


@pytest.mark.parametrize("job_type", HANGS)
def test_a_job_past_its_limit_fails_with_timeout_and_nothing_of_it_is_left(
    served: Site, job_type: str, record_property: Record
) -> None:
    """Whatever the handler does with the soft signal, after the grace its whole tree is dead."""
    time_out(served, job_type, record_property)


@pytest.mark.parametrize("job_type", HANGS)
def test_with_force_kill_there_is_no_grace(served: Site, job_type: str, record_property: Record) -> None:
    """`forceKillOnTimeout` kills at the limit: no handler gets to hear of it."""
    job_id = time_out(served, job_type, record_property, force_kill_on_timeout=True)

    assert "swallowed" not in (served.attempts(job_id)[0].captured or "")


def test_a_handler_that_obeys_ends_within_the_grace_without_a_kill(served: Site) -> None:
    """The soft signal raises JobTimeout in the handler; what it cleans up is not cut off."""
    gate = served.gate()
    job_id = served.add("obey", gate, timeout_ms=200, max_attempts=1)
    gate.await_arrival()

    record = served.await_end(job_id)

    assert record.failure_reason is FailureReason.TIMEOUT
    (attempt,) = served.attempts(job_id)
    assert (attempt.outcome, attempt.signal) == (Outcome.TIMED_OUT, None)


def test_the_stacks_of_a_killed_job_say_where_it_hung(served: Site) -> None:
    """Before a hard kill all threads' stacks are kept with the attempt."""
    job_id = served.add("swallow", timeout_ms=200, max_attempts=1)
    served.await_end(job_id)

    assert "hangs.py" in (served.attempts(job_id)[0].stack_dump or "")


def test_a_timed_out_job_is_tried_again_and_each_attempt_says_so(served: Site) -> None:
    """A timeout goes through the one retry path and costs an attempt."""
    job_id = served.add("obey", timeout_ms=100, max_attempts=2, retry_delay=0)

    record = served.await_end(job_id)

    assert (record.attempts, record.failure_reason) == (2, FailureReason.TIMEOUT)
    assert [each.outcome for each in served.attempts(job_id)] == [Outcome.TIMED_OUT, Outcome.TIMED_OUT]


def test_a_timeout_takes_nobody_else_with_it(served: Site) -> None:
    """While one worker's tree is killed, the job beside it runs on in its own process."""
    gate = served.gate()
    neighbour = served.add("gated", gate)
    pid = gate.await_arrival().pid

    served.await_end(served.add("ward_of_many", extra={"count": 20}, timeout_ms=300, max_attempts=1))

    assert processes.lives(pid)
    gate.let_go()
    assert served.await_end(neighbour).attempts == 1
