"""End what a dead daemon may have left behind, and see it dead: processes that ran away before it was killed.

At a start: what an earlier daemon of this state directory left. Its lock is held, so no living daemon can own these
processes. Before a dead node's jobs are freed: what that node left. Only a process that bears *both* markers of a
template was ever ours: the one for the state directory is also the name of an option, which a user's shell, and
everything in it, may have. What forked without exec shows the template's block, which is the same.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.clock import MILLISECOND_NS, SECOND_NS, SYSTEM_CLOCK
from jobwarden.supervisor.launcher import NODE_MARKER, PLACE_MARKER

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_NS = 5 * SECOND_NS
"""What cannot be killed in this time (state D) will not be waited for."""


def sweep_leftovers(state_dir: Path, *, own_node: str) -> list[int]:
    """Kill every process that is marked with this state directory and another node; returns their pids.

    Returns when they are dead and a look finds no more of them, because their jobs are freed next.
    """
    place = state_dir.resolve()
    theirs, mine = f"{PLACE_MARKER}={place}".encode(), f"{NODE_MARKER}={own_node}".encode()

    def is_leftover(pid: int, block: list[bytes]) -> bool:
        return theirs in block and mine not in block and _bears(block, NODE_MARKER) and not _is_elsewhere(pid, place)

    return _sweep(is_leftover)


def sweep_node(node_id: str) -> list[int]:
    """Kill every process that is marked with this node; returns their pids, when they are dead as above.

    Only for a node that is dead for certain, keeper and supervisor both (its flock is free): a daemon that was merely
    taken for dead may live on under another node id, with workers that bear the old one.
    """
    theirs = f"{NODE_MARKER}={node_id}".encode()
    return _sweep(lambda _pid, block: theirs in block and _bears(block, PLACE_MARKER))


def _sweep(is_leftover: Callable[[int, list[bytes]], bool]) -> list[int]:
    killed: list[int] = []
    until_ns = SYSTEM_CLOCK.monotonic_ns() + _LONGEST_NS
    while SYSTEM_CLOCK.monotonic_ns() < until_ns:
        found = _kill_marked(is_leftover)
        if not found:
            break
        killed += found
        for pidfd in found.values():
            _await_death(pidfd, until_ns=until_ns)
            os.close(pidfd)
    return killed


def _kill_marked(is_leftover: Callable[[int, list[bytes]], bool]) -> dict[int, int]:
    """One look: the pid and a pidfd of each process that was killed."""
    killed = {}
    for pid in _others():
        with contextlib.suppress(OSError):  # gone, or somebody else's
            pidfd = os.pidfd_open(pid)  # before its environment is read: a recycled pid is then safe
            if not is_leftover(pid, _environment(pid)):
                os.close(pidfd)
                continue
            killed[pid] = pidfd
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return killed


def _others() -> list[int]:
    """All processes but us and our keeper: a handler may have started this very daemon."""
    found = {int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()}
    return sorted(found - {os.getpid(), os.getppid()})


def _environment(pid: int) -> list[bytes]:
    """The variables that it was started with; none for a process that is gone, or somebody else's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _bears(block: list[bytes], name: str) -> bool:
    return any(each.startswith(f"{name}=".encode()) for each in block)


def _is_elsewhere(pid: int, place: Path) -> bool:
    """Whether this path leads it to another directory than us, as in a container, whose processes a host sees."""
    try:
        theirs, ours = Path(f"/proc/{pid}/root{place}").stat(), place.stat()
    except OSError:
        return False
    return (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino)


def _await_death(pidfd: int, *, until_ns: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(max(0, (until_ns - SYSTEM_CLOCK.monotonic_ns()) // MILLISECOND_NS))
