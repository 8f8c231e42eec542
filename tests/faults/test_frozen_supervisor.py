"""Must show 5 of issue 2, the third part: the supervisor is stopped with SIGSTOP, for a moment or for long."""

from __future__ import annotations

import os
import signal

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobStatus, Outcome
from tests.support import processes
from tests.support.site import Site
from tests.support.waiting import eventually

LEASE_SECONDS = 3
WINDOW_SECONDS = 2
"""lease - max(1, lease / 4)"""


def freeze(pid: int) -> None:
    """Stop it and see it stopped."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: processes.state(pid) == "T", what="the stop")


def test_a_short_stop_within_the_trust_window_hurts_nobody(site: Site) -> None:
    """While the window lasts the workers are the supervisor's: they work on, and their results count."""
    gate = site.gate()
    daemon = site.start(lease_seconds=60)
    job_id = site.add("gated", gate)
    gate.await_arrival()

    freeze(daemon.supervisor)
    gate.let_go()
    eventually(lambda: not site.is_held(job_id), what="the end of the handler, while the supervisor is stopped")
    os.kill(daemon.supervisor, signal.SIGCONT)

    assert site.await_end(job_id).status is JobStatus.COMPLETED
    assert len(site.attempts(job_id)) == 1


def test_the_keeper_kills_the_workers_of_a_stopped_supervisor(site: Site) -> None:
    """Past the trust window everything below is dead; back in time, the supervisor gives the attempt back."""
    gate = site.gate()
    daemon = site.start(lease_seconds=LEASE_SECONDS)
    job_id = site.add("gated_with_children", gate, max_attempts=1)
    pid = gate.await_arrival().pid
    site.start(state="second", lease_seconds=LEASE_SECONDS)

    freeze(daemon.supervisor)
    processes.await_end(pid)
    eventually(lambda: not site.is_held(job_id), what="the death of the job's whole tree")
    assert processes.state(daemon.supervisor) == "T"
    assert site.job(job_id).status is JobStatus.PROCESSING, "somebody took the job while its node was only stopped"
    os.kill(daemon.supervisor, signal.SIGCONT)

    assert gate.await_arrival().attempt == 1
    gate.let_go()
    record = site.await_end(job_id)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.INTERRUPTED, Outcome.SUCCEEDED]
    daemon.await_workers(2)


def test_the_workers_live_as_long_as_the_trust_window(site: Site) -> None:
    """The keeper shoots when the window has passed, and not before."""
    gate = site.gate()
    daemon = site.start(lease_seconds=LEASE_SECONDS)
    job_id = site.add("gated", gate)
    pid = gate.await_arrival().pid

    began_ns = SYSTEM_CLOCK.monotonic_ns()
    freeze(daemon.supervisor)
    processes.await_end(pid)

    # The last renewal was up to a thirtieth of the lease before the stop, on a busy machine a little more.
    assert (SYSTEM_CLOCK.monotonic_ns() - began_ns) / SECOND_NS > WINDOW_SECONDS - 0.5
    os.kill(daemon.supervisor, signal.SIGCONT)
    gate.await_arrival()
    gate.let_go()
    site.await_end(job_id)


def test_a_supervisor_that_stays_stopped_is_killed_and_another_daemon_runs_its_jobs(site: Site) -> None:
    """After `hung_seconds` the keeper gives it up with exit code 70; its node is dead with it."""
    gate = site.gate()
    daemon = site.start(lease_seconds=LEASE_SECONDS, hung_seconds=2)
    job_id = site.add("gated_with_children", gate, max_attempts=1)
    gate.await_arrival()
    site.start(state="second", lease_seconds=LEASE_SECONDS)

    freeze(daemon.supervisor)

    assert daemon.wait() == 70
    assert gate.await_arrival().attempt == 1
    gate.let_go()
    record = site.await_end(job_id)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]


def test_after_a_hung_supervisor_the_next_start_runs_its_jobs(site: Site) -> None:
    """A service manager starts a new one on the same state directory: it requeues and finishes."""
    gate = site.gate()
    daemon = site.start(lease_seconds=LEASE_SECONDS, hung_seconds=2)
    job_id = site.add("gated_with_children", gate, max_attempts=1)
    gate.await_arrival()

    freeze(daemon.supervisor)
    assert daemon.wait() == 70
    site.start(lease_seconds=LEASE_SECONDS)

    gate.await_arrival()
    gate.let_go()
    assert site.await_end(job_id).status is JobStatus.COMPLETED
