"""Following what happens to all jobs: as an iterator of events, or through listeners called in a thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from jobwarden.client import arguments
from jobwarden.client.connected import Connected
from jobwarden.client.listeners import Listeners
from jobwarden.client.tracking import Track

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobwarden.client.listeners import Callback
    from jobwarden.jobs.history import FeedEvent


class Following(Connected):
    """Verbs that follow events."""

    def __init__(self, url: str | None) -> None:
        super().__init__(url)
        self._closing = threading.Event()
        self._listeners = Listeners(lambda: self.store)

    def events(
        self,
        after: str | None = None,
        *,
        follow: bool = False,
        idle_seconds: float | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[FeedEvent]:
        """What happened to all jobs, oldest first; each event has a `cursor`, to go on after it another time.

        Without `after` all that is stored; with `follow`, all that is committed from this call on, and the iterator
        waits for more ("begin" as `after` gives both). It ends when the client is closed, `stop` is set, nothing came
        for `idle_seconds`, or in a fork of this process. No event is missed, whoever commits at the same time; of a
        removed job none are left.
        """
        arguments.checked_stop(stop)
        track = self.track(after, follow=follow, idle_seconds=idle_seconds)
        return track.run(closing=self._closing, stop=stop)

    def on(self, name: str, callback: Callback) -> None:
        """Call `callback` for each event of this name that is committed from now on.

        Names: job:added, job:processing, job:completed, job:failed, job:cancelled, job:retried, job:waiting,
        job:progress, and job:error for what goes wrong here or in a listener. It gets a dict with jobId and jobType;
        for failed also error and willRetry, for progress also progress, for error the exception as error. All
        listeners of a client are called one after another in one thread, which ends with `close`; a fork has none.
        """
        self._listeners.add(name, callback, once=False)

    def once(self, name: str, callback: Callback) -> None:
        """As `on`, for the first such event only."""
        self._listeners.add(name, callback, once=True)

    def off(self, name: str, callback: Callback) -> None:
        """Call it no more for this name; nothing happens if it was not there."""
        self._listeners.remove(name, callback)

    def remove_all_listeners(self, name: str | None = None) -> None:
        """Call none of the listeners for this name, None: for all names, any more."""
        self._listeners.remove_all(name)

    def close(self) -> None:
        """Give the database connections back; iterators and listeners end."""
        self._closing.set()
        self._closing = threading.Event()
        self._listeners.close()
        super().close()

    def track(self, after: str | None, *, follow: bool, idle_seconds: float | None) -> Track:
        """What `events` goes along, for those who wait in another way."""
        return Track(
            self.store,
            after=arguments.checked_cursor(after, name="after"),
            follow=arguments.checked_flag(follow, name="follow"),
            idle_seconds=arguments.checked_seconds(idle_seconds, name="idle_seconds"),
        )

    def report(self, error: Exception, *, about: dict[str, Any]) -> None:
        """An error of a listener that is called elsewhere: to those of job:error."""
        self._listeners.report(error, during="listening", about=about)
