"""Several processes on one store, and processes that die: commits are there, locks are waited for."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from jobwarden.jobs import JobOptions
from jobwarden.store import Store, open_store
from jobwarden.store.dialects import StoreOptions, dialect_for

from .scene import START_US, Scene

PAYLOAD = {"text": "x" * 900_000}

ADDER = """
import sys
from jobwarden.store import StoreOptions, open_store
from jobwarden.jobs import JobOptions
store = open_store(sys.argv[1], StoreOptions(synchronous="normal"))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    store.add([JobOptions(job_type="work", payload=number)], now_us=1)
print("done", flush=True)
sys.stdin.readline()
"""

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


def _adder(url: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ADDER, url, str(number)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert _line(started) == "ready"
    return started


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _end(process: subprocess.Popen[str]) -> int:
    process.communicate("\n")
    return process.returncode


def _holder(path: str) -> subprocess.Popen[str]:
    """A process that keeps the write lock until `_end`."""
    started = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert _line(started) == "locked"
    return started


def _digests(path: str) -> str:
    """Of file and log; by another process, because closing a descriptor here would drop SQLite's locks."""
    return subprocess.run(["sha256sum", path, f"{path}-wal"], check=True, stdout=subprocess.PIPE, text=True).stdout


def _try_to_write(rival: sqlite3.Connection) -> str:
    try:
        rival.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorname
    rival.execute("ROLLBACK")
    return "written"


def _checkpoint(url: str, *, watcher: Callable[[str], object]) -> None:
    """By a writer of its own; `watcher` hears of each statement before it is run."""
    dialect = dialect_for(url, StoreOptions())
    event.listen(dialect.engine, "connect", lambda connection, _: connection.set_trace_callback(watcher))
    store = Store(dialect)
    writer = store.writer()
    assert writer.checkpoint_if_long()
    writer.close()
    store.close()


def test_processes_that_write_at_once_wait_for_each_other(scene: Scene, url: str) -> None:
    """Nobody hears 'database is locked': every write transaction begins as a writer."""
    adders = [_adder(url, 60) for _ in range(2)]
    for adder in adders:
        _go(adder)
    done = 0
    while done < 120:
        for job in scene.claim(20):
            scene.complete(job)
            done += 1
    assert [_line(adder) for adder in adders] == ["done", "done"]
    assert [_end(adder) for adder in adders] == [0, 0]
    assert scene.store.counts() == {"work": {"completed": 120}}


def test_a_commit_is_there_after_the_writer_was_killed(url: str) -> None:
    """What `add` has returned survives `kill -9` of its process, without any clean-up."""
    adder = _adder(url, 5)
    _go(adder)
    assert _line(adder) == "done"
    adder.send_signal(signal.SIGKILL)
    assert _end(adder) == -signal.SIGKILL
    store = open_store(url)
    assert store.counts() == {"work": {"pending": 5}}
    store.close()


def test_the_data_version_changes_when_somebody_else_commits(store: Store, url: str) -> None:
    """And stays when nobody does: the cheap look for lost rings."""
    version = store.data_version()
    assert store.data_version() == version
    store.find()
    assert store.data_version() == version
    other = open_store(url)
    other.add([JobOptions(job_type="a")], now_us=START_US)
    other.close()
    assert store.data_version() != version


@pytest.mark.only("sqlite", reason="a server folds its log by itself")
def test_a_long_log_is_folded_into_the_database(scene: Scene, url: str) -> None:
    """The daemon's writer does it, and does nothing while the log is short; what is there stays."""
    log = Path(url.removeprefix("sqlite:///") + "-wal")
    assert not scene.writer.checkpoint_if_long()
    ids = [scene.add(payload=PAYLOAD) for _ in range(6)]
    assert scene.writer.checkpoint_if_long()
    length = log.stat().st_size
    assert not scene.writer.checkpoint_if_long()
    ids += [scene.add(payload=PAYLOAD) for _ in range(5)]
    assert log.stat().st_size == length
    assert not scene.writer.checkpoint_if_long()
    ids += [scene.add(payload=PAYLOAD) for _ in range(5)]
    assert scene.writer.checkpoint_if_long()
    assert [job.id for job in scene.claim()] == ids
    other = open_store(url)
    assert len(other.find()) == 16
    other.close()


