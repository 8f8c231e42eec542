"""What a real daemon tells its service manager in the course of its life (sd_notify(3)), and who hears none of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.clock import SYSTEM_CLOCK
from tests.support.postgresql import server
from tests.support.processes import children, lives, subreaper
from tests.support.proxy import Proxy
from tests.support.service_manager import Listener
from tests.support.site import Site

SECRETS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "INVOCATION_ID", "JOURNAL_STREAM")
PLAIN = """
import os
from jobwarden import handler

@handler("describe")
def describe(payload: dict) -> dict:
    return dict(os.environ)

@handler("gated")
def gated(payload: dict) -> None:
    open(payload["gate"] + ".started", "wb", buffering=0).write(b"1 1 1\\n")
    open(payload["gate"] + ".go", "rb", buffering=0).read(1)
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path / "notify")
    yield made
    made.close()


def under(manager: Listener) -> list[str]:
    """A command that is to become the daemon, with the variables that a service manager sets."""
    others = [f"{name}=none-of-yours" for name in SECRETS[3:]]
    return ["env", f"NOTIFY_SOCKET={manager.address}", "WATCHDOG_USEC=1000000", *others]


def environment(pid: int) -> set[str]:
    """The names of the variables with which a process began."""
    block = Path(f"/proc/{pid}/environ").read_bytes()
    return {entry.partition(b"=")[0].decode() for entry in block.split(b"\0")}


def test_the_life_of_a_daemon_as_its_service_manager_hears_of_it(site: Site, manager: Listener) -> None:
    """Ready, alive, reloading, broken, mended, stopping: in this order, each in one message with its status."""
    handlers = site.folder / "code"
    handlers.mkdir()
    (handlers / "plain.py").write_text(PLAIN)
    daemon = site.start(handlers=handlers, watch="off", before=under(manager))
    assert manager.await_line("READY=1")[1].startswith("STATUS=generation 1 serves 2 job types")
    assert not any("READY=1" in message for message in manager.heard[:-1])
    manager.await_line("WATCHDOG=1")

    began_ns = SYSTEM_CLOCK.monotonic_ns()
    (handlers / "plain.py").write_text(f"{PLAIN}\ndef broken(:\n")
    daemon.send(signal.SIGHUP)
    reloading, at = manager.await_line("RELOADING=1")
    assert (reloading, at.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    assert began_ns // 1_000 <= int(at.partition("=")[2]) <= SYSTEM_CLOCK.monotonic_ns() // 1_000
    assert "plain.py:" in "".join(manager.await_line("READY=1"))

    (handlers / "plain.py").write_text(PLAIN)
    daemon.send(signal.SIGHUP)
    manager.await_line("RELOADING=1")
    assert "plain.py:" not in "".join(manager.await_line("READY=1"))

    gate = site.gate()
    site.add("gated", gate)
    gate.await_arrival()
    daemon.send(signal.SIGTERM)
    told = ["STOPPING=1", "STATUS=stopping; 1 job still running", "EXTEND_TIMEOUT_USEC=15000000"]
    assert manager.await_line("STOPPING=1") == told
    assert manager.await_line("EXTEND_TIMEOUT_USEC") == ["EXTEND_TIMEOUT_USEC=15000000"]
    gate.let_go()
    assert daemon.wait() == 0
    assert not any("READY=1" in message for message in manager.rest())


def test_nobody_below_the_daemon_hears_of_the_service_manager(site: Site, manager: Listener) -> None:
    """A handler that knew the socket could fake readiness; the supervisor goes over the keeper as well."""
    handlers = site.folder / "code"
    handlers.mkdir()
    (handlers / "plain.py").write_text(PLAIN)
    daemon = site.start(handlers=handlers, before=under(manager))
    found = site.await_end(site.add("describe")).output
    assert isinstance(found, dict)
    assert [name for name in found if name in SECRETS] == []
    assert SECRETS[0] not in environment(daemon.supervisor)
    for pid in children(daemon.supervisor):
        assert not environment(pid).intersection(SECRETS)
    assert daemon.stop() == 0


def test_a_watchdog_signal_ends_the_daemon_and_the_next_one_runs_its_jobs(site: Site, manager: Listener) -> None:
    """SIGABRT goes to the keeper, also if the supervisor is stopped: it clears up before it is gone (R3)."""
    daemon = site.start(before=under(manager))
    gate = site.gate()
    job_id = site.add("gated", gate)
    gate.await_arrival()
    below = children(daemon.supervisor)
    os.kill(daemon.supervisor, signal.SIGSTOP)
    daemon.send(signal.SIGABRT)
    assert daemon.wait() == 70
    assert [pid for pid in below if lives(pid)] == []
    site.start()
    gate.await_arrival()
    gate.let_go()
    assert site.await_end(job_id).attempts == 1


def test_a_server_that_is_away_at_the_start_is_waited_for(tmp_path: Path, manager: Listener) -> None:
    """Inside the daemon: the status says why, time is asked for, the log has one line; the rest follows by itself."""
    with subreaper(), Proxy(f"{server().socket_dir}/.s.PGSQL.{server().port}") as proxy:
        site = Site(tmp_path, url=server().new_database())
        try:
            proxy.refuse()
            flags = {"database_url": proxy.url(site.url), "settled": False}
            waiting = site.start(**flags, state="other", before=under(manager))  # type: ignore[arg-type]
            manager.await_line("STATUS=waits for the database: postgresql")
            assert "EXTEND_TIMEOUT_USEC" in manager.await_line("EXTEND")[0]
            waiting.send(signal.SIGTERM)
            manager.await_line("STOPPING=1")
            assert waiting.wait() == 0

            daemon = site.start(**flags, before=under(manager))  # type: ignore[arg-type]
            manager.await_line("STATUS=waits for the database: postgresql")
            proxy.resume()
            manager.await_line("READY=1")
            assert len(daemon.events("store_away")) == 1
            daemon.wait_for("store_back")
            assert site.await_end(site.add("echo")).status == "completed"
            assert daemon.stop() == 0
        finally:
            proxy.resume()
            site.close()
