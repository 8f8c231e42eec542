"""Kills workers with everything below them and proves that nothing is left. A thread of its own; decides nothing.

The worker goes first, through its pidfd. Then everything that the supervisor, as child subreaper, adopts from it is
killed and reaped, zombies included, until two looks in a row find no unknown child (research/probes.md §6: freezing
and walking live descendants was seen to call trees clean that were not). Living workers are subreapers themselves,
so an unknown child of ours can only come from a dead one. While a Fork is outstanding, which another pool's template
may not answer for long, it may be a worker that is just being born: it is not judged then, unless it is in a dead
worker's session. Where there is no unknown child at all, nothing has to wait for that answer.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.errors import UnsupportedKernelError
from jobwarden.supervisor.channel import DUMP_SIGNAL
from jobwarden.supervisor.inputs import Cleared, Stuck

if TYPE_CHECKING:
    from jobwarden.clock import Clock
    from jobwarden.supervisor.census import Census
    from jobwarden.supervisor.cgroup import Leaf
    from jobwarden.supervisor.mailbox import Mailbox

_LOOKS = 2
_DUMP_LIMIT_NS = 100_000_000
_DUMP_STILL_NS = 2_000_000
_SHORT_SECONDS, _LONG_SECONDS = 0.0005, 0.05
_LARGEST_DUMP = 65_536


class Removal:
    """One worker whose tree has to go."""

    def __init__(self, slot: int, *, pid: int, pidfd: int | None, dump: int | None, leaf: Leaf | None = None) -> None:
        """`pidfd` is None for a worker that is already dead; `dump` is its memfd if its stacks are wanted."""
        self.leaf = leaf
        self.slot = slot
        self.pid = pid
        self.pidfd = pidfd
        self.dump = dump
        self.stack_dump: str | None = None
        self.since_ns = 0
        self.told_stuck = False

    def kill(self) -> None:
        """The worker, and where it has a cgroup all that is in there."""
        _send(self.pidfd, signal.SIGKILL)
        if self.leaf is not None:
            self.leaf.kill()

    def has_company(self) -> bool:
        """Whether something lives in its cgroup; if so, it is killed again: somebody may have moved there since."""
        if self.leaf is None or self.leaf.is_empty():
            return False
        self.leaf.kill()
        return True


class Killer(threading.Thread):
    """Takes removals, posts Cleared (or Stuck, and Cleared later) for each."""

    def __init__(self, census: Census, mailbox: Mailbox, *, clock: Clock, stuck_ns: int) -> None:
        """`stuck_ns` is how long a tree may take to die before people are told."""
        super().__init__(name="killer", daemon=True)
        self._census = census
        self._mailbox = mailbox
        self._clock = clock
        self._stuck_ns = stuck_ns
        self._new: queue.SimpleQueue[Removal] = queue.SimpleQueue()
        self._active: list[Removal] = []

    def change(self, *, stuck_ns: int) -> None:
        """From any thread: from now on people are told after so long."""
        self._stuck_ns = stuck_ns

    def remove(self, removal: Removal) -> None:
        """From the loop: begin."""
        self._new.put(removal)

    def run(self) -> None:
        """Work for ever; the process ends with the thread in it."""
        looks, pause = 0, _SHORT_SECONDS
        while True:
            fresh = self._take_new(pause)
            if fresh:
                self._shoot(fresh)
                looks, pause = 0, _SHORT_SECONDS
            if not self._active:
                continue
            looks = looks + 1 if self._look_is_empty() else 0
            pause = _SHORT_SECONDS if looks else min(pause * 1.5, _LONG_SECONDS)
            if looks >= _LOOKS:
                self._report_cleared()
            self._report_stuck()

    def _take_new(self, pause: float) -> list[Removal]:
        fresh = []
        with contextlib.suppress(queue.Empty):
            fresh.append(self._new.get(timeout=pause if self._active else None))
            while True:
                fresh.append(self._new.get_nowait())
        return fresh

    def _shoot(self, fresh: list[Removal]) -> None:
        self._take_dumps(
            [each for each in fresh if each.dump is not None and each.pidfd is not None and not stopped(each.pid)]
        )
        for each in fresh:
            each.since_ns = self._clock.monotonic_ns()
            each.kill()
        self._active.extend(fresh)
        _wait_for_deaths([each.pidfd for each in fresh if each.pidfd is not None])

    def _take_dumps(self, wanted: list[Removal]) -> None:
        """All at once: a dump takes under a millisecond, but a worker that cannot dump costs the whole limit."""
        for each in wanted:
            _send(each.pidfd, DUMP_SIGNAL)
        began = still_since = self._clock.monotonic_ns()
        sizes = [0] * len(wanted)
        while wanted and (now := self._clock.monotonic_ns()) - began < _DUMP_LIMIT_NS:
            seen = [os.fstat(each.dump or 0).st_size for each in wanted]
            if seen != sizes:
                sizes, still_since = seen, now
            elif all(sizes) and now - still_since > _DUMP_STILL_NS:
                break
            threading.Event().wait(_SHORT_SECONDS)
        for each in wanted:
            text = os.pread(each.dump or 0, _LARGEST_DUMP, 0).decode(errors="replace").replace("\0", "\ufffd")
            each.stack_dump = text or None

    def _look_is_empty(self) -> bool:
        census = self._census
        asked, answered = census.asked, census.answered
        # `known` first: a worker that dies between the two looks may be reaped, and its pid be somebody else's by now.
        known = set(census.known)
        children = own_children()
        strays = children - known
        settled = asked == answered == census.asked == census.answered
        for pid in strays if settled else filter(self._is_orphan, strays):
            kill_and_reap(pid)
        if [each for each in self._active if each.has_company()]:
            return False
        # A worker is known until it was reaped: a listing of children may miss one while others end (proc(5)).
        return not strays and not any(each.pid in children or each.pid in known for each in self._active)

    def _is_orphan(self, pid: int) -> bool:
        """Whether it is of a session whose worker is to go; who is being born is of its template's, or its own."""
        try:
            session = os.getsid(pid)
        except ProcessLookupError:
            return False
        return session != pid and any(each.pid == session for each in self._active)

    def _report_cleared(self) -> None:
        for each in self._active:
            if each.leaf is not None:
                each.leaf.remove()
            self._mailbox.post(Cleared(each.slot, each.stack_dump))
        self._active.clear()

    def _report_stuck(self) -> None:
        now = self._clock.monotonic_ns()
        for each in self._active:
            if not each.told_stuck and now - each.since_ns > self._stuck_ns:
                each.told_stuck = True
                self._mailbox.post(Stuck(each.slot))


