"""One transaction, from BEGIN to an honest answer. Every write of the store goes through here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobwarden.store.failures import commit_errors, store_errors

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@contextmanager
def transaction(connection: Connection, *, where: str) -> Iterator[Connection]:
    """Begin on this connection, commit at the end, roll back on any error.

    Raises StoreUnavailableError or StoreError (nothing was changed), or CommitUnknownError.
    """
    with store_errors(where):
        begun = connection.begin()
        try:
            yield connection
            with commit_errors(where):
                begun.commit()
        except BaseException:
            _abandon(connection)
            raise


@contextmanager
def connected(engine: Engine, *, where: str) -> Iterator[Connection]:
    """A connection from the pool in one transaction, given back at the end."""
    with store_errors(where), engine.connect() as connection, transaction(connection, where=where):
        yield connection


def _abandon(connection: Connection) -> None:
    """Roll back; a connection that cannot even do that is thrown away, so that the next use makes a new one."""
    current = connection.get_transaction()
    if current is None:
        return
    try:
        current.rollback()
    except Exception:  # noqa: BLE001 - the first error is the one to report
        connection.invalidate()
