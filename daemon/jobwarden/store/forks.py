"""No SQLite connection crosses a fork: before one, all of this process are closed, and opened again when needed.

SQLite keeps its locks per process, in memory that a fork copies: a child with an inherited connection, even an unused
one, takes no lock of its own. The parent's close then deletes the log that the child writes to, and with it jobs that
were accepted; a fork in the middle of another thread's transaction leaves the child locked out for ever. So a fork
waits for the transactions of other threads. Connections of the application's own engines are its own to close.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LONGEST_WAIT_SECONDS = 10.0
"""A fork is never held up for longer, whatever another thread's transaction is doing."""

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_lasting: weakref.WeakSet[Connection] = weakref.WeakSet()


class _Gate:
    """Who has a transaction open, and who is forking. A fork begins with a new one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[int, int] = {}
        """Thread -> how many transactions it has open, one in the other."""
        self._forker: int | None = None

    def enter(self) -> None:
        me = threading.get_ident()
        with self._changed:
            while self._forker not in {None, me} and me not in self._open:
                self._changed.wait()
            self._open[me] = self._open.get(me, 0) + 1

    def leave(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._open[me] -= 1
            if not self._open[me]:
                del self._open[me]
                if self._forker is not None:
                    self._changed.notify_all()

    def shut(self) -> None:
        me = threading.get_ident()
        with self._changed:
            while self._forker is not None:
                self._changed.wait()
            self._forker = me
            self._changed.wait_for(lambda: not self._open.keys() - {me}, LONGEST_WAIT_SECONDS)

    def reopen(self) -> None:
        with self._changed:
            self._forker = None
            self._changed.notify_all()


_gate = _Gate()


def enter() -> None:
    """Before a transaction; waits while another thread forks."""
    _gate.enter()


def leave() -> None:
    """After it."""
    _gate.leave()


def watch_engine(engine: Engine) -> None:
    """Its idle connections are closed before a fork."""
    _engines.add(engine)


def watch_lasting(connection: Connection) -> Connection:
    """One that is kept out of the pool: closed before a fork too; its next use opens it again."""
    _lasting.add(connection)
    return connection


def _before() -> None:
    _gate.shut()
    for connection in list(_lasting):
        if not (connection.closed or connection.invalidated or connection.in_transaction()):
            connection.invalidate()
    for engine in list(_engines):
        engine.dispose()


def _after_in_parent() -> None:
    _gate.reopen()


def _after_in_child() -> None:
    global _gate  # noqa: PLW0603 - the parent's lock may be held by a thread that is not here
    _gate = _Gate()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
