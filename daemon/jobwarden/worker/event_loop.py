"""The event loop on which a worker runs async handlers; made once and kept, so that clients and pools may be too.

Imported only where some handler is async: asyncio is a third of what a template has to import. The template runs the
loop once before it forks, because what asyncio builds on first use would otherwise be private to each worker.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from jobwarden.worker.stop import SoftStop


def warm_up() -> None:
    """For the template: one round on a loop that is closed again."""
    asyncio.run(asyncio.sleep(0))


class EventLoop:
    """One per worker. A handler that closes it has the next one run on a new loop."""

    def __init__(self) -> None:
        self._loop = asyncio.Runner().get_loop()

    def run(self, coroutine: Coroutine[object, object, object], *, stop: SoftStop) -> object:
        """The coroutine's value. A soft stop cancels it, and comes out as JobTimeout or JobCancelled."""
        if self._loop.is_closed():
            self._loop = asyncio.Runner().get_loop()
        task = self._loop.create_task(coroutine)
        stop.task = task
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            if stop.armed is not None:
                stop.raise_if_stopped(stop.armed)
            raise
        finally:
            try:
                self._cancel_leftovers()
            finally:
                stop.task = None

    def close(self) -> None:
        """As `asyncio.run` does at its end."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
        asyncio.set_event_loop(None)

    def _cancel_leftovers(self) -> None:
        """Tasks that the handler started and did not await end with it."""
        leftovers = asyncio.all_tasks(self._loop)
        if leftovers:
            for task in leftovers:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*leftovers, return_exceptions=True))
