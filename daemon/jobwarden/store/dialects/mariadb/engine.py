"""MariaDB 10.11 or newer, by PyMySQL: how it is reached, and how every connection is set up.

Writers run at READ COMMITTED: at InnoDB's own default they would lock the gaps between rows too. Readers see one state
(REPEATABLE READ). Nothing here depends on the server's settings of time zone, SQL mode or character set.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from jobwarden.errors import BackupError, InvalidJobError, InvalidSettingsError, StoreUnavailableError
from jobwarden.store import schema
from jobwarden.store.dialects.mariadb import checkup
from jobwarden.store.dialects.mariadb.feed import FEED_KEY, settled_until
from jobwarden.store.dialects.mariadb.looking import VERSION
from jobwarden.store.dialects.mariadb.statements import STATEMENTS
from jobwarden.store.dialects.mariadb.strangers import refuse_foreign_tables
from jobwarden.store.forks import watch_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement
    from sqlalchemy.pool import ConnectionPoolEntry

    from jobwarden.findings import Finding
    from jobwarden.store.checkup.check import Check
    from jobwarden.store.dialects.options import StoreOptions
    from jobwarden.store.statements import Statements

OLDEST_MARIADB = (10, 11)
"""SKIP LOCKED, JSON_TABLE, INSERT ... RETURNING, and the oldest version that is still looked after."""

SMALLEST_PACKET = 16 * 1024 * 1024
"""MariaDB's default; what a claim answers and what one job may bring with it stays below."""

_WATCH_SECONDS = 1.0
_CONNECT_SECONDS = 5
_MIGRATION_SECONDS = 60

_SQL_MODE = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,SIMULTANEOUS_ASSIGNMENT"
_ONE_STATE = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


