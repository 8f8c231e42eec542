"""Calls the `on_timeout` callbacks of a job with `forceKillOnTimeout` shortly before its limit, in a thread.

Such a job is killed at its limit, without a soft stop, so there is no later moment. Best effort: a thread that does
not get to run in time changes nothing. Only jobs that have both pay for it. Runs in the worker.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from jobwarden.clock import MILLISECOND_NS, SECOND_NS, SYSTEM_CLOCK
from jobwarden.worker.stop import call_all

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_LEAD_NS = SECOND_NS
_LEAD_SHARE = 10
_LONGEST_WAIT_SECONDS = 3600.0


class LimitWatch(threading.Thread):
    """One job's; it ends with the job, or when its callbacks asked for no more time."""

    def __init__(self, callbacks: list[Callable[[], None]], *, from_ns: int, ms: int) -> None:
        """The limit is `ms` after `from_ns` (CLOCK_MONOTONIC)."""
        super().__init__(name="jobwarden limit", daemon=True)
        self._callbacks = callbacks
        self._news: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        """New moments to call at, None for the end of the job. Its `put` may be interrupted by a signal handler."""
        self._at_ns: int | None = call_at_ns(from_ns, ms)

    def move(self, *, from_ns: int, ms: int) -> None:
        """The limit was moved to `ms` after `from_ns`."""
        self._news.put(call_at_ns(from_ns, ms))

    def end(self) -> None:
        """The job has ended."""
        self._news.put(None)

    def run(self) -> None:
        """Wait, call, wait again if the limit was moved."""
        while self._at_ns is not None:
            left = (self._at_ns - SYSTEM_CLOCK.monotonic_ns()) / SECOND_NS
            if left > 0:
                self._hear(min(left, _LONGEST_WAIT_SECONDS))
                continue
            self._at_ns = None
            call_all(self._callbacks)
            self._hear(0.0)
            if self._at_ns is None:
                self._at_ns = self._news.get()  # the handler itself may still ask for more

    def _hear(self, seconds: float) -> None:
        """Take the latest news, waiting so long for the first."""
        try:
            self._at_ns = self._news.get(timeout=seconds) if seconds else self._news.get_nowait()
            while self._at_ns is not None:
                self._at_ns = self._news.get_nowait()
        except queue.Empty:
            return


def call_at_ns(from_ns: int, ms: int) -> int:
    """When to call for a limit that is `ms` after `from_ns`: a tenth of it before, at most a second."""
    limit_ns = ms * MILLISECOND_NS
    return from_ns + limit_ns - min(LONGEST_LEAD_NS, limit_ns // _LEAD_SHARE)
