"""The only place that reads clocks.

Wall time is an integer of microseconds since the epoch, UTC (`_us`); it is stored and shown, never compared
between machines to judge life and death. Durations inside one machine use CLOCK_MONOTONIC, trust windows
CLOCK_BOOTTIME (it counts suspend), both in nanoseconds (`_ns`). See clock_gettime(2).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

SECOND_US = 1_000_000
SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000
MILLISECOND_US = 1_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock:
    """The machine's clocks; tests hand over a subclass that they set by hand."""

    def now_us(self) -> int:
        """Wall time in microseconds since the epoch."""
        return time.time_ns() // 1_000

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC; the same for all processes of this machine since boot."""
        return time.monotonic_ns()

    def thread_ns(self) -> int:
        """CPU time of the calling thread."""
        return time.thread_time_ns()

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME: like monotonic, but suspended time counts (Linux)."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


SYSTEM_CLOCK = Clock()


def to_datetime(us: int) -> datetime:
    """Wall microseconds as an aware UTC datetime, without a float in between."""
    return _EPOCH + timedelta(microseconds=us)


def to_us(moment: datetime) -> int:
    """An aware datetime as wall microseconds; raises ValueError for a naive one."""
    if moment.tzinfo is None:
        message = "a date without a time zone; add one, for example +00:00"
        raise ValueError(message)
    return (moment - _EPOCH) // _MICROSECOND
