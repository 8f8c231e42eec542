"""What the kernel says of processes (proc(5)): children, states, open descriptors; and being their subreaper."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import LIMIT_SECONDS

_PR_SET_CHILD_SUBREAPER = 36


@contextmanager
def subreaper() -> Iterator[None]:
    """Within the block every orphan below this process becomes its child, so none can get out of sight."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children(pid: int) -> set[int]:
    """The children of all threads of a process, zombies included; empty for one that is gone."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.update(map(int, (task / "children").read_text().split()))
    return found


def descendants(pid: int) -> set[int]:
    """Everything below a process."""
    found: set[int] = set()
    for child in children(pid):
        found |= {child} | descendants(child)
    return found


def state(pid: int) -> str:
    """One letter: R, S, D, T (stopped), Z (zombie); X for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def title(pid: int) -> str:
    """The command line, as one text."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def lives(pid: int) -> bool:
    """Whether it is there and no zombie."""
    return state(pid) not in "XZ"


def descriptor_count(pid: int) -> int:
    """How many descriptors it has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def await_end(pid: int, *, seconds: float = LIMIT_SECONDS) -> None:
    """Wait until a process, not necessarily ours, is dead."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], seconds)[0], f"process {pid} ({title(pid)}) still lives"
    finally:
        os.close(descriptor)


def reap_orphans(own: set[int]) -> dict[int, int]:
    """Collect dead children of this process that are not `own`; their exit codes."""
    codes: dict[int, int] = {}
    for pid in children(os.getpid()) - own:
        with contextlib.suppress(ChildProcessError):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
    return codes


def kill_quietly(pid: int) -> None:
    """SIGKILL, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
