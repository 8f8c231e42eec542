"""How a group of verbs reaches the database: one transaction each, and a ring after what gives nodes work.

A verb that another transaction's locks have undone is done again, a few times; then whoever asked is told to try again.
`Store` makes one and hands it to its groups (`bulk`, `controls`, `upkeep`, `feed`).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from jobwarden.errors import StoreContendedError
from jobwarden.store.transactions import connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from jobwarden.store.dialects import Dialect

MOST_TRIES = 5

Answer = TypeVar("Answer")


class Access:
    """One per store; safe to share between threads."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.sql = dialect.statements
        self.bell = dialect.bell()
        """None where everybody looks by himself."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that sees a single state."""
        return connected(self.dialect, writing=False)

    @contextmanager
    def writing(self, *, ring: bool = True) -> Iterator[Connection]:
        """As `write`, for what is written here and now and so cannot be done again."""
        with connected(self.dialect, writing=True) as connection:
            yield connection
        if ring:
            self.ring_nodes()

    def write(self, verb: Callable[[Connection], Answer], *, ring: bool = True) -> Answer:
        """What `verb` answers, in a transaction of its own; then nodes are rung, unless nothing is there to see.

        It is called again if the transaction lost a deadlock: nothing of it was done then.
        """
        answer = self._repeated(verb)
        if ring:
            self.ring_nodes()
        return answer

    def _repeated(self, verb: Callable[[Connection], Answer]) -> Answer:
        for _ in range(MOST_TRIES - 1):
            with suppress(StoreContendedError), connected(self.dialect, writing=True) as connection:
                return verb(connection)
        with connected(self.dialect, writing=True) as connection:
            return verb(connection)

    def ring_nodes(self) -> None:
        """Nodes may have something to do."""
        if self.bell is not None:
            self.bell.ring_nodes()

    def ring_waiters(self) -> None:
        """Jobs have ended: clients that wait for them look."""
        if self.bell is not None:
            self.bell.ring_waiters()
