"""Forks of programs that use the store: what a child adds is kept, and no child is locked out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobwarden.client import Client
from jobwarden.store import open_store
from tests.support.postgresql import server

LIMIT_SECONDS = 60

CLOSING = """
import gc, os, signal, sys
from jobwarden.client import Client, JobQueue
client = Client(sys.argv[1])
client.add_job("parent")
queue = JobQueue(client)
if sys.argv[2] == "queue":
    queue.dequeue()
    client.store.data_version()
reader, writer = os.pipe()
back_reader, back_writer = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(30)
    client.add_job("child", 1)
    os.write(back_writer, b"x")
    os.read(reader, 1)
    client.add_job("child", 2)
    os._exit(0)
os.read(back_reader, 1)
queue.close()
client.close()
gc.collect()
os.write(writer, b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

BUSY = """
import os, signal, sys, threading
from jobwarden.client import Client
from jobwarden.store import forks
from jobwarden.store.transactions import connected
client = Client(sys.argv[1])
client.add_job("parent")
dialect = client.store._dialect
begun = threading.Event()
def write():
    with connected(dialect, writing=True) as connection:
        connection.exec_driver_sql("UPDATE job SET priority = 1")
        begun.set()
        while forks._gate._forker is None:
            pass
thread = threading.Thread(target=write)
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    client.add_job("child")
    os._exit(0)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


LISTENING = """
import os, sys, time
from jobwarden.client import Client
client = Client(sys.argv[1])
heard = []
client.on("job:added", lambda event: heard.append(event["jobId"]))
while client.store.connection_mode != "notifications":
    pass
def bells():
    with client.store._dialect.engine.connect() as connection:
        ask = "SELECT pid FROM pg_stat_activity WHERE query ~ '^LISTEN' AND datname = current_database()"
        return connection.exec_driver_sql(ask).all()
before = bells()
for way in (sys.exit, os._exit):
    child = os.fork()
    if child == 0:
        client.add_job("child")
        client.close()
        way(0)
    assert os.waitpid(child, 0)[1] == 0
while len(heard) < 2:
    pass
assert bells() == before, (bells(), before)
client.close()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return migrated()


def migrated() -> str:
    """A new database on the server."""
    made = server().new_database()
    open_store(made, migrate=True).close()
    return made


def run(program: str, *words: str) -> None:
    subprocess.run([sys.executable, "-c", program, *words], check=True, timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("used", ["client", "queue"])
def test_what_a_child_adds_outlives_its_parents_connections(url: str, used: str) -> None:
    """A child that inherited a connection had no lock of its own: the parent's close took the log away under it."""
    run(CLOSING, url, used)
    with Client(url) as client:
        assert [job.payload for job in client.get_jobs(job_type="child", order="id")] == [1, 2]


def test_a_fork_waits_for_another_threads_transaction(url: str) -> None:
    """The child would inherit its lock, which nobody there gives back."""
    run(BUSY, url)
    with Client(url) as client:
        assert client.counts() == {"parent": {"pending": 1}, "child": {"pending": 1}}
        assert client.count_jobs(priority=1) == 1


def test_the_end_of_a_child_is_not_said_on_its_parents_connection() -> None:
    """PostgreSQL would end what the parent listens on; however the child ends, its copy goes without a word."""
    run(LISTENING, migrated())
