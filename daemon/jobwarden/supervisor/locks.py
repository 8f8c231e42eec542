"""The lock on the state directory: one daemon each.

A flock on a descriptor that `run` opens and that keeper and supervisor inherit, as they do the lock that is the
node's life (`store.life`); each is free when both processes are gone, that is, when no worker is left (R3).
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.errors import StateDirectoryTakenError

_TRY_EVERY_SECONDS = 0.05
_NAME = "lock"
_ALL_LOCKS = Path("/proc/locks")


def hold_state_directory(state_dir: Path, *, wait_seconds: float) -> int:
    """Lock the state directory; returns the inheritable descriptor. Raises StateDirectoryTakenError."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state_dir / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    until_ns = SYSTEM_CLOCK.monotonic_ns() + int(wait_seconds * SECOND_NS)
    while not _try(descriptor):
        if SYSTEM_CLOCK.monotonic_ns() >= until_ns:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "process unknown"
            os.close(descriptor)
            raise StateDirectoryTakenError(str(state_dir), holder)
        threading.Event().wait(_TRY_EVERY_SECONDS)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - the signature of os
    return descriptor


def identity_of(descriptor: int) -> str:
    """Device and inode of a locked file: with the boot id, what a node row names its state directory by."""
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}"


def holder_of(state_dir: Path) -> int | None:
    """The process that the kernel names as the holder of the directory's lock (proc(5), locks): a keeper.

    None: nobody has it, or nobody who can be seen from here. Asks for no lock: a daemon that just starts may want it.
    """
    try:
        inode = (state_dir / _NAME).stat().st_ino
        lines = _ALL_LOCKS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.replace(" -> ", " ").split()
        if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == inode:
            return int(fields[4]) or None
    return None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
