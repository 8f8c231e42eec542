"""One cgroup for each worker, where a part of the tree was delegated: what a job starts can be ended in one stroke.

`cgroup.kill` ends all processes of a leaf, also those that are just being forked (cgroups(7)), and `cgroup.events`
proves that none is left. The worker waits at its latch until the usher, a thread, has put it into its leaf: before a
line of a handler file runs in it. It must not do that itself. Whoever holds a descriptor of `cgroup.procs` moves
*any* process of ours with the rights of whoever opened it (decision 025), and descriptors go through the template.
Leaves are made by the loop, admitted by the usher, killed and removed by the killer.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.supervisor.delegation import SLOT, remove

if TYPE_CHECKING:
    from pathlib import Path

CGROUP, TREE = "cgroup", "tree"
"""The kill levels: the cgroup at once; or the worker first, then its orphans, which holds against all but a fork bomb
that never pauses."""


class Leaf:
    """The cgroup of one worker. Its files are open from the start: a handler may change modes or use up descriptors."""

    def __init__(self, folder: Path) -> None:
        """Make it. Raises OSError."""
        self.sure = False
        """The worker is in it, and so is everything that the worker started."""
        self.entering = False
        """The usher has its pid in hand, so nobody may reap it: the number would be somebody else's."""
        self.folder = folder
        folder.mkdir()
        self._files: list[int] = []
        try:
            for name, mode in (("cgroup.procs", os.O_WRONLY), ("cgroup.kill", os.O_WRONLY), ("cgroup.events", 0)):
                self._files.append(os.open(folder / name, mode | os.O_CLOEXEC))
        except OSError:
            self.remove()
            raise

    def take_in(self, pid: int) -> None:
        """Move this unreaped child of ours into it. May take 20 ms, in the kernel. Raises OSError."""
        os.write(self._files[0], str(pid).encode())
        self.sure = True

    def kill(self) -> None:
        """End all that is in it, whoever's it is. A process that is being born in it dies as well."""
        with contextlib.suppress(OSError):
            os.write(self._files[1], b"1")

    def is_empty(self) -> bool:
        """Whether nothing in it, or in a cgroup below it, lives; what is dead but not reaped does not count."""
        try:
            return b"populated 0" in os.pread(self._files[2], 256, 0)
        except OSError:  # somebody has removed it, which goes only with an empty one
            return True

    def remove(self) -> None:
        """Remove it, empty as it is, with what a handler may have made below. What cannot be removed stays."""
        for file in self._files:
            os.close(file)
        self._files = []
        with contextlib.suppress(OSError):
            remove(self.folder)


class Usher(threading.Thread):
    """Takes newborn workers to their leaves, and opens their latches."""

    def __init__(self) -> None:
        super().__init__(name="usher", daemon=True)
        self._waiting: queue.SimpleQueue[tuple[Leaf, int, int]] = queue.SimpleQueue()
        self._told = False

    def admit(self, leaf: Leaf, *, pid: int, latch: int) -> None:
        """From the loop: this child of ours waits for the end of file that closing `latch` is."""
        leaf.entering = True
        self._waiting.put((leaf, pid, latch))

    def run(self) -> None:
        """Work for ever; the process ends with the thread in it."""
        while True:
            leaf, pid, latch = self._waiting.get()
            try:
                leaf.take_in(pid)
            except ProcessLookupError:  # it is dead already
                pass
            except OSError as error:
                self._tell(leaf, error)
            leaf.entering = False
            os.close(latch)

    def _tell(self, leaf: Leaf, error: OSError) -> None:
        """Once; `status` shows the kill level of each slot."""
        if not self._told:
            self._told = True
            text = f"a worker could not be moved to {leaf.folder}, so it is killed without cgroup.kill"
            events.emit(events.Alerted(text=f"{text}: {error.strerror}"))


class Leaves:
    """Makes the leaves of one daemon; without a delegated cgroup there are none."""

    def __init__(self, root: Path | None) -> None:
        """`root` is the cgroup that is ours to divide."""
        self.level = TREE if root is None else CGROUP
        """What kills reach, where nothing goes wrong."""
        self.usher = Usher()
        self._root = root
        self._told = False

    def make(self, slot: int) -> Leaf | None:
        """A leaf for this slot's worker; None where there cannot be one."""
        if self._root is None:
            return None
        try:
            return Leaf(self._root / f"{SLOT}{slot}")
        except OSError as error:
            if not self._told:
                self._told = True
                events.emit(events.Alerted(text=f"no cgroup for the worker of slot {slot}: {error.strerror}"))
            return None


def level_of(leaf: Leaf | None) -> str:
    """How far a kill of this worker reaches."""
    return CGROUP if leaf is not None and leaf.sure else TREE
