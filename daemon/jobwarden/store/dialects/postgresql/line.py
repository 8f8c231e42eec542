"""`Line`: psycopg's connection, which waits for no answer for ever and commits nothing that has failed.

A server that is stopped, or behind a network that has fallen silent, answers nothing, not even that a timeout has
passed there. The limit here is a little longer than the server's own, so that the server speaks first.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Generator

_T = TypeVar("_T")


class Line(psycopg.Connection[Any]):
    """Made by `connecting`; used by one thread at a time."""

    answer_seconds: float | None = None
    """How long an answer may take; None: for ever."""
    is_bounded: bool = True
    """Whether that holds now: a migration takes as long as it takes."""
    is_pooled: bool = False
    """Whether a pooler stands between us and the server: what is set on this connection may reach another one."""
    each_time: str = ""
    """What a transaction says after BEGIN, because the connection could not be told once for all."""

    def wait(self, gen: Generator[Any, Any, _T], *rest: Any, **named: Any) -> _T:
        """As psycopg's, with the limit; a connection that passed it is closed, for its answer may come yet."""
        if self.answer_seconds is None or not self.is_bounded:
            return super().wait(gen, *rest, **named)
        limit_ns = SYSTEM_CLOCK.monotonic_ns() + int(self.answer_seconds * SECOND_NS)
        try:
            return super().wait(_limited(gen, limit_ns), *rest, **named)
        except _SilenceError:
            self.pgconn.finish()
            problem = f"no answer within {self.answer_seconds:g} s: timed out"
            raise psycopg.OperationalError(problem) from None

    def commit(self) -> None:
        """PostgreSQL answers COMMIT in a failed transaction with ROLLBACK, and that is no error to psycopg."""
        if self.pgconn.transaction_status == TransactionStatus.INERROR:
            problem = "the transaction has failed, so it cannot be committed"
            raise psycopg.errors.InFailedSqlTransaction(problem)
        super().commit()

    @property
    def is_quiet(self) -> bool:
        """Whether an idle connection is still there, as far as that is known without asking the server.

        A server that ends a connection says so on it; nothing else comes unasked, but notices.
        """
        if self.pgconn.status != ConnStatus.OK:
            return False
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN | select.POLLRDHUP)
        if not poll.poll(0):
            return True
        try:
            self.pgconn.consume_input()
        except psycopg.Error:
            return False
        return self.pgconn.status == ConnStatus.OK and not poll.poll(0)


class _SilenceError(Exception):
    """Inside psycopg's waiting: the limit has passed."""


def _limited(gen: Generator[Any, Any, _T], limit_ns: int) -> Generator[Any, Any, _T]:
    """The same steps; psycopg wakes a waiting one ten times a second."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and SYSTEM_CLOCK.monotonic_ns() >= limit_ns:
                raise _SilenceError
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
