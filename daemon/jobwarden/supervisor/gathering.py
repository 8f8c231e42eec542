"""What waits to be written: the ledger's queue, and the ways in which it waits for more. Holds no policy.

Many threads put entries in, the ledger's thread takes them out. Nothing is ever dropped here.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS

if TYPE_CHECKING:
    from jobwarden.clock import Clock
    from jobwarden.supervisor.entries import Entries
    from jobwarden.supervisor.signs import Sign


class Gathering:
    """One per ledger."""

    def __init__(self, clock: Clock, sign: Sign) -> None:
        """Empty. `sign` is that of the ledger's thread."""
        self._sign = sign
        self.leaving = False
        """Nothing more will be put in: the end was taken out."""
        self._clock = clock
        self._queue: queue.SimpleQueue[Entries | None] = queue.SimpleQueue()

    def put(self, entries: Entries) -> None:
        """From any thread."""
        self._queue.put(entries)

    def end(self) -> None:
        """From any thread: this was the last."""
        self._queue.put(None)

    def wait(self, entries: Entries, *, seconds: float | None) -> bool:
        """Add the next that comes within this time (None: whenever it comes); whether one did."""
        try:
            with self._sign.waiting(seconds=seconds):
                came = self._queue.get(timeout=seconds)
        except queue.Empty:
            return False
        self._absorb(entries, came)
        return True

    def wait_until(self, entries: Entries, until_ns: int, *, enough: int | None = None) -> None:
        """Add all that comes until then (CLOCK_MONOTONIC); with `enough`, until there are so many or the end came."""
        while (left_ns := until_ns - self._clock.monotonic_ns()) > 0:
            if enough is not None and (self.leaving or len(entries) >= enough):
                return
            if not self.wait(entries, seconds=left_ns / SECOND_NS):
                return

    def take_all(self, entries: Entries) -> None:
        """Add all that is there."""
        try:
            while True:
                self._absorb(entries, self._queue.get_nowait())
        except queue.Empty:
            return

    def _absorb(self, entries: Entries, more: Entries | None) -> None:
        if more is None:
            self.leaving = True
        else:
            entries.absorb(more)
