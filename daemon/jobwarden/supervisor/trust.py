"""The trust window of a store whose nodes share one kernel: a thread that does nothing but extend it (decision 001).

It must touch no file and no database: a disk that stalls says nothing about the right to jobs, which is an flock. If
the whole process is stopped or hangs with the interpreter held, this thread does too, and the keeper acts.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS
from jobwarden.wire.page import TRUSTED_UNTIL

if TYPE_CHECKING:
    from jobwarden.clock import Clock
    from jobwarden.wire.page import SharedPage

_EXTENSIONS_PER_LEASE = 30


def margin_seconds(lease_seconds: float) -> float:
    """What lies between the end of trust and the end of the lease (design §7)."""
    return max(1.0, lease_seconds / 4)


class Trust(threading.Thread):
    """Extends the window until `leave`."""

    def __init__(self, page: SharedPage, *, lease_seconds: float, clock: Clock) -> None:
        """The window is the lease less its margin."""
        super().__init__(name="trust", daemon=True)
        self._page = page
        self._window_ns = int((lease_seconds - margin_seconds(lease_seconds)) * SECOND_NS)
        self._pause = lease_seconds / _EXTENSIONS_PER_LEASE
        self._clock = clock
        self._left = threading.Event()

    def extend(self) -> None:
        """Write the end of the trust window, counted from now."""
        self._page[TRUSTED_UNTIL] = self._clock.boottime_ns() + self._window_ns

    def leave(self) -> None:
        """Stop; only when the last worker is gone."""
        self._left.set()

    def run(self) -> None:
        """Extend at each turn."""
        while not self._left.wait(self._pause):
            self.extend()
