"""What may happen to a daemon while it starts."""

from __future__ import annotations

import signal

import pytest

from tests.support.processes import children
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_stopped_as_it_starts_ends_cleanly(site: Site, number: signal.Signals) -> None:
    """However early it comes, TERM or Ctrl-C is no crash: exit code 0 and no traceback."""
    daemon = site.start(settled=False)
    eventually(lambda: children(daemon.keeper.pid), what="the supervisor's interpreter begins")
    daemon.send(number)
    assert daemon.wait() == 0
    assert "Traceback" not in daemon.shown_log()
