"""What differs between databases, and how the right dialect is found for a URL.

Everything above this folder is written against `Dialect` and `Statements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from jobwarden.errors import InvalidSettingsError
from jobwarden.store.dialects.sqlite import SQLiteDialect

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Column, ColumnElement, Connection, Engine

    from jobwarden.store.statements import Statements

_SUPPORTED = "sqlite:///relative/path.db and sqlite:////absolute/path.db"


class Dialect(Protocol):
    """One database: how it is reached, spoken to and looked after."""

    @property
    def url_shown(self) -> str:
        """The URL without its password."""

    @property
    def shares_kernel(self) -> bool:
        """Whether all nodes on this store live on one host."""

    @property
    def creates_itself(self) -> bool:
        """Whether opening the store creates and migrates it unless told otherwise."""

    @property
    def statements(self) -> Statements:
        """The SQL of this dialect."""

    @property
    def engine(self) -> Engine:
        """The pool of connections."""

    @property
    def feed_key(self) -> tuple[Column[int], ...]:
        """The columns of `event` in whose order a follower reads; an event of a later commit is never before them."""

    @property
    def feed_settled(self) -> ColumnElement[bool] | None:
        """Which events may be handed out: those that no open transaction can still put another one before."""

    def begin(self, connection: Connection, *, writing: bool) -> None:
        """Begin a transaction: one that may write from its first statement on, or one that sees a single state."""

    def relaxed(self, connection: Connection) -> AbstractContextManager[None]:
        """Transactions in it need not be on the disk when they have committed: a power cut may undo them, whole.

        For what would only be done again. Order is kept: whatever is committed after them lasts only if they do.
        """

    def side_path(self, name: str) -> Path | None:
        """Where a folder beside the database goes, or None for a database that is no file."""

    def data_version(self, connection: Connection) -> int:
        """A number that changes when another connection has committed."""

    def log_bytes(self) -> int:
        """How long the log is that a checkpoint would fold in; 0 for a database that sees to that itself."""

    def checkpoint_if_long(self, connection: Connection, *, longest_bytes: int) -> bool:
        """Fold the log into the database if it is longer than this; whether anything was done."""

    def refuse_stranger(self, connection: Connection) -> None:
        """Raise InvalidJobError for a caller's connection that leads to another database than this one."""

    def close(self) -> None:
        """Close the connections that nobody uses."""


def dialect_for(url: str, *, synchronous: str, busy_timeout_seconds: float) -> Dialect:
    """The dialect that speaks to `url`. Raises InvalidSettingsError for anything that is not supported."""
    if problem := unsupported(url):
        raise InvalidSettingsError([f"database_url: {problem}"])
    return SQLiteDialect(make_url(url), synchronous=synchronous, busy_timeout_seconds=busy_timeout_seconds)


def unsupported(url: str) -> str | None:
    """Why there is no dialect for `url`, and the way out; None if there is one. Touches nothing."""
    try:
        url.encode()  # a path from the shell may hold bytes that are no text
        parsed = make_url(url)
    except (ArgumentError, UnicodeEncodeError):
        return f"this is no database URL; write {_SUPPORTED}"
    if parsed.get_backend_name() != "sqlite":
        return f"{parsed.drivername} is not supported yet; write {_SUPPORTED}"
    return None
