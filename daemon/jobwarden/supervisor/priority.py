"""The priorities of a pool, at the processor and at the disk: given to each template at its start, inherited below it.

From the supervisor and not from the template, which may run as a user who is allowed less. A priority that the kernel
refuses is told and done without: the jobs matter more. Called by the launcher.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jobwarden import events

if TYPE_CHECKING:
    from jobwarden.settings.pool import PoolSettings


def set_priority(pid: int, *, pool: PoolSettings) -> None:
    """Of a process that has one thread and no child yet: priorities belong to threads (setpriority(2))."""
    if pool.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, pool.nice)
        except OSError as error:
            _tell(pool, "nice", error)
    if pool.io_priority is not None:
        _set_io_priority(pid, pool, level=pool.io_priority)


def _set_io_priority(pid: int, pool: PoolSettings, *, level: str) -> None:
    import psutil  # noqa: PLC0415 - two megabytes for those who want it

    kind, value = (psutil.IOPRIO_CLASS_IDLE, None) if level == "idle" else (psutil.IOPRIO_CLASS_BE, int(level))
    try:
        psutil.Process(pid).ionice(kind, value)
    except (OSError, psutil.Error) as error:
        _tell(pool, "io_priority", error)


def _tell(pool: PoolSettings, option: str, error: Exception) -> None:
    value = getattr(pool, option)
    text = f"pool {pool.name}: {option} = {value} is not in force ({error}); choose a more modest value, or give the "
    events.emit(events.Alerted(text=f"{text}daemon CAP_SYS_NICE"))
