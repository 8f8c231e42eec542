"""Soft stops, children left behind, and the ends of a worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from jobwarden.wire.exits import EXIT_UNTRUSTED
from jobwarden.wire.messages import CANCELLED, TIMEOUT, Progress
from tests.support.template import PlayedWorker, played, wait_readable

HANDLERS = """
import asyncio, os, signal, subprocess, sys, time

@handler("sleep")
def sleep(payload, ctx):
    ctx.set_progress(1)
    time.sleep(60)

@handler("swallow")
def swallow(payload, ctx):
    for turn in range(payload):
        try:
            ctx.set_progress(turn + 1)
            ctx.flush_progress()
            time.sleep(60)
        except BaseException as error:
            print(type(error).__name__)
    return "enough"

@handler("asleep")
async def asleep(payload, ctx):
    ctx.set_progress(1)
    try:
        await asyncio.sleep(60)
    finally:
        print("cleaned up")

@handler("gate")
def gate(payload, ctx):
    ctx.set_progress(1)
    with open(payload) as file:
        return file.read()

@handler("take_signal")
def take_signal(payload):
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)

@handler("child")
def child(payload):
    subprocess.Popen(["sleep", "60"])

@handler("grandchild")
def grandchild(payload):
    subprocess.run(["/bin/sh", "-c", "setsid sleep 60 & exit 0"], check=True)

@handler("zombie")
def zombie(payload):
    if os.fork() == 0:
        os._exit(0)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)

@handler("nothing")
def nothing(payload):
    return None
"""


def begin(worker: PlayedWorker, job_type: str, payload: object = None) -> None:
    """Return once the handler runs."""
    worker.send_run(job_type, payload)
    assert isinstance(worker.next_message(), Progress)


@pytest.mark.parametrize("job_type", ["sleep", "asleep"])
@pytest.mark.parametrize(("why", "kind"), [("timeout", TIMEOUT), ("cancel", CANCELLED)])
def test_a_soft_stop_ends_a_running_handler(tmp_path: Path, job_type: str, why: str, kind: str) -> None:
    """Stop with the current fence and the signal: the handler ends with that reason and the worker retires."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, job_type)
        worker.soft_stop(why=why)
        done = worker.wait_done()
        assert done.failure is not None
        assert done.failure.kind == kind
        assert done.retire
        if job_type == "asleep":
            assert worker.captured().startswith("cleaned up\n")


def test_a_stop_for_another_attempt_does_nothing(tmp_path: Path) -> None:
    """Job and fence must be those of the running attempt: here another fence, another job with the same fence (each
    job counts its own), then none at all.
    """
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, "gate", str(gate))
        worker.soft_stop(fence=999)
        worker.soft_stop(job_id=999)
        worker.signal(signal.SIGUSR1)
        gate.write_text("open")
        done = worker.wait_done()
        assert (done.output, done.failure, done.retire) == ('"open"', None, False)


def test_a_stop_between_two_jobs_does_nothing(tmp_path: Path) -> None:
    """A stop that comes too late, for an attempt that has ended, does not hit the next."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.run("nothing")
        worker.soft_stop()
        done = worker.run("nothing")
        assert (done.failure, done.retire) == (None, False)


def test_a_swallowed_stop_can_be_repeated(tmp_path: Path) -> None:
    """Each signal raises again; a handler that still returns keeps its output, and the worker retires."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, "swallow", 3)
        worker.soft_stop()
        for _ in range(2):
            assert isinstance(worker.next_message(), Progress)
            worker.signal(signal.SIGUSR1)
        done = worker.wait_done()
        assert (done.output, done.failure, done.retire) == ('"enough"', None, True)
        assert worker.captured() == "JobTimeout\n" * 3


def test_a_retired_worker_takes_no_further_job(tmp_path: Path) -> None:
    """After a soft stop it waits for its death; what is in its queue can be taken back."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, "sleep")
        worker.send_run("nothing")
        worker.soft_stop(fence=1, job_id=1001)
        assert worker.wait_done().retire
        worker.control.shutdown(1)
        assert worker.wait_exit() == (0, 0)
        assert worker.queue_far_end.recv(65_536)


def test_a_handler_that_takes_the_signal_loses_it_again(tmp_path: Path) -> None:
    """SIGUSR1 is ours in every job, whatever an earlier one did with it."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.run("take_signal")
        begin(worker, "sleep")
        worker.soft_stop()
        failure = worker.wait_done().failure
        assert failure is not None
        assert failure.kind == TIMEOUT


@pytest.mark.parametrize("job_type", ["child", "grandchild"])
def test_a_child_that_outlives_its_job_is_named_and_the_worker_retires(tmp_path: Path, job_type: str) -> None:
    """The outcome stands; also a grandchild in a session of its own is found."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        done = worker.run(job_type)
        assert done.failure is None
        assert done.retire
        (name,) = done.left_behind
        orphan = int(name.rpartition("(")[2].removesuffix(")"))
        worker.signal(signal.SIGKILL)
        worker.wait_exit()
        os.kill(orphan, signal.SIGKILL)
        os.waitpid(orphan, 0)


def test_a_dead_child_is_reaped_and_leaves_nothing(tmp_path: Path) -> None:
    """A zombie is not left behind."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        done = worker.run("zombie")
        assert (done.left_behind, done.retire) == ([], False)
        assert Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text() == ""


def test_a_worker_starts_no_job_after_the_trust_window(tmp_path: Path) -> None:
    """Past `trusted_until` the job is left alone, and the exit code says so."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.run("nothing")
        supervisor.trust_for(seconds=0)
        worker.send_run("nothing")
        assert worker.wait_exit() == (EXIT_UNTRUSTED, 0)


def test_a_worker_ends_when_the_supervisors_end_closes(tmp_path: Path) -> None:
    """End of file on the control stream ends an idle worker."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.control.shutdown(1)
        assert worker.wait_exit() == (0, 0)


def test_garbage_in_the_queue_ends_the_worker_and_nothing_else(tmp_path: Path) -> None:
    """Bytes that are no message are not guessed at."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker, other = supervisor.spawn(), supervisor.spawn()
        worker.queue.send(b"garbage")
        assert worker.wait_exit() == (70, 0)
        assert other.run("nothing").failure is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_for_the_whole_group_do_not_end_a_worker(tmp_path: Path, number: signal.Signals) -> None:
    """Only the supervisor ends workers; a terminal's or a service manager's signal does not."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.signal(number)
        assert worker.run("nothing").failure is None


def test_a_stack_dump_can_be_taken_of_a_running_handler(tmp_path: Path) -> None:
    """SIGUSR2 writes the stacks of all threads into the memfd, from where the supervisor reads them."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, "sleep")
        worker.signal(signal.SIGUSR2)
        worker.soft_stop()
        worker.wait_done()
        assert b"in sleep" in os.pread(worker.dump, 65_536, 0)
        assert not wait_readable(worker.pidfd, seconds=0)
