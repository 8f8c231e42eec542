"""`Dialect`: what differs between databases. Everything above this folder is written against it and `Statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import ColumnElement, Connection, Engine

    from jobwarden.findings import Finding
    from jobwarden.store.bell import Bell
    from jobwarden.store.checkup.check import Check
    from jobwarden.store.statements import Statements


class Dialect(Protocol):
    """One database: how it is reached, spoken to and looked after. Made by what `registry` finds for a URL's scheme."""

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

    def lasting(self) -> Connection:
        """A connection that its user keeps: it takes no place in the pool. Raises the driver's errors."""

    @property
    def feed_key(self) -> Sequence[ColumnElement[int]]:
        """Columns of `event` in whose order a follower reads; an event of a later commit is never before them."""

    def feed_settled(self, after: Sequence[int] | None) -> ColumnElement[bool] | None:
        """Which events after this place (None: of the newest) may be handed out now; None for all that are there.

        Those that no open transaction can still put another one before. Asked before each reading.
        """

    def begin(self, connection: Connection, *, writing: bool) -> None:
        """Begin a transaction: one that may write from its first statement on, or one that sees a single state."""

    def relaxed(self, connection: Connection) -> AbstractContextManager[None]:
        """Transactions in it need not be on the disk when they have committed: a power cut may undo them, whole.

        For what would only be done again. Order is kept: whatever is committed after them lasts only if they do.
        """

    @property
    def watch_seconds(self) -> float | None:
        """How often who waits for changes asks `data_version`, the net under lost rings; None: renewals bring it."""

    @property
    def connection_mode(self) -> str:
        """How this process hears of changes, for people: "doorbell", "notifications", or "polling: " and why."""

    def bell(self) -> Bell | None:
        """The doorbell of this store; None for one that has none, so that everybody looks by himself."""

    def upgrade(self, connection: Connection) -> None:
        """Before a migration, in its transaction: keep out whoever would do the same now."""

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

    def back_up(self, target: Path, *, told: Callable[[int, int], None]) -> None:
        """For `jobwarden backup`: a copy of the whole store as a new file; `told` gets how much of how much is done.

        Raises BackupError, also where that is another program's work, which it names.
        """

    def examine_place(self) -> Iterable[Finding]:
        """For `jobwarden doctor`: what can be seen without a connection; made before there is any.

        The last finding has the subject `checkup.check.NO_DATABASE` if there is nothing to connect to.
        """

    def checks(self, *, thorough: bool) -> Sequence[Check]:
        """For `jobwarden doctor`: what this database is asked, a transaction each; all of it reads."""

    def close(self) -> None:
        """Close the connections that nobody uses."""
