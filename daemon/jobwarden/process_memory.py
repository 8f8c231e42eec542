"""How much memory processes have, and which are below which, from /proc (proc(5)).

Workers ask about themselves and what they started, the supervisor about its workers. Counted is what only these
processes can give back: anonymous pages, shared memory, and what of them was swapped out. Pages of mapped files are
not: the kernel drops them when it needs room.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def tree_of(pid: int, *, most: int) -> list[int]:
    """This process and everything below it, itself first; no more than `most`."""
    found = [pid]
    for each in found:  # grows as it goes
        found.extend(_children_of(each))
        if len(found) >= most:
            return found[:most]
    return found


def _children_of(pid: int) -> Iterator[int]:
    """Each thread has its own children (proc(5)); what has ended meanwhile has none."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are wanted, not paths
            with contextlib.suppress(OSError):
                yield from map(int, read(f"/proc/{pid}/task/{task}/children").split())


def read(path: str) -> bytes:
    """All of a file of /proc. Raises OSError: its process is gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while piece := os.read(descriptor, _READ_BYTES):
            data += piece
        return data
    finally:
        os.close(descriptor)


def _sum(wanted: re.Pattern[bytes], path: str) -> int:
    return sum(map(int, wanted.findall(read(path))))
