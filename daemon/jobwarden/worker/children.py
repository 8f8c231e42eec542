"""What a finished job leaves behind: live child processes are named, dead ones are reaped. Runs in the worker.

The worker is child subreaper, so everything that a handler ever started ends up among its children.
"""

from __future__ import annotations

import os
from pathlib import Path

MOST_NAMED = 20
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Children:
    """Of one worker. What lives when its first job begins (a helper that `on_worker_start` started) is its own."""

    def __init__(self) -> None:
        self._own = frozenset(_live_children()) if _any() and _reap() else frozenset[int]()

    @property
    def own(self) -> frozenset[int]:
        """The pids of the worker's own, as far as they live."""
        return self._own

    def left_behind(self) -> list[str]:
        """`name (pid)` of each live child of the last job, at most `MOST_NAMED`; mostly none. Reaps what is dead."""
        if not _any() or not _reap():
            return []
        alive = _live_children()
        self._own = self._own.intersection(alive)
        return [_name(pid) for pid in alive if pid not in self._own][:MOST_NAMED]


def _any() -> bool:
    """About a microsecond, and nearly always there is none."""
    try:
        os.waitid(os.P_ALL, 0, _LOOK)
    except ChildProcessError:
        return False
    return True


def _reap() -> bool:
    """Collect the dead; whether any child lives."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _live_children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return sorted(found)


def _name(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        name = "?"
    return f"{name} ({pid})"
