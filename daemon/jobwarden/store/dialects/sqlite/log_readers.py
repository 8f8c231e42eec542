"""Who reads an old state of the database and so keeps its log from being folded in: seen from outside.

Reads the head of the log's index (`-shm`, sqlite.org/walformat.html) and the kernel's locks. Only for a process that
has no connection to the database: closing the index here drops the locks of its own SQLite (fcntl(2)).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCKS = Path("/proc/locks")

_HEAD = struct.Struct("=16xI76xI5I")
"""mxFrame of the first copy of the header; then nBackfill and the five read marks."""
_FIRST_READ_LOCK, _READ_LOCKS = 123, 5
_LOCK_FIELDS = 8


class Log(NamedTuple):
    """The log as its index describes it, in frames of one page each."""

    frames: int
    folded: int
    """Those that are already in the database."""
    readers: list[int]
    """Processes that read a state before the newest."""


def look(database: Path) -> Log | None:
    """The log of this database; None if there is none, or it cannot be read."""
    index = Path(f"{database}-shm")
    try:
        with index.open("rb") as file:
            head = file.read(_HEAD.size)
            inode = os.fstat(file.fileno()).st_ino
    except OSError:
        return None
    if len(head) < _HEAD.size:
        return None
    frames, folded, *marks = _HEAD.unpack(head)
    old = {number for number, mark in enumerate(marks) if number and mark < frames}
    # Mark 0 is for readers of a log that was wholly folded in when they began.
    old |= {0} if folded < frames else set()
    return Log(frames, folded, sorted({pid for pid, number in _held(inode) if number in old}))


def _held(inode: int) -> Iterator[tuple[int, int]]:
    """(process, number of the read mark) of each shared lock on the index (proc(5), locks)."""
    try:
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.replace(" -> ", " ").split()
        if len(fields) < _LOCK_FIELDS or fields[1] != "POSIX" or fields[3] != "READ":
            continue
        if int(fields[5].rpartition(":")[2]) != inode:
            continue
        last = _FIRST_READ_LOCK + _READ_LOCKS - 1 if fields[7] == "EOF" else int(fields[7])
        first = int(fields[6])
        for number in range(_READ_LOCKS):
            if first <= _FIRST_READ_LOCK + number <= last:
                yield int(fields[4]), number


def name_of(pid: int) -> str:
    """The process for people; its arguments are nobody's business."""
    try:
        title = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({title})"
