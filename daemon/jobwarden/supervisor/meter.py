"""Measures what the processes of running jobs use: memory, CPU time, how many they are. A thread; decides nothing.

The pool asks for the attempts that it wants to know about and hears of each in a fact. A process costs one short read
of /proc; only where the cheap sum is over the limit is the exact one asked for, which walks the pages. In a thread,
because the kernel may keep such a read waiting for a process that is busy with its own memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from jobwarden.process_memory import memory_kb, memory_share_kb, read, tree_of
from jobwarden.supervisor.inputs import Measured

if TYPE_CHECKING:
    from jobwarden.supervisor.effects import Measure
    from jobwarden.supervisor.mailbox import Mailbox

_MS_PER_TICK = 1_000 // os.sysconf("SC_CLK_TCK")
_FIRST_TIME, _LAST_TIME = 11, 15
"""utime, stime, cutime, cstime in /proc/PID/stat, counted from behind the name (proc(5))."""


class Meter(threading.Thread):
    """Takes the pool's wishes, posts `Measured`. A wish that was not looked at yet is replaced by the next one."""

    def __init__(self, mailbox: Mailbox) -> None:
        """It begins with `start`; the process ends with the thread in it."""
        super().__init__(name="meter", daemon=True)
        self._mailbox = mailbox
        self._wanted: dict[int, Measure] = {}
        self._news = threading.Condition()

    def measure(self, wish: Measure) -> None:
        """From the loop: look at the tree of this worker soon."""
        with self._news:
            self._wanted[wish.slot] = wish
            self._news.notify()

    def run(self) -> None:
        """Work for ever."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._wanted)
                wishes, self._wanted = self._wanted, {}
            for wish in wishes.values():
                with contextlib.suppress(OSError):  # it is gone; the loop sees its death by itself
                    self._mailbox.post(measured(wish))


def measured(wish: Measure) -> Measured:
    """The tree of one worker as it is now. Raises OSError: the worker is gone."""
    pids = tree_of(wish.pid, most=wish.most)
    count = len(pids)
    memory = 0 if wish.enough_kb is None else _grown_kb(pids, wish)
    cpu = sum(map(_cpu_ms, pids)) if wish.cpu else 0
    return Measured(wish.slot, wish.attempt, memory_kb=memory, cpu_ms=cpu, processes=count)


def _grown_kb(pids: list[int], wish: Measure) -> int:
    """What the tree has beyond what its worker was born with: that belongs to the template and all other workers.

    What children share with the worker that forked them counts once. Where that cannot be looked at (processes of
    another user, and we may not trace them), each process counts in full.
    """
    each = [memory_kb(wish.pid), *map(_memory_kb, pids[1:])]
    grown = sum(each) - wish.born_kb
    if len(pids) == 1 or grown <= (wish.enough_kb or 0):
        return grown
    try:
        shared = memory_share_kb(wish.pid) + sum(map(_memory_share_kb, pids[1:]))
    except PermissionError:
        return grown
    return max(each[0], shared) - wish.born_kb


def _memory_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        return memory_kb(pid)
    return 0


def _memory_share_kb(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return memory_share_kb(pid)
    return 0


def _cpu_ms(pid: int) -> int:
    """Of the process and of those of its children that it has reaped; 0 if it is gone."""
    with contextlib.suppress(OSError):
        fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return sum(map(int, fields[_FIRST_TIME:_LAST_TIME])) * _MS_PER_TICK
    return 0
