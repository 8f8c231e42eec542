"""The shared page: five 8-byte words that keeper, supervisor, templates and workers all map.

Each word has one writer and is written by one aligned 8-byte store, so no reader ever sees half a value.
`supervisor/keeper.py` repeats the layout, because it must run without importing this package; a test compares.
"""

from __future__ import annotations

import fcntl
import mmap

PAGE_BYTES = 4096
_F_SEAL_FUTURE_WRITE = 0x10
"""fcntl(2), since Linux 5.1; Python has no name for it."""

TRUSTED_UNTIL = 0
"""CLOCK_BOOTTIME ns; supervisor writes. Past it nothing may be dispatched or started, and the keeper kills."""
ALIVE = 1
"""CLOCK_MONOTONIC ns of the supervisor's last sign of life; 0 before its first."""
SWEEP_BEGAN = 2
"""CLOCK_BOOTTIME ns at which the keeper last began to kill what is below the supervisor; keeper writes."""
SWEEP_ENDED = 3
"""CLOCK_BOOTTIME ns at which it had finished."""
STOPPING = 4
"""1 once the supervisor leaves in order: a silent supervisor is then not a hung one."""


def seal(descriptor: int) -> None:
    """From now on nobody can write the page but who has mapped it already, whatever descriptor he gets hold of.

    A memfd may be opened anew for writing by everybody who has a descriptor of it, read-only or not
    (/proc/self/fd/N); a seal holds against that, against mprotect(2), and against root. Raises OSError.
    """
    seals = _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)


class SharedPage:
    """A view of the page behind a memfd; read-only for templates and workers."""

    def __init__(self, descriptor: int, *, writable: bool = False) -> None:
        """Map the page; the descriptor may be closed afterwards."""
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(descriptor, PAGE_BYTES, access=access)
        self._words = memoryview(self._map).cast("q")

    def __getitem__(self, word: int) -> int:
        """Read one word."""
        return self._words[word]

    def __setitem__(self, word: int, value: int) -> None:
        """Write one word; TypeError on a read-only view."""
        self._words[word] = value
