"""P5: what a job uses of the machine has its bounds, and whoever passes them ends alone."""

from __future__ import annotations

import re
from collections.abc import Callable

import psutil
import pytest

from jobwarden.jobs import JobStatus, Outcome
from jobwarden.jobs.outcome import FailureReason
from tests.support import processes
from tests.support.site import Site
from tests.support.waiting import eventually

LIMIT_MB = 64
SERVED_WITH = {
    "memory_limit_mb": LIMIT_MB,
    "cpu_limit_seconds": 0.8,
    "max_processes": 8,
    "max_open_files": 100,
    "nice": 3,
    "io_priority": "6",
}
Record = Callable[[str, object], None]


@pytest.fixture(autouse=True)
def the_neighbour_runs_on(served: Site) -> object:
    """While each of these jobs ends, another one runs in the other worker: its only attempt, to a good end."""
    gate = served.gate()
    neighbour = served.add("gated", gate)
    worker = gate.await_arrival().pid
    yield
    assert processes.lives(worker)
    gate.let_go()
    record = served.await_end(neighbour)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)


def test_an_allocation_beyond_the_limit_fails_in_its_own_line(served: Site) -> None:
    """What the kernel refuses at once is a MemoryError, with its traceback; it ends as `memory_limit`."""
    job_id = served.add("eat_at_once", extra={"mb": 1_000}, max_attempts=1)

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.MEMORY_LIMIT)
    assert record.error_history[-1].message == f"MemoryError; memory_limit_mb allows {LIMIT_MB}"
    (attempt,) = served.attempts(job_id)
    assert attempt.outcome is Outcome.MEMORY_EXCEEDED
    assert "return len(bytearray(" in (attempt.captured or "")


@pytest.mark.parametrize("job_type", ["eat_slowly", "eat_shared", "eat_by_children"])
def test_a_job_whose_processes_take_too_much_together_is_killed(
    served: Site, job_type: str, record_property: Record
) -> None:
    """Private memory, shared memory, and that of children of which none has much: tree and all, without a grace."""
    job_id = served.add(job_type, extra={"mb": 2 * LIMIT_MB}, max_attempts=1)

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.MEMORY_LIMIT)
    used = re.fullmatch(
        rf"used (\d+) MiB of memory; memory_limit_mb allows {LIMIT_MB}", record.error_history[-1].message
    )
    assert used is not None
    assert served.attempts(job_id)[0].outcome is Outcome.MEMORY_EXCEEDED
    assert not served.is_held(job_id)
    record_property(f"MiB used by {job_type}", int(used[1]))


def test_a_kill_for_memory_shows_where_the_job_was(served: Site) -> None:
    """The stacks of all threads are kept with the attempt."""
    job_id = served.add("eat_slowly", extra={"mb": 2 * LIMIT_MB}, max_attempts=1)
    served.await_end(job_id)

    assert "hungry.py" in (served.attempts(job_id)[0].stack_dump or "")


def test_what_children_share_with_their_job_counts_once(served: Site) -> None:
    """Four children forked from a job with 40 MB show 200 MB, and there are 40."""
    job_id = served.add("share_with_children", extra={"mb": 40, "seconds": 0.4}, max_attempts=1)

    assert served.await_end(job_id).output == 40 * 1024 * 1024


@pytest.mark.parametrize("job_type", ["burn", "burn_by_children"])
def test_a_job_that_takes_too_much_cpu_time_is_stopped(served: Site, job_type: str) -> None:
    """However the time is spent: softly first, like one that takes too long."""
    job_id = served.add(job_type, max_attempts=1)

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.TIMEOUT)
    assert "of CPU time; cpu_limit_seconds allows 0.8" in record.error_history[-1].message
    assert served.attempts(job_id)[0].outcome is Outcome.TIMED_OUT
    assert not served.is_held(job_id)


def test_a_job_with_too_many_processes_is_killed(served: Site) -> None:
    """All of them are gone with it."""
    job_id = served.add("multiply", extra={"count": 30}, max_attempts=1)

    record = served.await_end(job_id)

    assert record.failure_reason is FailureReason.CRASHED
    assert re.fullmatch(r"had \d+ processes; max_processes allows 8", record.error_history[-1].message)
    assert not served.is_held(job_id)


def test_a_job_with_too_many_descriptors_fails_and_its_worker_serves_on(served: Site) -> None:
    """The kernel refuses the next one; the next job has what it may have again."""
    record = served.await_end(served.add("open_files", extra={"count": 500}, max_attempts=1))

    assert record.failure_reason is FailureReason.HANDLER_ERROR
    assert "Too many open files" in record.error_history[-1].message
    assert served.await_end(served.add("open_files", extra={"count": 50})).output == 50


def test_workers_have_the_priorities_of_their_pool(served: Site) -> None:
    """The template as well: it runs code of the pool. The supervisor keeps its own."""
    found = served.await_end(served.add("who_am_i")).output
    assert isinstance(found, dict)
    assert found["nice"] == 3
    (daemon,) = served.daemons
    own = psutil.Process(daemon.supervisor)
    for pid in (int(str(found["pid"])), daemon.template):
        process = psutil.Process(pid)
        assert process.nice() - own.nice() == 3
        assert process.ionice() == psutil.Process(daemon.template).ionice()
        assert (process.ionice().ioclass, process.ionice().value) == (psutil.IOPRIO_CLASS_BE, 6)
    assert own.ionice().value != 6


def test_after_all_that_both_workers_serve(served: Site) -> None:
    """Without anything left of what ended."""
    (daemon,) = served.daemons
    jobs = [served.client.add_job("echo", {"n": number}) for number in range(10)]
    assert [served.await_end(job_id).output for job_id in jobs] == [{"n": number} for number in range(10)]
    eventually(lambda: len(daemon.workers) == 2, what="both workers")