def _wait_for_deaths(pidfds: list[int]) -> None:
    """Until they are dead or a short while has passed: a look before that would only find them."""
    poller = select.poll()
    for pidfd in pidfds:
        poller.register(pidfd, select.POLLIN)
    left = len(pidfds)
    while left and (dead := poller.poll(_LONG_SECONDS * 1000)):
        for pidfd, _event in dead:
            poller.unregister(pidfd)
        left -= len(dead)


def stopped(pid: int) -> bool:
    """Whether a worker is stopped by a signal: it could not dump its stacks, and waiting for that makes a kill late."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"T", "t"}
    except OSError:
        return False


def require_listing_of_children() -> None:
    """Raise UnsupportedKernelError where the kernel cannot list them: every tree would look clean."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        raise UnsupportedKernelError


def own_children() -> set[int]:
    """The pids of all children of this process, zombies included (proc(5), task/TID/children)."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


def open_child(pid: int) -> int | None:
    """A pidfd of an unreaped child of ours, whose pid cannot have been recycled; None if this is no such child."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return os.pidfd_open(pid)
    except (OSError, OverflowError):
        return None


def kill_and_reap(pid: int) -> None:
    """End an unreaped child of ours; its pid cannot have been recycled.

    What a handler started through sudo(8) may be out of our reach; it stays a stray, and people are told.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def end_group(leader: int) -> None:
    """Kill the process group of a child that is dead but not reaped, so that nobody else can have its number yet.

    The kernel does that in one step between two forks (kill(2); fork(2) restarts where a signal to its group comes in,
    since Linux 4.19), so it also ends what forks without a pause. What has left the group is found by looking.
    """
    if leader <= 0:
        return  # which would mean our own
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _send(pidfd: int | None, number: signal.Signals) -> None:
    if pidfd is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(pidfd, number)
