"""Waits for a store that is away while the supervisor starts: a server that boots later must not end the daemon.

What will not pass by itself (a password, a name, a schema) is an error at once. Each try has a thread of its own, so
that TERM ends the wait at once: looking up a host's name cannot be interrupted. Used by `serving` and `service`.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from jobwarden import events
from jobwarden.clock import SECOND_NS, SECOND_US
from jobwarden.errors import CommitUnknownError, StoreUnavailableError
from jobwarden.wire.page import ALIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.clock import Clock
    from jobwarden.errors import StoreError
    from jobwarden.supervisor.systemd import Notifier
    from jobwarden.wire.page import SharedPage

_BEAT_SECONDS = 0.5
"""Between two signs of life, to the keeper and to the service manager."""
_PAUSE_SECONDS = 1.0
"""Between two tries."""
_TELL_NS = 60 * SECOND_NS
"""Between two lines in the log."""
_EXTENSION_USEC = 30 * SECOND_US

_Result = TypeVar("_Result")


class Awaiting:
    """One per start."""

    def __init__(self, notifier: Notifier, *, page: SharedPage, clock: Clock, waits: bool) -> None:
        """`waits` is false for an errand: whoever started it is told at once."""
        self._waits = waits
        self._notifier = notifier
        self._page = page
        self._clock = clock
        self._told_ns: int | None = None
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="start")

    def until_done(self, act: Callable[[], _Result]) -> _Result:
        """What `act` returns, once the store lets it. Raises what does not pass: StoreError, JobwardenError."""
        while True:
            try:
                result = self._try(act)
            except (StoreUnavailableError, CommitUnknownError) as error:
                if not (self._waits and getattr(error, "passes", True)):
                    raise
                self._tell(error)
                self._rest()
            else:
                self._note_success()
                return result

    def _try(self, act: Callable[[], _Result]) -> _Result:
        done = self._threads.submit(act)
        while not wait([done], timeout=_BEAT_SECONDS).done:
            self._beat()
        return done.result()

    def _rest(self) -> None:
        until_ns = self._clock.monotonic_ns() + int(_PAUSE_SECONDS * SECOND_NS)
        pause = threading.Event()
        while (left_ns := until_ns - self._clock.monotonic_ns()) > 0:
            self._beat()
            pause.wait(min(left_ns / SECOND_NS, _BEAT_SECONDS))

    def _beat(self) -> None:
        self._page[ALIVE] = self._clock.monotonic_ns()
        self._notifier.tell(f"EXTEND_TIMEOUT_USEC={_EXTENSION_USEC}")

    def _tell(self, error: StoreError) -> None:
        self._notifier.tell(f"STATUS=waits for the database: {error}")
        now_ns = self._clock.monotonic_ns()
        if self._told_ns is None or now_ns - self._told_ns >= _TELL_NS:
            self._told_ns = now_ns
            events.emit(events.StoreAway(problem=str(error)))

    def _note_success(self) -> None:
        self._page[ALIVE] = 0  # what comes before the loop's first turn may take its time
        if self._told_ns is not None:
            self._told_ns = None
            events.emit(events.StoreBack(kept=0))
