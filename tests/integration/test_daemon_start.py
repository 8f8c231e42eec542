"""What may happen to a daemon while it starts."""

from __future__ import annotations

import signal

from tests.support.site import Site
from tests.support.waiting import eventually


def test_a_reload_during_the_start_does_no_harm(site: Site) -> None:
    """From the moment it holds its state folder, SIGHUP never ends a daemon; one that comes too early is idle."""
    daemon = site.start(settled=False)
    lock = site.folder / "state" / "lock"
    eventually(lock.exists, what="the daemon holds its state folder")

    def reload_once_more() -> bool:
        assert daemon.running
        daemon.send(signal.SIGHUP)
        return bool(daemon.events("started"))

    eventually(reload_once_more, what="the daemon has started")
    daemon.await_workers(2)
    assert daemon.stop() == 0
