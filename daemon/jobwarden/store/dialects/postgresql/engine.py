"""PostgreSQL: a server that many hosts share; psycopg 3.

Makes the engine and says how a transaction begins. The driver commits by itself: `begin` sends BEGIN with all that the
transaction wants, in one round trip.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from jobwarden.errors import BackupError, InvalidJobError
from jobwarden.store.dialects.postgresql import checkup
from jobwarden.store.dialects.postgresql.bell import NotifyBell
from jobwarden.store.dialects.postgresql.connecting import Connecting, refuse_dead, shown
from jobwarden.store.dialects.postgresql.feed import FEED_KEY, FEED_SETTLED
from jobwarden.store.dialects.postgresql.looking import VERSION
from jobwarden.store.dialects.postgresql.statements import STATEMENTS
from jobwarden.store.forks import watch_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement

    from jobwarden.findings import Finding
    from jobwarden.store.checkup.check import Check
    from jobwarden.store.dialects.options import StoreOptions
    from jobwarden.store.dialects.postgresql.line import Line
    from jobwarden.store.statements import Statements

_MIGRATION = 7_223_110_043
"""The advisory lock of whoever migrates; our number in the database, chosen once."""

# By the path of a job, tables are looked into by index only: a plan that is made while a table is small, or before
# its first ANALYZE, is kept for as long as the connection lives. A bitmap would collect a whole backlog to sort it.
_WRITING = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; "
    "SET LOCAL enable_mergejoin = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off"
)
_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WATCH_SECONDS = 1.0
_RELAXED = "; SET LOCAL synchronous_commit = off"

_WHERE = text("SELECT pg_postmaster_start_time()::text, current_database()::text, to_regclass('job')::oid::bigint")


class PostgreSQLDialect:
    """One database of one server."""

    def __init__(self, url: URL, options: StoreOptions) -> None:
        self.url_shown = shown(url)
        self.shares_kernel = False
        self.creates_itself = False
        self.feed_key = FEED_KEY
        self.statements: Statements = STATEMENTS
        self._url = url.set(drivername="postgresql+psycopg")
        self._creator = Connecting(self._url, options).creator(self._url.get_dialect()())
        size, patience = options.connections, options.lock_timeout_seconds
        self.engine = self._engine(pool_size=size, max_overflow=size, pool_timeout=patience)
        self._lasting = self._engine(poolclass=NullPool)
        self._bell = NotifyBell(self)
        self._known: WeakSet[Engine] = WeakSet()
        """Callers' engines that were seen to lead here."""

    def feed_settled(self, after: Sequence[int] | None) -> ColumnElement[bool]:  # noqa: ARG002 - the same everywhere
        """Those of transactions before the oldest that is open."""
        return FEED_SETTLED

    def lasting(self) -> Connection:
        """Beside the pool, which is small."""
        return self._lasting.connect()

    def begin(self, connection: Connection, *, writing: bool) -> None:
        """READ COMMITTED for writers, who wait for each other's rows; one snapshot for readers."""
        line = _driver(connection)
        line.is_bounded = True
        words = (_WRITING if writing else _READING) + line.each_time
        if connection.info.get(_RELAXED):
            words += _RELAXED
        line.execute(words, prepare=False)

    @contextmanager
    def relaxed(self, connection: Connection) -> Iterator[None]:
        """What is committed later lasts only if this does: the log is written in order."""
        connection.info[_RELAXED] = True
        try:
            yield
        finally:
            if not connection.invalidated:
                connection.info.pop(_RELAXED, None)

    @property
    def watch_seconds(self) -> float | None:
        """While notifications arrive, nobody asks but the renewal."""
        return None if self._bell.works else _WATCH_SECONDS

    @property
    def connection_mode(self) -> str:
        """Notifications, or why not."""
        return self._bell.mode

    def bell(self) -> NotifyBell:
        """NOTIFY."""
        return self._bell

    def connect(self) -> Line:
        """For the bell: a connection of its own."""
        return self._creator()

    def notify(self, channel: str) -> None:
        """For the bell: ring this channel on any other connection."""
        with self.engine.connect() as connection:
            _driver(connection).execute(f'NOTIFY "{channel}"', prepare=False)

    def upgrade(self, connection: Connection) -> None:
        """Whoever else would migrate waits until this transaction has ended, however long that takes."""
        line = _driver(connection)
        line.is_bounded = False
        line.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0", prepare=False)
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION})

    def side_path(self, name: str) -> None:
        """There is no place beside it."""

    def data_version(self, connection: Connection) -> int:
        """One statement, outside any transaction; the next use of a broken connection makes a new one."""
        try:
            (version,) = _driver(connection).execute(VERSION).fetchall()[0]
        except psycopg.Error:
            connection.invalidate()
            raise
        return int(version)

    def log_bytes(self) -> int:
        """The server sees to its log."""
        return 0

    def checkpoint_if_long(self, connection: Connection, *, longest_bytes: int) -> bool:  # noqa: ARG002
        """The server sees to its log."""
        return False

    def refuse_stranger(self, connection: Connection) -> None:
        """Jobs added elsewhere would never be seen by the daemons of this database."""
        url = connection.engine.url
        if url.get_backend_name() != "postgresql":
            raise InvalidJobError("connection", f"leads to {url.get_backend_name()}, but the jobs are in PostgreSQL")
        if connection.engine in self._known:
            return
        with self.engine.connect() as own:
            here = tuple(own.execute(_WHERE).one())
        if tuple(connection.execute(_WHERE).one()) != here:
            problem = f"leads to another database than {self.url_shown}; use one to this database"
            raise InvalidJobError("connection", problem)
        self._known.add(connection.engine)

    def back_up(self, target: Path, *, told: Callable[[int, int], None]) -> None:  # noqa: ARG002 - for files
        """The server has a program for it."""
        told_how = (
            "a server is copied by its own program, while all goes on: pg_dump --format=custom --file=FILE DATABASE"
        )
        raise BackupError(self.url_shown, told_how)

    def examine_place(self) -> Sequence[Finding]:
        """Without a connection nothing is to be seen of a server."""
        return ()

    def checks(self, *, thorough: bool) -> Sequence[Check]:  # noqa: ARG002 - none of them reads whole tables
        """The server's settings, who holds it up, dead rows, indexes."""
        return checkup.checks()

    def close(self) -> None:
        """Let the last ring go out; close the pooled connections."""
        self._bell.close()
        self.engine.dispose()

    def _engine(self, **pool: Any) -> Engine:
        engine = create_engine(
            self._url,
            creator=self._creator,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,
            **pool,
        )
        event.listen(engine.pool, "checkout", refuse_dead)
        watch_engine(engine)
        return engine


def _driver(connection: Connection) -> Line:
    return cast("Line", connection.connection.driver_connection)
