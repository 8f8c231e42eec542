"""Must show 6 of issue 5: whatever a job does to the machine, its worker or its neighbour, the next job is served.

The workers run as another user than the supervisor; by `pytest -m nightly` the same acts also come from its own user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobwarden.jobs import JobRecord, JobStatus, Outcome
from jobwarden.jobs.outcome import FailureReason
from tests.support import processes
from tests.support.processes import subreaper
from tests.support.site import Site
from tests.support.strangers import stranger
from tests.support.waiting import eventually

Record = Callable[[str, object], None]

BOUNDS: dict[str, Any] = {"max_open_files": 256, "max_processes": 100}
AT_ITS_BOUNDS = {FailureReason.TIMEOUT, FailureReason.CRASHED}
"""Its limit, or `max_processes`: whichever is noticed first."""
MUCH = 1_000_000_000


@pytest.fixture(scope="module", params=["another user", pytest.param("same user", marks=pytest.mark.nightly)])
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One daemon for all tests, whose workers run as this user."""
    with ExitStack() as stack:
        flags: dict[str, Any] = {}
        if request.param == "another user":
            another = stack.enter_context(stranger())
            folder, flags = another.folder, another.flags
        else:
            folder = tmp_path_factory.mktemp("ruinous")
        stack.enter_context(subreaper())
        made = Site(folder)
        try:
            made.start(**BOUNDS, **flags)
            yield made
        finally:
            made.close()


@pytest.fixture(autouse=True)
def both_slots_serve_on(served: Site) -> Iterator[None]:
    """After each act the same supervisor has all its workers, without children, and they run jobs."""
    (daemon,) = served.daemons
    supervisor = daemon.supervisor
    yield
    jobs = [served.client.add_job("echo", {"n": number}) for number in range(10)]
    assert [served.await_end(job_id).output for job_id in jobs] == [{"n": number} for number in range(10)]
    assert daemon.supervisor == supervisor
    workers = daemon.await_workers(2)
    expected = workers | {daemon.template}
    eventually(lambda: processes.children(supervisor) == expected, what="no other child of the supervisor")
    assert not any(processes.children(pid) for pid in workers)


def run_beside_a_neighbour(served: Site, job_type: str, **more: Any) -> JobRecord:
    """The ended job, tried once, while another one was half done; that one is completed at its first attempt."""
    gate = served.gate()
    neighbour = served.add("gated", gate)
    gate.await_arrival()
    extra: dict[str, Any] = {"job": neighbour, "fence": 1, **more}
    timeout_ms = extra.pop("timeout_ms", None)
    record = served.await_end(served.add(job_type, extra=extra, max_attempts=1, timeout_ms=timeout_ms))
    gate.let_go()
    assert served.await_end(neighbour).attempts == 1
    return record


def runs_as_somebody_else(served: Site) -> bool:
    (daemon,) = served.daemons
    return Path(f"/proc/{min(daemon.workers)}").stat().st_uid != os.geteuid()


@pytest.mark.parametrize("sessions", ["one session", "sessions of their own"])
def test_a_fork_bomb_that_never_pauses_is_removed(served: Site, record_property: Record, sessions: str) -> None:
    """None of its processes lives longer than a fork takes, yet all are gone before the outcome is recorded."""
    new_session = sessions != "one session"
    record = run_beside_a_neighbour(served, "fork_bomb", hopping=40, new_session=new_session, timeout_ms=300)

    assert record.failure_reason in AT_ITS_BOUNDS
    assert not served.is_held(record.id)
    removed = served.daemons[0].wait_for("attempt_ended", job_id=record.id)
    record_property("removed", removed["error"])


def test_a_fork_bomb_is_bounded_by_the_number_of_processes(served: Site) -> None:
    """Where the workers' user is nobody else, the kernel refuses further processes, and the bomb is removed."""
    if not runs_as_somebody_else(served):
        pytest.skip("nothing bounds the processes of root: this bomb would take the machine")

    record = run_beside_a_neighbour(served, "fork_bomb", hopping=0, timeout_ms=500)

    assert record.failure_reason in AT_ITS_BOUNDS
    assert not served.is_held(record.id)


def test_a_job_that_kept_all_descriptors_leaves_none_without(served: Site) -> None:
    """Its worker ends with it; both it and those after it end well."""
    (daemon,) = served.daemons
    before = daemon.await_workers(2)
    for _ in range(2):
        assert int(str(run_beside_a_neighbour(served, "take_all_descriptors").output)) > 200

    lines = [served.add("write_line", extra={"file": "after", "line": number}, max_attempts=1) for number in range(4)]

    assert {served.await_end(job_id).status for job_id in lines} == {JobStatus.COMPLETED}
    assert before - daemon.await_workers(2)


