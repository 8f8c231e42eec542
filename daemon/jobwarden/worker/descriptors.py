"""Where a worker keeps its own descriptors: high up, out of the way of user code that closes and reuses low numbers."""

from __future__ import annotations

import fcntl
import os
import resource

LOWEST_PRIVATE = 900
_ROOM = 32


def move_up(descriptor: int) -> int:
    """A duplicate at `LOWEST_PRIVATE` or above (lower only under a tiny RLIMIT_NOFILE), not inherited by exec."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = LOWEST_PRIVATE if limit == resource.RLIM_INFINITY or limit > LOWEST_PRIVATE + _ROOM else limit - _ROOM
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(3, lowest))


def open_descriptors() -> set[int]:
    """The numbers of all open descriptors of this process."""
    # The listing shows the descriptor that it is read through, which is closed by the time it is looked at here.
    names = os.listdir("/proc/self/fd")  # noqa: PTH208 - numbers are wanted, not paths
    return {number for number in map(int, names) if _is_open(number)}


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor above 2 that is not in `kept`."""
    for descriptor in open_descriptors() - kept - {0, 1, 2}:
        os.close(descriptor)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
