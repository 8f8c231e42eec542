"""What the meter finds out about real processes: memory that is shared counts once, the dead are no error."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jobwarden import process_memory
from jobwarden.supervisor import meter
from jobwarden.supervisor.effects import Measure
from jobwarden.supervisor.inputs import Measured
from jobwarden.supervisor.mailbox import Mailbox
from tests.support import processes
from tests.support.template import wait_readable

MB_KB = 1024
ATTEMPT = (7, 1)
PROGRAM = """
import os, sys, threading, time
held = bytearray(b"x") * (60 << 20)
def child():
    if os.fork() == 0:
        held_too = bytearray(b"x") * (10 << 20)
        os.write(1, b"c")
        time.sleep(600)
def child_of_a_thread():
    child()
    time.sleep(600)
threading.Thread(target=child_of_a_thread, daemon=True).start()
child()
if os.fork() == 0:
    os._exit(0)
until = time.process_time() + 0.3
while time.process_time() < until:
    pass
os.write(1, b"p")
time.sleep(600)
"""
"""60 MB, two children (one of them forked by a second thread) with 10 MB of their own each, and a zombie."""


@pytest.fixture(scope="module")
def parent() -> Iterator[int]:
    """The pid of a process that runs PROGRAM and has come to its end."""
    with subprocess.Popen([sys.executable, "-S", "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = b""
        while len(said) < 3:
            said += process.stdout.read(1)
        yield process.pid
        for pid in {process.pid, *processes.descendants(process.pid)}:
            processes.kill_quietly(pid)


def wish(pid: int, *, enough_kb: int | None = 0, cpu: bool = False, born_kb: int = 0) -> Measure:
    """What a pool might want to know; nothing is enough, so everything is looked at closely."""
    return Measure(3, ATTEMPT, pid, born_kb=born_kb, enough_kb=enough_kb, cpu=cpu, most=100)


def test_memory_that_processes_share_counts_once(parent: int) -> None:
    """Three processes show 60 MB each, of which there are 60; and 20 of their own."""
    found = meter.measured(wish(parent))
    assert 80 * MB_KB <= found.memory_kb < 110 * MB_KB


def test_an_upper_bound_will_do_below_the_limit(parent: int) -> None:
    """The closer look walks all pages: it is taken where the quick one finds too much."""
    found = meter.measured(wish(parent, enough_kb=1_000 * MB_KB))
    assert found.memory_kb >= 200 * MB_KB


def test_what_the_worker_was_born_with_is_not_charged(parent: int) -> None:
    """It is subtracted once, however many processes show it."""
    plain, less = (meter.measured(wish(parent, born_kb=kb)).memory_kb for kb in (0, 50 * MB_KB))
    assert abs(plain - less - 50 * MB_KB) < 2 * MB_KB


def test_processes_of_another_user_count_in_full(parent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not let us see what is shared, the limit holds all the same."""

    def refuse(_pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(meter, "memory_share_kb", refuse)
    assert meter.measured(wish(parent)).memory_kb >= 200 * MB_KB


def test_all_processes_of_the_tree_are_counted(parent: int) -> None:
    """Also those that a thread has forked, and zombies, which take up a number as well."""
    assert meter.measured(wish(parent)).processes == 4


def test_the_cpu_time_of_the_whole_tree_is_found(parent: int) -> None:
    """In milliseconds; what is not asked for is not read."""
    assert meter.measured(wish(parent, cpu=True)).cpu_ms >= 300
    assert meter.measured(wish(parent)).cpu_ms == 0
    assert meter.measured(wish(parent, enough_kb=None)).memory_kb == 0


def test_the_thread_posts_an_answer_and_nothing_about_the_dead(parent: int) -> None:
    """The last wish about a slot is the one that is answered; a worker that is gone has no numbers."""
    with subprocess.Popen(["sleep", "600"]) as gone:
        gone.send_signal(signal.SIGKILL)
    mailbox = Mailbox()
    thread = meter.Meter(mailbox)
    thread.measure(wish(parent))
    thread.measure(wish(gone.pid))
    thread.measure(wish(gone.pid))
    thread.measure(Measure(4, ATTEMPT, parent, born_kb=0, enough_kb=None, cpu=False, most=2))
    thread.start()
    assert wait_readable(mailbox.descriptor)
    assert mailbox.take() == [Measured(4, ATTEMPT, memory_kb=0, cpu_ms=0, processes=2)]


def test_a_process_knows_its_own_memory() -> None:
    """What it takes shows, and what RLIMIT_DATA counts is never less than that."""
    before = process_memory.memory_kb()
    held = bytearray(b"x") * (30 << 20)
    assert 25 * MB_KB < process_memory.memory_kb() - before < 40 * MB_KB
    assert process_memory.address_space_kb() > 30 * MB_KB
    assert len(held) == 30 << 20
