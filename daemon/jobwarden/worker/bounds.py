"""What a worker and its jobs may use of the machine, as far as the kernel itself can watch over it.

The limits are set once, when the worker settles, and hold for everything that a job starts. They are the near fence:
an allocation beyond it fails at once, in the line that asked for it. What the processes of a job use together is
measured by the supervisor (`supervisor/meter.py`), which ends the job. Nothing here ends anything. Runs in the worker.
"""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

from jobwarden.process_memory import address_space_kb, memory_kb, tree_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobwarden.wire.template_terms import WorkerBounds

_KB, _MB = 1024, 1024 * 1024
_SPARE_BYTES = 64 * _MB
"""RLIMIT_DATA counts address space: the stacks of eight threads are as much, and hardly any of it is ever memory."""
_MOST_HELPERS = 256
"""Processes below each one that a hook has started."""
_LAST_ROOM_BYTES = 16 * _MB
"""What a worker may still allocate to tell of a job that ran out of memory; it takes no further job then."""


class Bounds:
    """The bounds of one worker. Reads and sets limits of the process that it is called in."""

    def __init__(self, wanted: WorkerBounds) -> None:
        """Nothing is set yet."""
        self._wanted = wanted

    @property
    def memory_limit(self) -> str:
        """For the message about a job that ran out of it."""
        return f"memory_limit_mb allows {(self._wanted.memory_limit_bytes or 0) // _MB}"

    def set(self) -> None:
        """Have the kernel keep them, for this process and whatever it starts. Once, after the worker's descriptors."""
        wanted = self._wanted
        if wanted.memory_limit_bytes is not None:
            # On top of what it was born with: a template may have loaded more than one job may use.
            most = address_space_kb() * _KB + wanted.memory_limit_bytes + _SPARE_BYTES
            _lower(resource.RLIMIT_DATA, most, hard=most + _LAST_ROOM_BYTES)
        if wanted.max_open_files is not None:
            _lower(resource.RLIMIT_NOFILE, wanted.max_open_files)
        if wanted.user_processes is not None:
            _lower(resource.RLIMIT_NPROC, wanted.user_processes)

    def ran_out(self, error: BaseException) -> bool:
        """Whether the job has failed at its memory limit. Then its worker gets what it needs to say so.

        Where there is no limit, a MemoryError is an error of the handler like any other.
        """
        if self._wanted.memory_limit_bytes is None or not _is_memory_error(error):
            return False
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        return True

    def overran(self, peak_kb: int) -> bool:
        """Whether the executable of a failed job, which has used so much, has failed at the memory limit.

        Until it was exec'd it was this very process, whose own peak the kernel ascribes to it as well (getrusage(2)).
        """
        limit, own_kb = self._wanted.memory_limit_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return limit is not None and peak_kb > own_kb and peak_kb * _KB >= limit

    def memory_kb(self, helpers: Collection[int]) -> int:
        """What this process and those that its hooks started have in memory now.

        0 where nobody wants to know: a read costs as much as a tiny job.
        """
        if not self._wanted.measured:
            return 0
        return memory_kb() + sum(_memory_kb(pid) for helper in helpers for pid in _tree_of(helper))


def processes_of(helpers: Collection[int]) -> int:
    """This process, those that its hooks started, and all below them."""
    return 1 + sum(len(_tree_of(helper)) for helper in helpers)


def _tree_of(helper: int) -> list[int]:
    return tree_of(helper, most=_MOST_HELPERS)


def _memory_kb(pid: int) -> int:
    with contextlib.suppress(OSError):  # it has just ended
        return memory_kb(pid)
    return 0


def _is_memory_error(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):  # as asyncio.TaskGroup raises it
        return error.subgroup(MemoryError) is not None
    return isinstance(error, MemoryError)


def _lower(which: int, most: int, *, hard: int | None = None) -> None:
    """Never above what is allowed already: only a privileged process might raise that."""
    _, allowed = resource.getrlimit(which)
    hard = most if hard is None else hard
    if allowed != resource.RLIM_INFINITY:
        hard = min(hard, allowed)
    resource.setrlimit(which, (min(most, hard), hard))
