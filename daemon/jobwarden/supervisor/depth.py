"""Counts how many jobs wait in the store for this node's types, for the line that a service manager shows.

A thread of its own, started only where one listens, which ends with the process. It asks now and then, and only if this
node has written something since: an idle daemon asks nothing. A large number is not counted to its end.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jobwarden.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.clock import Clock
    from jobwarden.store import Store

MOST = 10_000
"""From here on it is not told how many more there are."""
_EVERY_SECONDS = 5.0


class Depth(threading.Thread):
    """Looks for ever."""

    def __init__(
        self, store: Store, *, types: Callable[[], set[str]], commits: Callable[[], int], clock: Clock
    ) -> None:
        """`types` gives what is served now, `commits` how often the ledger has written; both are called here."""
        super().__init__(name="depth", daemon=True)
        self.number: int | None = None
        """What was counted last; None: not known."""
        self._store = store
        self._types = types
        self._commits = commits
        self._clock = clock
        self._counted_at = -1
        self._pause = threading.Event()

    def run(self) -> None:
        """Rest, look, rest."""
        while True:
            self._pause.wait(_EVERY_SECONDS)
            self.look()

    def look(self) -> None:
        """Count, if it may be another number than the last time."""
        commits = self._commits()
        if commits == self._counted_at:
            return
        self._counted_at = commits
        try:
            self.number = self._store.ready.depth(self._types(), most=MOST, now_us=self._clock.now_us())
        except StoreError:  # the ledger says so
            self.number, self._counted_at = None, -1
