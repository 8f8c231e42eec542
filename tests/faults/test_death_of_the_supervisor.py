"""Must show 5 of issue 2, the second part: supervisor or keeper are killed with SIGKILL while jobs run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from jobwarden.clock import MILLISECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobStatus, Outcome
from tests.support import processes
from tests.support.daemon import Daemon
from tests.support.gates import Gate
from tests.support.site import Site
from tests.support.waiting import eventually

Record = Callable[[str, object], None]


def run_two(site: Site, gate: Gate, *, program: bool = True) -> list[int]:
    """Two jobs, each half done and with children of its own."""
    ids = [site.add("gated_with_children", gate, extra={"program": program}, max_attempts=1) for _ in range(2)]
    for _ in ids:
        gate.await_arrival()
    return ids


def finish_two(site: Site, gate: Gate, ids: list[int]) -> None:
    """Both run again, end well, and the attempt that was lost is given back."""
    for _ in ids:
        assert gate.await_arrival().attempt == 1
    gate.let_go(len(ids))
    for job_id in ids:
        record = site.await_end(job_id)
        assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)


def outcomes(site: Site, job_id: int) -> list[Outcome]:
    """How its attempts ended, in order."""
    return [each.outcome for each in site.attempts(job_id)]


def test_when_the_supervisor_is_killed_its_workers_and_all_their_children_die(site: Site) -> None:
    """The keeper ends only when nothing is left below it, and says how the supervisor ended."""
    gate = site.gate()
    daemon = site.start()
    ids = run_two(site, gate)

    os.kill(daemon.supervisor, signal.SIGKILL)

    assert daemon.wait() == 128 + signal.SIGKILL
    assert site.processes_below == set()
    assert not any(site.is_held(job_id) for job_id in ids)


def test_when_the_supervisor_is_killed_also_a_fork_bomb_that_never_pauses_dies(site: Site) -> None:
    """No look at a list of processes ever finds one that is still there: the keeper ends the whole group at once."""
    daemon = site.start()
    job_id = site.add("fork_bomb", extra={"hopping": 30}, max_attempts=1)
    eventually(lambda: site.lines("runs"), what="the bomb")

    os.kill(daemon.supervisor, signal.SIGKILL)

    assert daemon.wait() == 128 + signal.SIGKILL
    assert site.processes_below == set()
    assert not site.is_held(job_id)


def test_the_next_start_requeues_and_finishes_what_ran_under_a_killed_supervisor(
    site: Site, record_property: Record
) -> None:
    """On the same state directory the jobs run again at once: no lease has to pass, and nothing runs twice."""
    gate = site.gate()
    daemon = site.start(lease_seconds=300)
    ids = run_two(site, gate)

    began_ns = SYSTEM_CLOCK.monotonic_ns()
    os.kill(daemon.supervisor, signal.SIGKILL)
    follower = site.start(lease_seconds=300, settled=False)
    finish_two(site, gate, ids)

    record_property("killed_to_completed_ms", (SYSTEM_CLOCK.monotonic_ns() - began_ns) // MILLISECOND_NS)
    assert follower.events("node_freed", jobs=2)
    assert [outcomes(site, job_id) for job_id in ids] == [[Outcome.LOST, Outcome.SUCCEEDED]] * 2


def test_a_second_daemon_on_the_store_takes_over_from_a_killed_supervisor(site: Site) -> None:
    """On one host the flock of a node is its life: others need not wait for a lease."""
    gate = site.gate()
    daemon = site.start(lease_seconds=6)
    ids = run_two(site, gate)
    site.start(state="second", lease_seconds=6)

    os.kill(daemon.supervisor, signal.SIGKILL)

    finish_two(site, gate, ids)
    assert [outcomes(site, job_id) for job_id in ids] == [[Outcome.LOST, Outcome.SUCCEEDED]] * 2


def test_when_the_keeper_is_killed_the_supervisor_cleans_up_and_ends(site: Site) -> None:
    """Nothing is left, the supervisor ends with its own exit code, and the attempts are given back."""
    gate = site.gate()
    daemon = site.start()
    ids = run_two(site, gate)

    daemon.send(signal.SIGKILL)

    assert exit_code_of_orphan(daemon) == 71
    assert site.processes_below <= {daemon.keeper.pid}
    assert [outcomes(site, job_id) for job_id in ids] == [[Outcome.INTERRUPTED]] * 2
    site.start()
    finish_two(site, gate, ids)


def exit_code_of_orphan(daemon: Daemon) -> int:
    """The supervisor's exit code, which comes to this process when the keeper is gone."""
    supervisor = daemon.supervisor
    daemon.wait()
    processes.await_end(supervisor)
    return processes.reap_orphans(set()).get(supervisor, -1)


def test_when_keeper_and_supervisor_are_killed_together_the_next_start_sweeps(site: Site) -> None:
    """Nobody was left to clean up: the next daemon of the state directory ends what carries its mark first."""
    gate = site.gate()
    daemon = site.start()
    ids = run_two(site, gate, program=False)

    supervisor = daemon.supervisor
    daemon.send(signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    daemon.send(signal.SIGKILL)
    daemon.wait()
    assert any(site.is_held(job_id) for job_id in ids), "the children that ran away are meant to be left over here"

    site.start()
    finish_two(site, gate, ids)


def test_when_keeper_and_supervisor_are_killed_together_another_daemon_sweeps_before_it_takes_over(site: Site) -> None:
    """Nobody starts in that state directory again: whoever frees the jobs first ends what ran away from them."""
    gate = site.gate()
    daemon = site.start(lease_seconds=6)
    ids = run_two(site, gate, program=False)
    site.start(state="second", lease_seconds=6)

    supervisor = daemon.supervisor
    daemon.send(signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    daemon.send(signal.SIGKILL)
    daemon.wait()

    finish_two(site, gate, ids)
    assert [outcomes(site, job_id) for job_id in ids] == [[Outcome.LOST, Outcome.SUCCEEDED]] * 2
