"""The priorities of a pool: what the kernel refuses is told, and the pool serves without it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psutil
import pytest

from jobwarden import events
from jobwarden.settings.pool import PoolSettings
from jobwarden.supervisor.priority import set_priority

NOBODY = 2**22 + 1
"""No process has this number: the highest one is 2^22 (proc(5), pid_max)."""


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The alerts of this test."""
    heard: list[str] = []
    forget = events.listen(lambda fact: heard.append(fact.text) if isinstance(fact, events.Alerted) else None)
    yield heard
    forget()


@pytest.fixture
def pid() -> Iterator[int]:
    """Of a process that does nothing."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def test_a_process_gets_the_priorities_of_its_pool(pid: int, told: list[str]) -> None:
    """At the processor and at the disk."""
    set_priority(pid, pool=PoolSettings(nice=19, io_priority="idle"))
    process = psutil.Process(pid)
    assert (process.nice(), process.ionice().ioclass) == (19, psutil.IOPRIO_CLASS_IDLE)
    assert told == []


def test_a_pool_without_priorities_keeps_those_of_the_daemon(pid: int, told: list[str]) -> None:
    """Nothing is set that nobody asked for."""
    before = psutil.Process(pid).nice(), psutil.Process(pid).ionice()
    set_priority(pid, pool=PoolSettings())
    assert (psutil.Process(pid).nice(), psutil.Process(pid).ionice()) == before
    assert told == []


def test_what_the_kernel_refuses_is_told(told: list[str]) -> None:
    """Pool, option, value and the way out; nothing is raised."""
    set_priority(NOBODY, pool=PoolSettings(name="heavy", nice=-5, io_priority="0"))
    assert [text.partition(" (")[0] for text in told] == [
        "pool heavy: nice = -5 is not in force",
        "pool heavy: io_priority = 0 is not in force",
    ]
    assert all(text.endswith("choose a more modest value, or give the daemon CAP_SYS_NICE") for text in told)