def test_a_gigabyte_of_output_is_cut_to_its_end(served: Site) -> None:
    """The tail is kept, the rest is counted, the neighbour is not held up, and the supervisor's memory has an end."""
    before_kb = memory_kb(served.daemons[0].supervisor)

    record = run_beside_a_neighbour(served, "flood", bytes=MUCH)

    assert record.output == "done"
    captured = served.attempts(record.id)[0].captured or ""
    assert captured.endswith("the very last line\n")
    assert "dropped" in captured.splitlines()[0]
    assert len(captured) < 70_000
    assert memory_kb(served.daemons[0].supervisor) - before_kb < 20_000


def memory_kb(pid: int) -> int:
    """Its resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize("job_type", ["close_everything", "write_garbage", "leave_writer", "ask_and_ask"])
def test_a_job_that_ruins_its_workers_sockets_crashes_alone(served: Site, job_type: str) -> None:
    """Its worker is given up, also one whose child writes on or that asks on and on; its neighbour runs on."""
    record = run_beside_a_neighbour(served, job_type)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.CRASHED)


def test_a_job_that_shuts_its_workers_sockets_down_crashes_alone(served: Site) -> None:
    """The supervisor has the same open files; it gives the worker up."""
    record = run_beside_a_neighbour(served, "shut_sockets")

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.CRASHED)


def test_a_job_cannot_end_its_neighbours_job(served: Site) -> None:
    """Who reports a job that it was not given is given up, and the job runs on."""
    record = run_beside_a_neighbour(served, "report_for_another")

    assert record.failure_reason is FailureReason.CRASHED


def test_signs_of_life_without_end_hold_nobody_up(served: Site) -> None:
    """A flood of small messages, most of them about other attempts, costs time only."""
    record = run_beside_a_neighbour(served, "report_on_and_on", times=200)

    assert record.status is JobStatus.COMPLETED


@pytest.mark.nightly
def test_half_a_message_keeps_no_slot(served: Site) -> None:
    """The job ended well, but nobody could hear that: after a while its worker is given up."""
    half = (1_000).to_bytes(4, "big").hex()

    record = run_beside_a_neighbour(served, "say_hex", hex=half)

    assert record.failure_reason is FailureReason.CRASHED


def test_a_daemonised_grandchild_is_named_and_removed(served: Site) -> None:
    """Session, name, program, environment and descriptors are other ones: it is found all the same."""
    record = run_beside_a_neighbour(served, "daemonise")

    assert record.output == "done"
    (pid,) = served.lines(f"{record.id}.pids")
    assert not processes.lives(int(pid))
    assert not served.is_held(record.id)
    (attempt,) = served.attempts(record.id)
    assert any(f"({pid})" in name for name in attempt.left_behind or [])


def test_a_job_that_kills_all_of_its_user_costs_a_pool_no_more_than_its_workers(served: Site) -> None:
    """Template and neighbour die with it; both come back, and the neighbour's job runs again."""
    if not runs_as_somebody_else(served):
        pytest.skip("the tests' own user has more than a pool")
    gate = served.gate()
    neighbour = served.add("gated", gate, retry_delay=0)
    gate.await_arrival()
    (daemon,) = served.daemons
    uid = Path(f"/proc/{min(daemon.workers)}").stat().st_uid

    record = served.await_end(served.add("kill_everybody", extra={"uid": uid}, max_attempts=1))

    assert record.failure_reason is FailureReason.CRASHED
    gate.await_arrival()
    gate.let_go()
    assert served.await_end(neighbour).status is JobStatus.COMPLETED
    assert [each.outcome for each in served.attempts(neighbour)] == [Outcome.CRASHED, Outcome.SUCCEEDED]


def test_a_job_of_another_user_cannot_kill_the_supervisor(served: Site) -> None:
    """The kernel refuses, and the job fails like any that does what it may not."""
    if not runs_as_somebody_else(served):
        pytest.skip("its own user can: see test_killed_by_a_handler.py")

    record = run_beside_a_neighbour(served, "kill_supervisor")

    assert record.failure_reason is FailureReason.HANDLER_ERROR
    assert "PermissionError" in record.error_history[-1].message
