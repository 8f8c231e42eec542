"""P4, P5, P8: a handler that ends its worker, or leaves something behind, costs nobody else anything."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from jobwarden.jobs import JobStatus, Outcome
from jobwarden.jobs.outcome import FailureReason
from tests.support import processes
from tests.support.site import Site
from tests.support.waiting import eventually

Record = Callable[[str, object], None]


@pytest.fixture(autouse=True)
def both_slots_serve_on(served: Site) -> object:
    """After each hostile act the same supervisor has all its workers, without children, and they run jobs."""
    (daemon,) = served.daemons
    supervisor = daemon.supervisor
    yield
    assert daemon.supervisor == supervisor
    assert processes.lives(supervisor)
    jobs = [served.client.add_job("echo", {"n": number}) for number in range(10)]
    assert [served.await_end(job_id).output for job_id in jobs] == [{"n": number} for number in range(10)]
    workers = daemon.await_workers(2)
    expected = workers | {daemon.template}
    eventually(lambda: processes.children(supervisor) == expected, what="no other child of the supervisor")
    assert not any(processes.children(pid) for pid in workers)


@pytest.mark.parametrize(
    ("job_type", "extra", "error"),
    [
        ("kill_itself", {"signal": signal.SIGKILL}, "signal 9"),
        ("kill_itself", {"signal": signal.SIGABRT}, "signal 6"),
        ("read_address_zero", {}, "signal 11"),
        ("exit_at_once", {"code": 0}, "exit code 0"),
        ("exit_at_once", {"code": 77}, "exit code 77"),
    ],
)
def test_a_job_that_ends_its_worker_is_a_crash_that_says_how(
    served: Site, job_type: str, extra: dict[str, int], error: str
) -> None:
    """Signal or exit code are in the attempt and in the job's error history; an exit with 0 is no success."""
    job_id = served.add(job_type, extra={name: int(value) for name, value in extra.items()}, max_attempts=1)

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.CRASHED)
    assert error in record.error_history[-1].message
    (attempt,) = served.attempts(job_id)
    assert attempt.outcome is Outcome.CRASHED
    assert error in f"signal {attempt.signal} exit code {attempt.exit_code}"


def test_what_a_job_printed_before_its_death_is_kept(served: Site) -> None:
    """The last words of a killed worker are in its attempt."""
    job_id = served.add("kill_itself", extra={"signal": int(signal.SIGKILL)}, max_attempts=1)
    served.await_end(job_id)

    assert "last words" in (served.attempts(job_id)[0].captured or "")


def test_sys_exit_is_a_failure_of_the_job_and_not_the_end_of_the_worker(served: Site) -> None:
    """A handler that calls sys.exit fails like one that raises."""
    (daemon,) = served.daemons
    workers = daemon.await_workers(2)

    record = served.await_end(served.add("exit_politely", extra={"code": 3}, max_attempts=1))

    assert record.failure_reason is FailureReason.HANDLER_ERROR
    assert daemon.workers == workers


def test_a_job_that_crashes_its_worker_three_times_is_quarantined(served: Site) -> None:
    """However many attempts are left, it is failed for good and says why; a retry by hand counts anew."""
    job_id = served.add("kill_itself", extra={"signal": int(signal.SIGKILL)}, max_attempts=10, retry_delay=0)

    for crashes in (3, 6):
        record = served.await_end(job_id)
        assert (record.status, record.next_attempt_at) == (JobStatus.FAILED, None)
        assert (record.failure_reason, record.pending_reason) == (FailureReason.CRASHED, "quarantined")
        assert len(served.attempts(job_id)) == crashes
        served.client.retry_job(job_id)
    served.await_end(job_id)


def test_children_that_a_finished_job_left_behind_are_named_and_removed(served: Site) -> None:
    """The outcome stands, the attempt names them, and none of them lives on."""
    job_id = served.add("leave_behind")

    record = served.await_end(job_id)

    assert (record.status, record.output) == (JobStatus.COMPLETED, "done")
    assert not served.is_held(job_id)
    (attempt,) = served.attempts(job_id)
    assert any(name.startswith("sleep (") for name in attempt.left_behind or [])
    assert len(attempt.left_behind or []) == 2


def test_two_hundred_grandchildren_that_ran_away_are_all_removed(served: Site, record_property: Record) -> None:
    """Whatever a job has started, in whatever session, ends with it."""
    (daemon,) = served.daemons
    gate = served.gate()
    job_id = served.add("ward_of_many", gate, extra={"count": 200}, max_attempts=1)
    gate.await_arrival()
    pids = {int(pid) for pid in served.lines(f"{job_id}.pids")}
    assert len(pids) == 200
    assert all(processes.lives(pid) for pid in pids)

    served.client.cancel_job(job_id, wait_seconds=30)

    assert not any(processes.lives(pid) for pid in pids)
    assert not served.is_held(job_id)
    record_property("removed", len(pids))
    daemon.wait_for("tree_cleared", job_id=job_id)


def test_a_stopped_worker_is_still_killed_at_the_limit_of_its_job(served: Site) -> None:
    """SIGSTOP keeps no worker from its deadline."""
    gate = served.gate()
    job_id = served.add("stop_itself", gate, timeout_ms=300, max_attempts=1)
    pid = gate.await_arrival().pid

    assert served.await_end(job_id).failure_reason is FailureReason.TIMEOUT
    assert not processes.lives(pid)