class MariaDBDialect:
    """Of the options, the timeouts, the number of connections and their name."""

    def __init__(self, url: URL, options: StoreOptions) -> None:
        self.url_shown = url.render_as_string(hide_password=True)
        self.shares_kernel = False
        self.creates_itself = False
        self.feed_key = FEED_KEY
        self.watch_seconds = _WATCH_SECONDS
        self.connection_mode = "polling: MariaDB has no notifications"
        self.statements: Statements = STATEMENTS
        self._version = text(VERSION)
        self._options = options
        self._url = _with_driver(url, shown=self.url_shown)
        self.engine = self._engine(pool_size=options.connections, max_overflow=0, pool_pre_ping=True)
        self._lasting = self._engine(poolclass=NullPool)

    def feed_settled(self, after: Sequence[int] | None) -> ColumnElement[bool]:
        """Those before the first whose transaction is open, or may be."""
        return schema.event.c.id <= settled_until(self.engine, None if after is None else after[0])

    def lasting(self) -> Connection:
        """Beside the pool, which is small."""
        return self._lasting.connect()

    def begin(self, connection: Connection, *, writing: bool) -> None:
        """The first statement begins it; a reader's then sees the state of that moment."""
        if not writing:
            connection.execute(_ONE_STATE)

    def relaxed(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002 - the server's own setting
        """Whether a commit waits for the disk is a setting of the whole server."""
        return nullcontext()

    def bell(self) -> None:
        """Nobody can be rung: everybody looks at `data_version`."""

    def upgrade(self, connection: Connection) -> None:
        """A lock by name, which lasts as long as the connection: it is closed afterwards, not kept.

        Each CREATE TABLE commits by itself here. A migration that was cut off is begun again and makes what is missing.
        """
        connection.detach()
        name = {"name": f"jobwarden.migrate.{self._url.database}"[:64], "seconds": _MIGRATION_SECONDS}
        if not connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), name).scalar():
            problem = f"another process has been migrating it for {_MIGRATION_SECONDS} s; try again when it is done"
            raise StoreUnavailableError(self.url_shown, problem)
        refuse_foreign_tables(connection, where=self.url_shown)

    def side_path(self, name: str) -> None:
        """There is none."""

    def data_version(self, connection: Connection) -> int:
        """Read from the tables: there is no counter of commits to ask for."""
        found = connection.execute(self._version).scalar_one()
        connection.rollback()
        return int(found)

    def log_bytes(self) -> int:
        """The server sees to its log."""
        return 0

    def checkpoint_if_long(self, connection: Connection, *, longest_bytes: int) -> bool:  # noqa: ARG002
        """The server sees to its log."""
        return False

    def refuse_stranger(self, connection: Connection) -> None:
        """Jobs that were added to another database would never be seen by the daemons of this one."""
        url = connection.engine.url
        if url.get_backend_name() not in {"mariadb", "mysql"}:
            raise InvalidJobError("connection", f"leads to {url.get_backend_name()}, but the jobs are in MariaDB")
        database = connection.execute(text("SELECT DATABASE()")).scalar()
        if database != self._url.database:
            problem = f"leads to the database {database}, but the jobs are in {self._url.database}"
            raise InvalidJobError("connection", problem)

    def back_up(self, target: Path, *, told: Callable[[int, int], None]) -> None:  # noqa: ARG002 - for files
        """The server has a program for it."""
        tool = "mariadb-dump --single-transaction --result-file=FILE DATABASE"
        raise BackupError(self.url_shown, f"a server is copied by its own program, while all goes on: {tool}")

    def examine_place(self) -> Sequence[Finding]:
        """Without a connection nothing is to be seen of a server."""
        return ()

    def checks(self, *, thorough: bool) -> Sequence[Check]:  # noqa: ARG002 - none of them reads whole tables
        """The server's settings, collations, who keeps transactions open."""
        return checkup.checks()

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    def _engine(self, **pool: Any) -> Engine:
        statement_seconds = self._options.statement_timeout_seconds
        engine = create_engine(
            self._url,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            **pool,
            connect_args={
                "connect_timeout": _CONNECT_SECONDS,
                "read_timeout": statement_seconds + _CONNECT_SECONDS,
                "write_timeout": statement_seconds + _CONNECT_SECONDS,
                "charset": "utf8mb4",
                "collation": "utf8mb4_nopad_bin",
                "program_name": self._options.application,
            },
        )
        # Before SQLAlchemy's own, which would ask a stranger for what it does not have.
        event.listen(engine, "connect", self._set_up, insert=True)
        watch_engine(engine)
        return engine

    def _set_up(self, connection: Any, _entry: ConnectionPoolEntry) -> None:
        self._refuse_other_server(connection.get_server_info())
        lock_seconds = max(1, round(self._options.lock_timeout_seconds))
        statement_seconds = self._options.statement_timeout_seconds
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET SESSION sql_mode = '{_SQL_MODE}', time_zone = '+00:00', "
                f"innodb_lock_wait_timeout = {lock_seconds}, lock_wait_timeout = {lock_seconds}, "
                f"max_statement_time = {statement_seconds}, "
                f"idle_transaction_timeout = {max(1, round(statement_seconds))}, "
                "group_concat_max_len = 1000000000"
            )
            cursor.execute("SELECT @@max_allowed_packet")
            self._refuse_small_packets(cursor.fetchone()[0])

    def _refuse_other_server(self, version: str) -> None:
        known = version.removeprefix("5.5.5-")  # what servers before 11 say first, for old replicas
        if "mariadb" not in version.lower():
            problem = f"this is MySQL {version}; jobwarden needs MariaDB 10.11 or newer, or PostgreSQL"
            raise StoreUnavailableError(self.url_shown, problem)
        if tuple(map(int, known.split("-")[0].split(".")[:2])) < OLDEST_MARIADB:
            problem = f"MariaDB {known.split('-')[0]} is too old, 10.11 or newer is needed; update the server"
            raise StoreUnavailableError(self.url_shown, problem)

    def _refuse_small_packets(self, size: int) -> None:
        if size < SMALLEST_PACKET:
            problem = f"the server's max_allowed_packet is {size} bytes; set it to {SMALLEST_PACKET} (16M) or more"
            raise StoreUnavailableError(self.url_shown, problem)


def _with_driver(url: URL, *, shown: str) -> URL:
    if not url.database:
        problem = "name the database; write mariadb://user@host/database"
        raise InvalidSettingsError([f"database_url: {shown}: {problem}"])
    return url.set(drivername="mariadb+pymysql")
