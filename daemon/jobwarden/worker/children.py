"""What a finished job leaves behind: live child processes are named, dead ones are reaped. Runs in the worker.

The worker is child subreaper, so everything that a handler ever started ends up among its children.
"""

from __future__ import annotations

import os
from pathlib import Path

MOST_NAMED = 20
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT


def left_behind() -> list[str]:
    """`name (pid)` of each live child, at most `MOST_NAMED`; empty when there is none. Reaps what is dead."""
    try:
        os.waitid(os.P_ALL, 0, _LOOK)  # about a microsecond, and nearly always the answer is ECHILD
    except ChildProcessError:
        return []
    return [_name(pid) for pid in _live_children()[:MOST_NAMED]] if _reap() else []


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
