"""Limits that were moved, and silence: the kill still comes, takes everything, and hits nobody else (P4, P5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobwarden.jobs import FailureReason, JobStatus, Outcome
from tests.support import processes
from tests.support.site import Site

SERVED_WITH = {"workers": 1, "kill_grace_seconds": 0.3}

Record = Callable[[str, object], None]


def check_gone(site: Site, job_id: int, record_property: Record) -> None:
    """Nothing of this job is left, and its kill was measured."""
    assert not site.is_held(job_id), "a descendant still has the job's lock"
    assert not any(processes.lives(int(pid)) for pid in site.lines(f"{job_id}.pids"))
    (daemon,) = site.daemons
    record_property("lateness_ms", round(daemon.wait_for("tree_cleared", job_id=job_id)["lateness_ms"], 1))


@pytest.mark.parametrize("force", [False, True])
def test_a_job_that_swallows_everything_dies_at_its_moved_limit(
    served: Site, record_property: Record, *, force: bool
) -> None:
    """The second limit is enforced like the first: softly once more, then the tree."""
    job_id = served.add(
        "prolong_once_and_swallow", extra={"ms": 400}, timeout_ms=200, max_attempts=1, force_kill_on_timeout=force
    )

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.TIMEOUT)
    assert served.lines(f"{job_id}.granted") == ["True"]
    assert served.lines(f"{job_id}.stops") == ([] if force else ["JobTimeout"])
    check_gone(served, job_id, record_property)


@pytest.mark.parametrize("force", [False, True])
def test_a_stalled_job_is_killed_with_its_whole_tree(served: Site, record_property: Record, *, force: bool) -> None:
    """Silence is a limit like another: with the grace, or without it."""
    job_id = served.add(
        "fall_silent",
        extra={"swallow": True},
        heartbeat_timeout_ms=300,
        max_attempts=1,
        force_kill_on_timeout=force,
    )

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.STALLED)
    (attempt,) = served.attempts(job_id)
    assert (attempt.outcome, attempt.signal) == (Outcome.TIMED_OUT, 9)
    assert len(served.lines(f"{job_id}.stops")) == (0 if force else 1)
    check_gone(served, job_id, record_property)


def test_a_stalled_job_is_tried_again(served: Site) -> None:
    """Silence costs an attempt, like a timeout."""
    record = served.await_end(served.add("fall_silent", heartbeat_timeout_ms=100, max_attempts=2, retry_delay=0))

    assert (record.attempts, record.failure_reason) == (2, FailureReason.STALLED)


def test_the_next_job_of_the_slot_is_untouched_by_a_cancel(served: Site) -> None:
    """Must show 5: the job behind a cancelled one that ignores everything runs once, in another process, to its end."""
    gate, next_gate = served.gate(), served.gate()
    doomed = served.add("swallow", gate, timeout_ms=60_000)
    pid = gate.await_arrival().pid
    following = served.add("gated", next_gate, priority=5)

    served.client.cancel_job(doomed)
    assert served.await_end(doomed).status is JobStatus.CANCELLED

    arrival = next_gate.await_arrival()
    assert (arrival.job_id, arrival.attempt) == (following, 1)
    assert arrival.pid != pid
    assert not processes.lives(pid)
    next_gate.let_go()
    assert served.await_end(following).status is JobStatus.COMPLETED
    assert [attempt.outcome for attempt in served.attempts(following)] == [Outcome.SUCCEEDED]


def test_a_cancel_that_comes_as_the_job_ends_hits_nobody_else(served: Site) -> None:
    """A stop names its attempt: what runs next in that worker hears nothing of it, whoever wins the race."""
    gate = served.gate()
    job_id = served.add("gated", gate)
    gate.await_arrival()
    following = [served.add("echo", extra={"n": n}) for n in range(20)]

    gate.let_go()
    served.client.cancel_job(job_id)

    assert served.await_end(job_id).ended
    for each in following:
        record = served.await_end(each)
        assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
