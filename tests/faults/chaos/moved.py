"""The supervisor with a wall clock that somebody else moves: microseconds in the file that CHAOS_CLOCK names.

The other clocks stay: no administrator and no NTP daemon can set those. Started by the keeper (see `launch`).
"""

from __future__ import annotations

import mmap
import os
import runpy
import struct
from pathlib import Path

from jobwarden.clock import SYSTEM_CLOCK, Clock

VARIABLE = "CHAOS_CLOCK"
_FORM = "<q"
_SIZE = struct.calcsize(_FORM)


def move(path: Path, *, seconds: float) -> None:
    """Set the clocks that read this file so far from the true time. Called by the storm, in its own process."""
    if not path.exists():
        path.write_bytes(bytes(_SIZE))
    with path.open("r+b", buffering=0) as file:
        file.write(struct.pack(_FORM, int(seconds * 1_000_000)))


class MovedClock(Clock):
    """The machine's clocks, the wall clock so many microseconds away."""

    shift: mmap.mmap

    def now_us(self) -> int:
        """As everywhere."""
        return super().now_us() + int(struct.unpack_from(_FORM, self.shift)[0])


def _install(path: str) -> None:
    with Path(path).open("rb") as file:
        MovedClock.shift = mmap.mmap(file.fileno(), _SIZE, access=mmap.ACCESS_READ)
    SYSTEM_CLOCK.__class__ = MovedClock


if __name__ == "__main__":
    _install(os.environ[VARIABLE])
    runpy.run_module("jobwarden.supervisor", run_name="__main__")
