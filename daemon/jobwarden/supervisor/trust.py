"""The trust window: until when this node may believe that its jobs are its own (design section 7).

Written to the page that keeper, templates and workers share. Where nodes may be anywhere, the lease opens it after
each good renewal, and shuts it when the node's row is gone. Where they share a kernel, the thread here extends it and
does nothing else (decision 001): it must touch no file and no database, because a disk that stalls says nothing about
the right to jobs, which is an flock there. If the whole process is stopped or hangs with the interpreter held, that
thread does too, and the keeper acts.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS
from jobwarden.supervisor.signs import Sign
from jobwarden.wire.page import TRUSTED_UNTIL

if TYPE_CHECKING:
    from jobwarden.clock import Clock
    from jobwarden.wire.page import SharedPage

_EXTENSIONS_PER_LEASE = 30
_PAST_NS = 1
"""A moment that has passed on any machine; 0 would mean that nothing was begun."""


def margin_seconds(lease_seconds: float) -> float:
    """What lies between the end of trust and the end of the lease (design §7)."""
    return max(1.0, lease_seconds / 4)


class TrustWindow:
    """The word on the page, and how far ahead it may lie."""

    def __init__(self, page: SharedPage, *, lease_seconds: float) -> None:
        """The window is the lease less its margin."""
        self._page = page
        self._length_ns = int((lease_seconds - margin_seconds(lease_seconds)) * SECOND_NS)

    def open(self, *, since_ns: int) -> None:
        """Trust lasts for one window from this moment of CLOCK_BOOTTIME on: the start of a good renewal."""
        self._page[TRUSTED_UNTIL] = since_ns + self._length_ns

    def shut(self) -> None:
        """Nothing is ours any more."""
        self._page[TRUSTED_UNTIL] = _PAST_NS


class Trust(threading.Thread):
    """Extends the window until `leave`, for a store whose nodes share one kernel."""

    def __init__(self, window: TrustWindow, *, lease_seconds: float, clock: Clock) -> None:
        super().__init__(name="trust", daemon=True)
        self.sign = Sign(clock)
        self._window = window
        self._pause = lease_seconds / _EXTENSIONS_PER_LEASE
        self._clock = clock
        self._left = threading.Event()

    def leave(self) -> None:
        """Stop; only when the last worker is gone."""
        self._left.set()

    def run(self) -> None:
        """Extend at each turn."""
        while not self.sign.rest(self._left, seconds=self._pause):
            self._window.open(since_ns=self._clock.boottime_ns())
