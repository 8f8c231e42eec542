"""Forks of programs that use the store: what a child adds is kept, and no child is locked out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobwarden.client import Client

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


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


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
