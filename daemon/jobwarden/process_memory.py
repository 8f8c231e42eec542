"""How much memory a process has, from /proc (proc(5)). The worker asks about itself, the supervisor about its workers.

Counted is what only this process or its relatives can give back: anonymous pages, shared memory, and what of them was
swapped out. Pages of mapped files are not: the kernel drops them when it needs room.
"""

from __future__ import annotations

import os
import re

_KEPT = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s*(\d+)", re.MULTILINE)
_SHARE = re.compile(rb"^(?:Pss_Anon|Pss_Shmem|SwapPss):\s*(\d+)", re.MULTILINE)
_DATA = re.compile(rb"^VmData:\s*(\d+)", re.MULTILINE)
_READ_BYTES = 8_192


def memory_kb(pid: int | str = "self") -> int:
    """What this process has, whoever it shares it with; 0 for a zombie. Raises OSError: it is gone."""
    return _sum(_KEPT, f"/proc/{pid}/status")


def memory_share_kb(pid: int) -> int:
    """The same, but of each page only this process's share: over all processes of a tree it adds up to the truth.

    The kernel walks all of its pages for that: a millisecond per 100 MB. Raises OSError: it is gone, or it belongs to
    somebody whose processes we may not look into.
    """
    return _sum(_SHARE, f"/proc/{pid}/smaps_rollup")


def address_space_kb() -> int:
    """What RLIMIT_DATA counts of this process: writable private mappings, touched or not."""
    return _sum(_DATA, "/proc/self/status")


def _sum(wanted: re.Pattern[bytes], path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return sum(map(int, wanted.findall(os.read(descriptor, _READ_BYTES))))
    finally:
        os.close(descriptor)
