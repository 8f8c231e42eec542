"""How a group of verbs reaches the database: one transaction each, and a ring after what gives nodes work.

`Store` makes one and hands it to its groups (`bulk`, `controls`, `upkeep`, `feed`).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobwarden.store.transactions import connected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from jobwarden.store.dialects import Dialect


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
        """A transaction that may write; afterwards nodes are rung, unless nothing is there for them to see."""
        with connected(self.dialect, writing=True) as connection:
            yield connection
        if ring:
            self.ring_nodes()

    def ring_nodes(self) -> None:
        """Nodes may have something to do."""
        if self.bell is not None:
            self.bell.ring_nodes()

    def ring_waiters(self) -> None:
        """Jobs have ended: clients that wait for them look."""
        if self.bell is not None:
            self.bell.ring_waiters()
