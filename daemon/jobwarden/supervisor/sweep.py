"""Once at start: end what an earlier daemon of this state directory may have left behind.

The state directory's lock is held, so no living daemon can own these processes. Finds only processes that kept the
environment that their template got; what forked without exec shows the template's block, which is the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from jobwarden.supervisor.launcher import NODE_MARKER, PLACE_MARKER


def sweep_leftovers(state_dir: Path, *, own_node: str) -> list[int]:
    """Kill every process that is marked with this state directory and another node; returns their pids."""
    place = f"{PLACE_MARKER}={state_dir.resolve()}".encode()
    mine = f"{NODE_MARKER}={own_node}".encode()
    killed = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _is_leftover(folder, place=place, mine=mine):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(folder.name), signal.SIGKILL)
                killed.append(int(folder.name))
    return killed


def _is_leftover(folder: Path, *, place: bytes, mine: bytes) -> bool:
    try:
        block = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return place in block and mine not in block
