"""Folds the write-ahead log into the database while nobody can commit: the only checkpoints jobwarden makes.

Before 3.51.3 SQLite can take pages for folded in that are not, if a commit starts the log anew while a checkpoint
begins (sqlite.org/wal.html#walresetbug). RESTART and TRUNCATE take the write lock against that, but go on without it
when somebody else keeps it. So a second connection of ours takes it first, and without it there is no checkpoint. Only
the close of the last connection of all makes one besides; SQLite has the whole file to itself then. Called by the
dialect; the caller's connection must have no transaction open.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobwarden.store import forks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

LOCK_WAIT_MS = 200
"""How long a checkpoint waits for another writer."""

_LONGEST_FILE = 8
"""Times the length at which the log is folded in: a file that has become this long is cut off."""

_PAUSES = 40
_PAUSE_SECONDS = 0.005
"""How often, and how long, readers are waited for: no longer than another writer."""

_BUSY = "SQLITE_BUSY"


class Checkpoints:
    """Of one process and database."""

    def __init__(self, path: Path, engine: Engine, *, busy_timeout_ms: int) -> None:
        self._log = Path(f"{path}-wal")
        self._engine = engine
        self._busy_timeout_ms = busy_timeout_ms
        self._longest_seen_bytes = 0

    def log_bytes(self) -> int:
        """The length of the log's file, which is only looked at, not opened; 0 if there is none."""
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def make_if_long(self, connection: Connection, *, longest_bytes: int) -> bool:
        """Fold the log in if it has grown, and nobody keeps the write lock; whether that was tried.

        The next commit then starts the log anew, if nobody reads. Its file stays as long as it is: commits that
        overwrite need no new blocks and take half the time. So it is longer than at the last checkpoint only if the
        log is. Raises the driver's errors.
        """
        size = self.log_bytes()
        if size <= max(longest_bytes, self._longest_seen_bytes):
            return False
        with _no_fork(), self._engine.connect() as second, self._hurried(driver_of(second)) as locker:
            if not _begin(locker):
                return False
            try:
                complete = _fold(driver_of(connection))
            finally:
                locker.execute("ROLLBACK")
            if complete and size > _LONGEST_FILE * longest_bytes:
                self._cut(locker)
        # A reader may have kept the log from being folded in: let it grow by as much again before the next try.
        self._longest_seen_bytes = self.log_bytes() + (0 if complete else longest_bytes)
        return True

    @contextmanager
    def _hurried(self, locker: Any) -> Iterator[Any]:
        locker.execute(f"PRAGMA busy_timeout={LOCK_WAIT_MS}")
        try:
            yield locker
        finally:
            locker.execute(f"PRAGMA busy_timeout={self._busy_timeout_ms}")

    def _cut(self, locker: Any) -> None:
        """Start the log anew with a commit of our own that changes nothing: SQLite then shortens the file to it."""
        locker.execute("PRAGMA journal_size_limit=0")
        try:
            if _begin(locker):
                number = locker.execute("PRAGMA user_version").fetchone()[0]
                locker.execute(f"PRAGMA user_version={number}")
                locker.execute("COMMIT")
        finally:
            locker.execute("PRAGMA journal_size_limit=-1")


def driver_of(connection: Connection) -> Any:
    """The sqlite3.Connection beneath."""
    return connection.connection.driver_connection


def _begin(locker: Any) -> bool:
    """Whether the write lock could be had in time."""
    try:
        locker.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != _BUSY:
            raise
        return False
    return True


def _fold(driver: Any) -> bool:
    """Whether the whole log is in the database now; waits for those who read what was before.

    PASSIVE asks for no write lock: we have it. Nor does it wait: readers that take turns would keep the log growing.
    """
    for pause in range(_PAUSES):
        if pause:
            time.sleep(_PAUSE_SECONDS)
        if _folds(driver):
            # Who began to read meanwhile still reads the log, and keeps it from starting anew; who begins now does not.
            time.sleep(min(2 * pause, _PAUSES - pause) * _PAUSE_SECONDS)
            return True
    return False


def _folds(driver: Any) -> bool:
    busy, frames, folded = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and bool(frames == folded)


@contextmanager
def _no_fork() -> Iterator[None]:
    """Other threads' forks wait: they would close the connections."""
    forks.enter()
    try:
        yield
    finally:
        forks.leave()
