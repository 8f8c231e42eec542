"""A real daemon: what it logs of jobs, and that neither noise at its doors nor a newer schema costs it anything."""

from __future__ import annotations

import os
import random
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from jobwarden.wire.desk import SOCKET_NAME
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.waiting import eventually

HANDLER = """
from jobwarden import handler

@handler("talk")
def talk(payload):
    print("first", payload)
    print("second", flush=True)
    if payload == "fail":
        raise RuntimeError("as it was told")
    return payload
"""


def test_a_daemon_logs_what_jobs_print_and_serves_on_under_noise_and_a_newer_schema(site: Site) -> None:
    """Output in the log if wanted, with the job's id and type; rings, questions and columns that nobody knows."""
    (handlers := site.folder / "handlers").mkdir()
    (handlers / "talk.py").write_text(HANDLER)
    (config := site.folder / "config.toml").write_text("log_job_output = true\n")
    daemon = site.start(handlers=handlers, config=config)

    assert site.await_end(site.client.add_job("talk", "ok")).output == "ok"
    printed = daemon.wait_for("job_printed", job_id=1)
    assert (printed["job_type"], printed["fence"], printed["text"]) == ("talk", 1, "first ok\nsecond\n")
    site.await_end(site.client.add_job("talk", "fail", max_attempts=1))
    ended = daemon.wait_for("attempt_ended", job_id=2)
    assert (ended["job_type"], ended["outcome"]) == ("talk", "failed")

    make_noise(daemon, site)
    add_columns(site.database)
    assert site.await_end(site.client.add_job("talk", "still")).output == "still"
    assert daemon.events("alerted") == []


def make_noise(daemon: Daemon, site: Site) -> None:
    """At its doorbell and its desk."""
    chance = random.Random(1)
    (bell,) = eventually(lambda: list(site.database.with_name("jobs.db.doorbell").glob("node-*.sock")), what="a bell")
    before = daemon.descriptor_count()
    with short(bell) as address, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringer:
        ringer.settimeout(30)
        for _ in range(2_000):
            ringer.sendto(chance.randbytes(chance.choice((0, 1, 64, 5_000))), address)
    with short(site.folder / "state" / SOCKET_NAME) as address:
        for _ in range(200):
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(30)
                caller.connect(address)
                with suppress(ConnectionError):  # it may have hung up on the first bytes
                    caller.sendall(chance.randbytes(chance.randrange(1, 60)))
                    caller.shutdown(socket.SHUT_WR)
                    caller.recv(65_536)
    eventually(lambda: daemon.descriptor_count() <= before, what="the callers' descriptors are given back")


@contextmanager
def short(path: Path) -> Iterator[str]:
    """The address of this socket. One has 108 bytes and a path may be longer: its folder is named by a descriptor."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def add_columns(database: Path) -> None:
    """As a later version's migration that only adds does, while this one works."""
    with closing(sqlite3.connect(database, timeout=30)) as opened, opened:
        opened.execute("ALTER TABLE job ADD COLUMN of_later TEXT")
        opened.execute("ALTER TABLE event ADD COLUMN of_later TEXT")
        opened.execute("ALTER TABLE node ADD COLUMN of_later TEXT")
        opened.execute("CREATE TABLE of_later (id INTEGER PRIMARY KEY)")
        opened.execute("UPDATE alembic_version SET version_num = '7777'")
