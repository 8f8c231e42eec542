"""One transaction, from BEGIN to an honest answer. Every verb of the store goes through here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobwarden.store import forks
from jobwarden.store.failures import commit_errors, judge, store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection
    from sqlalchemy.engine import Transaction

    from jobwarden.store.dialects import Dialect


@contextmanager
def transaction(dialect: Dialect, connection: Connection, *, writing: bool = True) -> Iterator[Connection]:
    """Begin on this connection, commit at the end, roll back on any error.

    Raises StoreUnavailableError or StoreError (nothing was changed), or CommitUnknownError.
    """
    with _no_fork(), store_errors(dialect.url_shown), _begun(dialect, connection, writing=writing):
        yield connection


@contextmanager
def connected(dialect: Dialect, *, writing: bool) -> Iterator[Connection]:
    """A connection from the pool in one transaction, given back at the end."""
    with (
        _no_fork(),
        store_errors(dialect.url_shown),
        dialect.engine.connect() as connection,
        _begun(dialect, connection, writing=writing),
    ):
        yield connection


class _no_fork:  # noqa: N801 - reads as a verb, and costs less than a generator
    """Other threads' forks wait for this."""

    def __enter__(self) -> None:
        forks.enter()

    def __exit__(self, *_: object) -> None:
        forks.leave()


@contextmanager
def _begun(dialect: Dialect, connection: Connection, *, writing: bool) -> Iterator[None]:
    begun = _begin(dialect, connection, writing=writing)
    try:
        yield
        with commit_errors(dialect.url_shown):
            begun.commit()
    except BaseException as error:
        _abandon(connection)
        judgement = judge(error)
        if judgement is not None and judgement.sticks:
            connection.invalidate()
        raise


def _begin(dialect: Dialect, connection: Connection, *, writing: bool) -> Transaction:
    """Once more on a new connection if this one has ended while nobody used it: nothing was asked of it yet."""
    is_new = connection.invalidated
    try:
        return _begin_once(dialect, connection, writing=writing)
    except Exception as error:
        judgement = judge(error)
        if is_new or judgement is None or not judgement.lost or judgement.is_silent:
            raise
    return _begin_once(dialect, connection, writing=writing)


def _begin_once(dialect: Dialect, connection: Connection, *, writing: bool) -> Transaction:
    begun = connection.begin()
    try:
        dialect.begin(connection, writing=writing)
    except BaseException:
        _abandon(connection)
        raise
    return begun


def _abandon(connection: Connection) -> None:
    """Roll back; a connection that cannot even do that is thrown away, so that the next use makes a new one."""
    current = connection.get_transaction()
    if current is None:
        return
    try:
        current.rollback()
    except Exception:  # noqa: BLE001 - the first error is the one to report
        connection.invalidate()
