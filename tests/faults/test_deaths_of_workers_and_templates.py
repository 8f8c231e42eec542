"""Must show 5 of issue 2, the first part: a worker or a template is killed with SIGKILL."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from jobwarden.clock import MILLISECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobOptions, JobStatus, Outcome
from jobwarden.jobs.outcome import FailureReason
from tests.support import processes
from tests.support.site import Site
from tests.support.waiting import eventually


def test_the_job_of_a_killed_worker_runs_again_and_its_slot_comes_back(
    served: Site, record_property: Callable[[str, object], None]
) -> None:
    """The attempt says signal 9 and was paid for; its children died before the job was tried again."""
    (daemon,) = served.daemons
    gate = served.gate()
    job_id = served.add("gated_with_children", gate, max_attempts=2, retry_delay=0)
    killed = gate.await_arrival().pid

    began_ns = SYSTEM_CLOCK.monotonic_ns()
    os.kill(killed, signal.SIGKILL)
    again = gate.await_arrival()
    record_property("runs_again_after_ms", (SYSTEM_CLOCK.monotonic_ns() - began_ns) // MILLISECOND_NS)

    assert not any(processes.lives(int(pid)) for pid in served.lines(f"{job_id}.pids"))
    assert (again.attempt, again.pid == killed) == (2, False)
    assert killed not in daemon.await_workers(2)
    gate.let_go()
    record = served.await_end(job_id)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 2)
    first, second = served.attempts(job_id)
    assert (first.outcome, first.signal, first.worker_pid) == (Outcome.CRASHED, signal.SIGKILL, killed)
    assert second.outcome is Outcome.SUCCEEDED


def test_a_killed_idle_worker_is_replaced(served: Site) -> None:
    """The slot comes back, and no job hears of it."""
    (daemon,) = served.daemons
    victim = min(daemon.await_workers(2))

    os.kill(victim, signal.SIGKILL)

    eventually(lambda: victim not in daemon.workers, what="the death of the worker")
    daemon.await_workers(2)
    assert served.await_end(served.client.add_job("echo", {})).attempts == 1


def test_jobs_queued_behind_a_killed_worker_cost_no_attempt(served: Site) -> None:
    """At most the running job is charged at a death; what the worker never got runs elsewhere, as a first attempt."""
    for _ in range(40):  # from twenty samples on their type is known to be quick
        served.await_end(served.add("tiny"))
    gate = served.gate()
    payloads = [served.payload(gate)] * 2 + [served.payload()] * 10
    options = [JobOptions(job_type="tiny", payload=each, max_attempts=1) for each in payloads]
    ids = served.client.add_jobs(options)
    crashing, queued = ids[:2], ids[2:]
    for _ in crashing:
        gate.await_arrival()
    gate.let_go(2)

    assert {served.await_end(job_id).failure_reason for job_id in crashing} == {FailureReason.CRASHED}
    assert {served.await_end(job_id).status for job_id in queued} == {JobStatus.COMPLETED}
    assert [len(served.attempts(job_id)) for job_id in queued] == [1] * 10


def test_workers_outlive_their_template_and_a_new_one_comes(served: Site) -> None:
    """A template is needed for births only: running jobs go on, and a new template forks the next workers."""
    (daemon,) = served.daemons
    gate = served.gate()
    running = served.add("gated", gate)
    busy = gate.await_arrival().pid
    workers = daemon.await_workers(2)
    template = daemon.template
    assert template is not None
    position = daemon.position

    os.kill(template, signal.SIGKILL)
    daemon.wait_for("generation_served", after=position)

    assert daemon.template != template
    assert daemon.workers == workers
    (idle,) = workers - {busy}
    os.kill(idle, signal.SIGKILL)
    eventually(lambda: idle not in daemon.workers, what="the death of the idle worker")
    assert busy in daemon.await_workers(2)
    gate.let_go()
    assert served.await_end(running).attempts == 1


def test_under_memory_pressure_handler_code_dies_before_the_supervisor(served: Site) -> None:
    """Templates and workers offer themselves to the kernel's OOM killer (proc(5), oom_score_adj)."""
    (daemon,) = served.daemons
    assert daemon.template is not None
    supervisor, *others = [
        int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        for pid in (daemon.supervisor, daemon.template, *daemon.await_workers(2))
    ]
    assert all(each >= supervisor + 300 for each in others)


def test_no_descriptor_is_lost_over_many_deaths(served: Site) -> None:
    """The supervisor has as many descriptors open after twenty crashed workers as after two."""
    (daemon,) = served.daemons
    counts = []
    for crashes in (2, 18):
        for _ in range(crashes):
            job_id = served.add("kill_itself", extra={"signal": int(signal.SIGKILL)}, max_attempts=1)
            served.await_end(job_id)
        daemon.await_workers(2)
        counts.append(eventually(daemon.settled_descriptor_count, what="two equal counts of descriptors"))
    assert counts[1] <= counts[0]
