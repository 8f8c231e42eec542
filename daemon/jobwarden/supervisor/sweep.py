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
from jobwarden.supervisor.glance import inode_of, look_at
from jobwarden.supervisor.launcher import NODE_MARKER, PLACE_MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobwarden.supervisor.glance import View
    from jobwarden.supervisor.identity import Identity

_LONGEST_NS = 5 * SECOND_NS
"""What cannot be killed in this time (state D) will not be waited for."""
_AT_ONCE = 400
"""Processes that are held by a descriptor each while somebody looks at them."""


def sweep_leftovers(state_dir: Path, *, own_node: str, users: Sequence[Identity] = ()) -> list[int]:
    """Kill every process that is marked with this state directory and another node; returns their pids.

    Returns when they are dead and a look finds no more of them, because their jobs are freed next. `users` are those
    as whom pools run.
    """
    place = state_dir.resolve()
    theirs, mine = f"{PLACE_MARKER}={place}".encode(), f"{NODE_MARKER}={own_node}".encode()
    here = inode_of(place)

    def is_leftover(view: View) -> bool:
        ours = theirs in view.block and mine not in view.block and _bears(view, NODE_MARKER)
        # In a container, whose processes a host sees, the path may lead to another directory.
        return ours and (None in {here, view.place} or here == view.place)

    return _sweep(is_leftover, place=place, users=users)


def sweep_node(node_id: str, *, users: Sequence[Identity] = ()) -> list[int]:
    """Kill every process that is marked with this node; returns their pids, when they are dead as above.

    Only for a node that is dead for certain, keeper and supervisor both (its flock is free): a daemon that was merely
    taken for dead may live on under another node id, with workers that bear the old one.
    """
    theirs = f"{NODE_MARKER}={node_id}".encode()
    return _sweep(lambda view: theirs in view.block and _bears(view, PLACE_MARKER), place=Path("/"), users=users)


def _sweep(is_leftover: Callable[[View], bool], *, place: Path, users: Sequence[Identity]) -> list[int]:
    killed: list[int] = []
    until_ns = SYSTEM_CLOCK.monotonic_ns() + _LONGEST_NS
    while SYSTEM_CLOCK.monotonic_ns() < until_ns:
        found = _kill_marked(is_leftover, place=place, users=users)
        if not found:
            break
        killed += found
        for pidfd in found.values():
            _await_death(pidfd, until_ns=until_ns)
            os.close(pidfd)
    return killed


def _kill_marked(is_leftover: Callable[[View], bool], *, place: Path, users: Sequence[Identity]) -> dict[int, int]:
    """One look: the pid and a pidfd of each process that was killed."""
    others, killed = _others(), dict[int, int]()
    for start in range(0, len(others), _AT_ONCE):
        pidfds = _opened(others[start : start + _AT_ONCE])  # before an environment is read: a recycled pid is then safe
        for view in look_at(list(pidfds), place=place, users=users):
            if is_leftover(view):
                with contextlib.suppress(OSError):  # gone, or out of our reach
                    signal.pidfd_send_signal(pidfds[view.pid], signal.SIGKILL)
                    killed[view.pid] = pidfds.pop(view.pid)
        for pidfd in pidfds.values():
            os.close(pidfd)
    return killed


def _others() -> list[int]:
    """All processes but us and our keeper: a handler may have started this very daemon."""
    found = {int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()}
    return sorted(found - {os.getpid(), os.getppid()})


def _opened(pids: list[int]) -> dict[int, int]:
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):  # gone
            found[pid] = os.pidfd_open(pid)
    return found


def _bears(view: View, name: str) -> bool:
    return any(each.startswith(f"{name}=".encode()) for each in view.block)


def _await_death(pidfd: int, *, until_ns: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(max(0, (until_ns - SYSTEM_CLOCK.monotonic_ns()) // MILLISECOND_NS))