@pytest.mark.only("sqlite", reason="a server folds its log by itself")
def test_a_long_reader_does_not_stop_the_writer(scene: Scene, url: str) -> None:
    """The log then stays; the next try comes when it has grown by as much again."""
    reader = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with reader.engine.connect() as connection:
        reader.begin(connection, writing=False)
        connection.exec_driver_sql("SELECT count(*) FROM job").all()
        for _ in range(6):
            scene.add(payload=PAYLOAD)
        assert scene.writer.checkpoint_if_long()
        assert not scene.writer.checkpoint_if_long()
        assert len(scene.claim()) == 6
        connection.rollback()
    reader.close()


@pytest.mark.only("sqlite", reason="a server folds its log by itself")
def test_the_log_is_not_folded_in_while_somebody_else_may_commit(scene: Scene, url: str) -> None:
    """Without the write lock there is no checkpoint: file and log stay as they are, and the next try is not put off."""
    path = url.removeprefix("sqlite:///")
    for _ in range(6):
        scene.add(payload=PAYLOAD)
    before = _digests(path)
    holder = _holder(path)
    assert not scene.writer.checkpoint_if_long()
    assert _digests(path) == before
    assert _end(holder) == 0
    assert scene.writer.checkpoint_if_long()
    assert not scene.writer.checkpoint_if_long()


@pytest.mark.only("sqlite", reason="a server folds its log by itself")
def test_nobody_can_commit_during_a_checkpoint(scene: Scene, url: str) -> None:
    """Whoever tries while it runs finds the write lock taken; afterwards it is free."""
    for _ in range(6):
        scene.add(payload=PAYLOAD)
    rival = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=0)
    seen: list[str] = []

    def try_to_write(statement: str) -> None:
        if "wal_checkpoint" in statement:
            seen.append(_try_to_write(rival))

    _checkpoint(url, watcher=try_to_write)
    assert seen == ["SQLITE_BUSY"]
    assert _try_to_write(rival) == "written"
    rival.close()


@pytest.mark.only("sqlite", reason="a server folds its log by itself")
def test_a_checkpoint_waits_for_a_short_reader(scene: Scene, url: str) -> None:
    """The log then starts anew; without that wait readers that take turns would let it grow for ever."""
    path = url.removeprefix("sqlite:///")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM job").fetchone()
    for _ in range(6):
        scene.add(payload=PAYLOAD)
    length = Path(f"{path}-wal").stat().st_size
    seen: list[str] = []

    def read_a_while(statement: str) -> None:
        if "wal_checkpoint" in statement:
            seen.append(statement)
            if len(seen) == 2:
                reader.execute("COMMIT")

    _checkpoint(url, watcher=read_a_while)
    assert len(seen) == 2
    for _ in range(5):
        scene.add(payload=PAYLOAD)
    assert Path(f"{path}-wal").stat().st_size == length
    reader.close()


@pytest.mark.only("sqlite", reason="a server folds its log by itself")
def test_a_log_that_grew_long_under_a_reader_is_cut_off(scene: Scene, url: str) -> None:
    """Once the reader is gone; nothing is lost with it, and the log then grows and is folded in as ever."""
    log = Path(url.removeprefix("sqlite:///") + "-wal")
    reader = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with reader.engine.connect() as connection:
        reader.begin(connection, writing=False)
        connection.exec_driver_sql("SELECT count(*) FROM job").all()
        ids = [scene.add(payload=PAYLOAD) for _ in range(38)]
        assert scene.writer.checkpoint_if_long()
        connection.rollback()
    reader.close()
    assert log.stat().st_size > 32 * 1024 * 1024
    ids += [scene.add(payload=PAYLOAD) for _ in range(6)]
    assert scene.writer.checkpoint_if_long()
    assert log.stat().st_size < 100_000
    assert not scene.writer.checkpoint_if_long()
    ids += [scene.add(payload=PAYLOAD) for _ in range(6)]
    assert scene.writer.checkpoint_if_long()
    assert [job.id for job in scene.claim()] == ids


@pytest.mark.only("sqlite", reason="a server is no file")
def test_a_store_on_a_file_says_that_its_nodes_share_a_kernel(store: Store) -> None:
    """Folders beside the database hold the nodes' locks and the doorbell, for the owner only."""
    assert store.shares_kernel
    folder = store.side_dir("nodes")
    assert folder is not None
    assert folder.name == "jobs.db.nodes"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert store.side_dir("nodes") == folder
