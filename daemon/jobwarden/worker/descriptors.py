"""Where a worker keeps its own descriptors: high up, out of the way of user code that closes and reuses low numbers."""

from __future__ import annotations

import fcntl
import os
import resource
import select
from functools import cache

LOWEST_PRIVATE = 900
_ROOM = 32
_UNLIMITED = 2**20


def move_up(descriptor: int) -> int:
    """A duplicate at `LOWEST_PRIVATE` or above (lower only under a tiny RLIMIT_NOFILE), not inherited by exec."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _lowest_private(_limit()))


def are_scarce() -> bool:
    """Whether so many are open that the next job might get none: the number at three quarters of the limit is in use.

    The kernel gives out the lowest free number (open(2)), so whoever has few open has low ones. About a microsecond.
    """
    limit = _limit()
    mark, private = limit * 3 // 4, _lowest_private(limit)
    found = _look_at(private - 1 if private <= mark < private + _ROOM else mark).poll(0)
    return not found or not found[0][1] & select.POLLNVAL


@cache
def _look_at(number: int) -> select.poll:
    """Asks the kernel whether this number is open (poll(2), POLLNVAL), without an exception that would cost more."""
    look = select.poll()
    look.register(number, 0)
    return look


def open_descriptors() -> set[int]:
    """The numbers of all open descriptors of this process."""
    # The listing shows the descriptor that it is read through, which is closed by the time it is looked at here.
    names = os.listdir("/proc/self/fd")  # noqa: PTH208 - numbers are wanted, not paths
    return {number for number in map(int, names) if _is_open(number)}


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor above 2 that is not in `kept`."""
    for descriptor in open_descriptors() - kept - {0, 1, 2}:
        os.close(descriptor)


def _limit() -> int:
    """How many descriptors this process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit


def _lowest_private(limit: int) -> int:
    return max(3, min(LOWEST_PRIVATE, limit - _ROOM))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
