"""SQLite: one file, one writer at a time, all processes on one host.

Makes the engines and sets every connection up the same way. Nothing else in this process may open the database
file: closing any descriptor of it would drop SQLite's locks (POSIX, see fcntl(2)).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, create_engine, event

from jobwarden.errors import BackupError, InvalidJobError, InvalidSettingsError, StoreUnavailableError
from jobwarden.store import schema
from jobwarden.store.dialects.sqlite import checkup, place
from jobwarden.store.dialects.sqlite.checkpoints import Checkpoints, driver_of
from jobwarden.store.dialects.sqlite.copying import copy_database
from jobwarden.store.dialects.sqlite.statements import STATEMENTS
from jobwarden.store.failures import store_errors
from jobwarden.store.folder_bell import FolderBell
from jobwarden.store.forks import watch_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.pool import ConnectionPoolEntry

    from jobwarden.findings import Finding
    from jobwarden.store.checkup.check import Check
    from jobwarden.store.dialects.options import StoreOptions
    from jobwarden.store.statements import Statements

OLDEST_SQLITE = (3, 38, 0)
"""JSON operators and json_each in the core library."""

_WAL_PAUSE_SECONDS = 0.005
_WATCH_SECONDS = 0.1


class SQLiteDialect:
    """Of the options, `synchronous` and the lock timeout."""

    def __init__(self, url: URL, options: StoreOptions) -> None:
        self.url_shown = url.render_as_string(hide_password=True)
        self.shares_kernel = True
        self.creates_itself = True
        self.feed_key = (schema.event.c.id,)
        self.watch_seconds = _WATCH_SECONDS
        self.connection_mode = "doorbell"
        self.statements: Statements = STATEMENTS
        self._path = _file_of(url, shown=self.url_shown)
        self._synchronous = _level(options.synchronous)
        self._file_mode = options.file_mode
        self._busy_timeout_seconds = options.lock_timeout_seconds
        self._refuse_old_library()
        self.engine = self._engine()
        self._checkpoints = Checkpoints(self._path, self.engine, busy_timeout_ms=self._busy_timeout_ms)

    def feed_settled(self, after: Sequence[int] | None) -> None:
        """All that are there: with one writer at a time, ids are given in the order of commits."""

    def lasting(self) -> Connection:
        """The pool gives as many as are wanted."""
        return self.engine.connect()

    def begin(self, connection: Connection, *, writing: bool) -> None:
        """A transaction that reads and later writes fails at once if somebody wrote in between: begin as a writer."""
        driver_of(connection).execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    @contextmanager
    def relaxed(self, connection: Connection) -> Iterator[None]:
        """The next commit of a full connection syncs the log with all that was written to it before."""
        driver = driver_of(connection)
        driver.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            try:
                driver.execute(f"PRAGMA synchronous={self._synchronous}")
            except sqlite3.Error:  # whoever gets this connection next trusts it
                connection.invalidate()
                raise

    def bell(self) -> FolderBell:
        """Sockets in a folder beside the database."""
        return FolderBell(self.side_path("doorbell"))

    def upgrade(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE keeps everybody out."""

    def side_path(self, name: str) -> Path:
        """`<database>.<name>`."""
        return self._path.with_name(f"{self._path.name}.{name}")

    def data_version(self, connection: Connection) -> int:
        """PRAGMA data_version, outside any transaction (inside one it would stand still)."""
        row = driver_of(connection).execute("PRAGMA data_version").fetchone()
        return int(row[0])

    def log_bytes(self) -> int:
        """The length of the write-ahead log."""
        return self._checkpoints.log_bytes()

    def checkpoint_if_long(self, connection: Connection, *, longest_bytes: int) -> bool:
        """Only while no other can commit; see `checkpoints`."""
        return self._checkpoints.make_if_long(connection, longest_bytes=longest_bytes)

    def refuse_stranger(self, connection: Connection) -> None:
        """Jobs added over there would never be rung for, or never be seen by the daemon of this file."""
        url = connection.engine.url
        if url.get_backend_name() != "sqlite":
            raise InvalidJobError("connection", f"leads to {url.get_backend_name()}, but the jobs are in SQLite")
        # Without a plain path (a URI, a creator) nothing is known.
        if url.database and not url.query and _is_another_file(url.database, self._path):
            raise InvalidJobError("connection", f"leads to another file than {self.url_shown}; use one to this file")

    def back_up(self, target: Path, *, told: Callable[[int, int], None]) -> None:
        """Of a database that is there: a wrong URL must not make one."""
        if not self._path.is_file():
            problem = "there is no database to copy; name it with --database-url or --config"
            raise BackupError(self.url_shown, problem)
        with store_errors(self.url_shown), self.engine.connect() as connection:
            copy_database(connection, target, told=told)

    def examine_place(self) -> Iterator[Finding]:
        """Library, file system, file and log."""
        return checkup.of_place(self._path, log_bytes=self.log_bytes())

    def checks(self, *, thorough: bool) -> Sequence[Check]:
        """Only `thorough` reads the pages of the file."""
        return checkup.checks(thorough=thorough)

    def close(self) -> None:
        """Close the pooled connections; the last one of all processes folds the log into the file."""
        self.engine.dispose()

    @property
    def _busy_timeout_ms(self) -> int:
        return int(self._busy_timeout_seconds * 1000)

    def _refuse_old_library(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            wanted = ".".join(map(str, OLDEST_SQLITE[:2]))
            problem = (
                f"SQLite {sqlite3.sqlite_version} is too old, {wanted} or newer is needed; update Python or SQLite"
            )
            raise StoreUnavailableError(self.url_shown, problem)

    def _create_file(self) -> None:
        """Make a new file with its mode, whatever the umask; SQLite gives its side files the same one."""
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        # EXCL: a descriptor of a file that SQLite has open must never be closed here.
        with contextlib.suppress(FileExistsError, OSError):
            descriptor = os.open(self._path, flags, 0o600)
            os.fchmod(descriptor, self._file_mode)
            os.close(descriptor)

    def _engine(self) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=str(self._path)),
            hide_parameters=True,
            max_overflow=-1,
            # Driver autocommit: sqlite3 begins nothing by itself, `begin` does. (SQLAlchemy's recipe uses its "begin"
            # event; any engine event costs every statement the dispatch of all of them, a tenth of a single add.)
            creator=self._connect,
        )
        event.listen(engine, "connect", self._set_up)
        watch_engine(engine)
        return engine

    def _connect(self) -> sqlite3.Connection:
        """The first one makes the file."""
        if problem := place.unfit(self._path):
            raise StoreUnavailableError(self.url_shown, problem)
        self._create_file()
        timeout = self._busy_timeout_seconds
        return sqlite3.connect(self._path, timeout=timeout, isolation_level=None, check_same_thread=False)

    def _set_up(self, connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        # The busy timeout comes first: switching to WAL can itself find the file locked.
        connection.execute(f"PRAGMA busy_timeout={self._busy_timeout_ms}")
        _switch_to_wal(connection, within_seconds=self._busy_timeout_seconds)
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-16000")
        connection.execute("PRAGMA mmap_size=0")
        connection.execute("PRAGMA wal_autocheckpoint=0")


def _switch_to_wal(connection: sqlite3.Connection, *, within_seconds: float) -> None:
    """Two processes that create a file at once can fail here without the busy timeout having been used."""
    for _ in range(int(within_seconds / _WAL_PAUSE_SECONDS)):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY":
                raise
            time.sleep(_WAL_PAUSE_SECONDS)
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")


def _file_of(url: URL, *, shown: str) -> Path:
    database = url.database
    if not database or database == ":memory:" or database.startswith("file:") or not Path(database).name:
        problem = "a store needs a file that other processes can open; write sqlite:///path/to/jobs.db"
        raise InvalidSettingsError([f"database_url: {shown}: {problem}"])
    return Path(os.path.abspath(os.path.expanduser(database)))  # noqa: PTH100, PTH111 - resolve() would follow links


def _is_another_file(path: str, own: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return not own.samefile(path)
    return False


def _level(synchronous: str) -> str:
    level = synchronous.upper()
    if level not in {"FULL", "NORMAL"}:
        raise InvalidSettingsError([f"synchronous: {synchronous} is unknown; write full or normal"])
    return level
