"""With which variables a process was started, and where a path leads it: also if it is another user's.

The kernel shows both to the same user only, or to CAP_SYS_PTRACE (proc(5), ptrace(2)), which root in a container and a
daemon with a few capabilities do not have. So for the users as whom pools run, `runas` looks as one of them. Decides
and ends nothing; used by the sweep.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.supervisor.interpreter import run_as

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jobwarden.supervisor.identity import Identity

_LONGEST_SECONDS = 10.0
_TRIES = 5
"""The killer may take the one that looks for a stray."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one process shows."""

    pid: int
    block: tuple[bytes, ...]
    """`NAME=value`, as it was started."""
    place: tuple[int, int] | None
    """Device and inode of the folder that was asked for, as this process finds it; None if it does not."""


def look_at(pids: Iterable[int], *, place: Path, users: Sequence[Identity]) -> Iterator[View]:
    """All that can be seen; what is gone, or nobody's of ours, is left out."""
    hidden: dict[int, list[int]] = {}
    for pid in pids:
        try:
            block = Path(f"/proc/{pid}/environ").read_bytes()
        except PermissionError:
            hidden.setdefault(_owner(pid), []).append(pid)
        except OSError:
            continue
        else:
            yield View(pid=pid, block=tuple(block.split(b"\0")), place=inode_of(Path(f"/proc/{pid}/root{place}")))
    for user in users:
        if user.uid in hidden:
            yield from _look_as(user, hidden.pop(user.uid), place=place)


def _look_as(user: Identity, pids: list[int], *, place: Path) -> Iterator[View]:
    command = [*run_as("peek", user), str(place), *map(str, pids)]
    problem = ""
    for _ in range(_TRIES):
        try:
            # Another program, and not a fork of us: the supervisor has threads.
            answer = subprocess.run(command, env={}, capture_output=True, timeout=_LONGEST_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
            continue
        *lines, end = answer.stdout.split(b"\n")[:-1] or [b""]
        if end == b"end":
            yield from map(_read, lines)
            return
        problem = answer.stderr.decode(errors="replace").strip() or f"exit code {answer.returncode}"
    events.emit(events.Alerted(text=f"what a dead daemon left as the user {user.name} cannot be looked for: {problem}"))


def _read(line: bytes) -> View:
    pid, device, inode, block = line.split(b" ")
    place = None if device == b"-" else (int(device), int(inode))
    return View(pid=int(pid), block=tuple(bytes.fromhex(block.decode()).split(b"\0")), place=place)


def _owner(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return -1


def inode_of(path: Path) -> tuple[int, int] | None:
    """Device and inode, by which a folder is known under all its names."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
