"""A node's life beside a store whose nodes share one kernel: the flock on the node's own file.

Held by every process that answers for the node's jobs, and freed by the kernel when the last of them is gone (R3, R6):
free is death, held is life. Daemons hold it with their keeper; a client that takes jobs itself holds it alone. Never
judges by age.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from jobwarden.store.side_files import share_file

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX = ".lock"


def lock_path(folder: Path, node_id: str) -> Path:
    """The file whose flock is the life of this node; `folder` is the store's side folder `nodes`."""
    return folder / f"{node_id}{_SUFFIX}"


def lock_files(folder: Path) -> list[Path]:
    """The files of all nodes."""
    return list(folder.glob(f"*{_SUFFIX}"))


def hold_node(path: Path, *, inheritable: bool = False) -> int:
    """Make and lock the node's own file; returns the descriptor. Raises OSError.

    A copy of it keeps the node alive as well: `inheritable` lets it pass over exec, a fork always has it (close it
    there).
    """
    unborn = path.with_suffix(".new")  # others look at what bears the name, and must not see it free
    descriptor = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    share_file(descriptor, folder=path.parent)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unborn.rename(path)
    os.set_inheritable(descriptor, inheritable)
    return descriptor


def is_free(path: Path) -> bool:
    """Whether the file is there and nobody holds its lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # gone, another user's, or no descriptor is to be had: nothing was seen, so nobody is dead
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
