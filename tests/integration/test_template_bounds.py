"""What a real worker, forked by a real template, does about its bounds: limits of the kernel, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.wire.messages import HANDLER_ERROR, MEMORY, Hello
from jobwarden.wire.template_terms import WorkerBounds
from tests.support.template import PlayedSupervisor, PlayedWorker, played

MB = 1024 * 1024
LIMIT_MB = 64
HANDLERS = """
import asyncio, resource, threading

@handler("take")
def take(payload):
    return len(bytearray(payload))

@handler("keep")
def keep(payload):
    global kept
    kept = bytearray(b"x") * payload

@handler("fill")
def fill(payload):
    global kept
    kept = []
    while True:
        kept.append(bytearray(b"x") * payload)

@handler("take_in_a_group")
async def take_in_a_group(payload):
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(bytearray, payload))

@handler("threads")
def threads(payload):
    gate = threading.Event()
    started = [threading.Thread(target=gate.wait) for _ in range(payload)]
    for each in started:
        each.start()
    gate.set()
    return len(started)

@handler("limits")
def limits(payload):
    return [resource.getrlimit(getattr(resource, name)) for name in payload]
"""


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedSupervisor]:
    """A template with bounds for all tests of this module."""
    bounds = WorkerBounds(memory_limit_bytes=LIMIT_MB * MB, max_open_files=200, user_processes=5_000, measured=True)
    with played(tmp_path_factory.mktemp("bounded"), HANDLERS, bounds=bounds) as supervisor:
        yield supervisor


@pytest.fixture(scope="module")
def unbounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedSupervisor]:
    """One without."""
    with played(tmp_path_factory.mktemp("unbounded"), HANDLERS) as supervisor:
        yield supervisor


@pytest.mark.parametrize("job_type", ["take", "take_in_a_group"])
def test_an_allocation_beyond_the_limit_is_a_failure_of_its_own_kind(bounded: PlayedSupervisor, job_type: str) -> None:
    """Also within a group of errors; the worker takes no further job, because nobody knows what was half done."""
    done = bounded.spawn().run(job_type, 1_000 * MB)
    assert done.failure is not None
    assert done.failure.kind == MEMORY
    assert "MemoryError" in done.failure.message
    assert done.failure.message.endswith(f"memory_limit_mb allows {LIMIT_MB}")
    assert done.retire


@pytest.mark.parametrize("piece", [300, 5_000])
def test_a_worker_that_has_nothing_left_can_say_so(bounded: PlayedSupervisor, piece: int) -> None:
    """The job has taken all there is, in small pieces, and keeps it; the traceback is printed all the same."""
    worker = bounded.spawn()
    done = worker.run("fill", piece)
    assert done.failure is not None
    assert done.failure.kind == MEMORY
    assert "kept.append(" in worker.captured()


def test_what_is_allowed_is_to_be_had(bounded: PlayedSupervisor) -> None:
    """The limit counts from what the worker was born with, which is the template's."""
    assert bounded.spawn().run("take", (LIMIT_MB - 1) * MB).failure is None


def test_threads_are_no_memory(bounded: PlayedSupervisor) -> None:
    """The kernel counts their stacks of 8 MB in full; a few of them have to be possible beside a full use of memory."""
    worker = bounded.spawn()
    assert worker.run("keep", (LIMIT_MB - 8) * MB).failure is None
    assert worker.run("threads", 8).output == "8"


def test_a_memory_error_without_a_limit_is_an_error_of_the_handler(unbounded: PlayedSupervisor) -> None:
    """Somebody has asked for more than any machine has; the worker is none the worse for it."""
    done = unbounded.spawn().run("take", 1 << 60)
    assert done.failure is not None
    assert (done.failure.kind, done.retire) == (HANDLER_ERROR, False)


def test_the_kernel_keeps_the_limits_of_what_a_worker_starts(bounded: PlayedSupervisor) -> None:
    """Descriptors of each process, processes of the user: nobody may raise them again."""
    done = bounded.spawn().run("limits", ["RLIMIT_NOFILE", "RLIMIT_NPROC"])
    assert done.output == "[[200,200],[5000,5000]]"


def test_a_worker_without_bounds_has_the_limits_of_its_template(unbounded: PlayedSupervisor) -> None:
    """Nothing is set that nobody has asked for."""
    done = unbounded.spawn().run("limits", ["RLIMIT_DATA"])
    assert done.output == "[[-1,-1]]"


def test_a_worker_says_what_it_has_in_memory_where_that_is_of_interest(
    bounded: PlayedSupervisor, unbounded: PlayedSupervisor
) -> None:
    """At its birth, and after each job; where nobody asks, no job waits for the answer."""
    worker = bounded.spawn()
    hello = born(worker)
    assert 1_000 < hello.memory_kb < 200_000
    done = worker.run("keep", 20 * MB)
    assert 20 * 1024 <= done.memory_kb - hello.memory_kb < 40 * 1024
    assert worker.run("keep", 0).memory_kb - hello.memory_kb < 15 * 1024
    other = unbounded.spawn()
    assert born(other).memory_kb == 0
    assert other.run("keep", MB).memory_kb == 0


def test_a_worker_of_a_large_template_may_use_as_much_as_any_other(tmp_path: Path) -> None:
    """What was loaded before the fork belongs to all workers, and is charged to none."""
    code = f"loaded = bytearray(b'x') * {3 * LIMIT_MB * MB}\n" + HANDLERS
    bounds = WorkerBounds(memory_limit_bytes=LIMIT_MB * MB, measured=True)
    with played(tmp_path, code, bounds=bounds) as supervisor:
        assert supervisor.spawn().run("take", (LIMIT_MB - 1) * MB).failure is None


def test_what_a_hook_has_started_is_part_of_the_worker(tmp_path: Path) -> None:
    """A helper for all jobs is not charged to any: its memory and its number belong to the birth."""
    code = """
import subprocess, sys

@on_worker_start
def start_helper():
    code = "import sys, time; x = bytearray(b'x') * (20 << 20); print(flush=True); time.sleep(600)"
    helper = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
    helper.stdout.readline()

@handler("nothing")
def nothing(payload):
    pass
"""
    plain = tmp_path / "plain"
    plain.mkdir()
    bounds = WorkerBounds(measured=True)
    with played(plain, HANDLERS, bounds=bounds) as supervisor:
        without = born(supervisor.spawn())
    with played(tmp_path, code, bounds=bounds) as supervisor:
        worker = supervisor.spawn()
        assert (without.processes, born(worker).processes) == (1, 2)
        assert born(worker).memory_kb - without.memory_kb > 20 * 1024
        done = worker.run("nothing")
        assert done.left_behind == []
        assert abs(done.memory_kb - born(worker).memory_kb) < 5 * 1024


def born(worker: PlayedWorker) -> Hello:
    """What the worker said at its birth."""
    (hello,) = [message for message in worker.received if isinstance(message, Hello)]
    return hello
