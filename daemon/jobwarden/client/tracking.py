"""A track through the events of all jobs: what comes after a cursor, batch by batch, and when to stop waiting for more.

Woken as `waiting` is: by the doorbell, with a slow look for what nobody rings about. The order, and that none is
missed, is the matter of `store.feed`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jobwarden.client import waiting
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from jobwarden.jobs.history import FeedEvent
    from jobwarden.store.store import Store

BEGIN = ("", "begin")
BATCH = 500


class Track:
    """Where a follower is. Used by one thread at a time."""

    def __init__(self, store: Store, *, after: str | None, follow: bool, idle_seconds: float | None) -> None:
        """Begins at this moment: what is committed later is found, also if nobody reads yet."""
        self._store = store
        self._follow = follow
        self._idle_ns = None if idle_seconds is None else int(idle_seconds * SECOND_NS)
        self._owner_pid = os.getpid()
        self._silent_since_ns = SYSTEM_CLOCK.monotonic_ns()
        self._cursor: str | None = None if after in BEGIN else after
        if after is None and follow:
            self._cursor = store.feed.now()

    def run(self, *, closing: threading.Event, stop: threading.Event | None) -> Iterator[FeedEvent]:
        """Each event, until it is time to stop."""
        with waiting.listening(self._store) as ear:
            while not self._over(closing, stop):
                found = self.next_batch()
                for event in found:
                    self.advance(event)
                    yield event
                    if self._over(closing, stop):
                        return
                if not found:
                    if self.finished:
                        return
                    waiting.listen(ear, seconds=self.next_wait_seconds)

    def next_batch(self) -> list[FeedEvent]:
        """What comes next, at most `BATCH`; the track goes on after it once `advance` was called."""
        found = self._store.feed.after(self._cursor, limit=BATCH)
        if found:
            self._silent_since_ns = SYSTEM_CLOCK.monotonic_ns()
        return found

    def advance(self, event: FeedEvent) -> None:
        """This one has been handed on."""
        self._cursor = event.cursor

    @property
    def finished(self) -> bool:
        """Whether nothing more is waited for, after a batch that was empty."""
        return not self._follow or (self._idle_ns is not None and self._silent_ns >= self._idle_ns)

    @property
    def next_wait_seconds(self) -> float:
        """How long to listen before the next look."""
        if self._idle_ns is None:
            return waiting.SAFETY_LOOK_SECONDS
        left_seconds = max(self._idle_ns - self._silent_ns, 0) / SECOND_NS
        return min(left_seconds, waiting.SAFETY_LOOK_SECONDS)

    @property
    def _silent_ns(self) -> int:
        return SYSTEM_CLOCK.monotonic_ns() - self._silent_since_ns

    @property
    def abandoned(self) -> bool:
        """Whether this is a fork of the process that began it: its connections are not ours."""
        return self._owner_pid != os.getpid()

    def _over(self, closing: threading.Event, stop: threading.Event | None) -> bool:
        return closing.is_set() or (stop is not None and stop.is_set()) or self.abandoned
