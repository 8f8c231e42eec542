"""From a driver's errors to ours: what happened, and the way out, in one sentence without any of the data.

Called by every verb of the store. Tells apart what is wrong with the store (try again, make room) from what is
wrong with the data (find the row).
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from jobwarden.errors import CommitUnknownError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_WAYS_OUT = {
    "SQLITE_BUSY": "another process kept the database locked for longer than the busy timeout; try again",
    "SQLITE_LOCKED": "another connection kept the database locked; try again",
    "SQLITE_FULL": "the disk is full; make room on it",
    "SQLITE_READONLY": "the database cannot be written; check the owner and mode of the file and its directory, "
    "and that the file system is not mounted read-only",
    "SQLITE_CANTOPEN": "the database cannot be opened; check that its directory exists and that you may use it",
    "SQLITE_PERM": "permission denied; check the owner and mode of the file",
    "SQLITE_AUTH": "permission denied; check the owner and mode of the file",
    "SQLITE_NOTADB": "this file is not an SQLite database; name another one",
    "SQLITE_CORRUPT": "the database is damaged; stop the daemon and restore a backup",
    "SQLITE_IOERR": "the disk reports an error; look at the kernel log",
    "SQLITE_NOMEM": "there is not enough memory",
    "SQLITE_PROTOCOL": "the file locks do not work here; is this a network file system?",
}

_DATA = ("SQLITE_CONSTRAINT", "SQLITE_TOOBIG", "SQLITE_MISMATCH", "SQLITE_RANGE")
_MALFORMED = "malformed JSON"
_SURROGATE = "a value contains a lone surrogate, which is no text"


class UnstorableError(Exception):
    """The database, or the encoder before it, refused one of the values; `reason` names none of them."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@contextmanager
def store_errors(where: str) -> Iterator[None]:
    """Turn what the driver raises inside into StoreUnavailableError or StoreError. `where` holds no password."""
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreUnavailableError(where, "no connection became free in time; try again") from error
    except DBAPIError as error:
        raise _ours(error.orig or error, where=where) from None
    except (sqlite3.Error, UnicodeEncodeError) as error:
        raise _ours(error, where=where) from None


@contextmanager
def commit_errors(where: str) -> Iterator[None]:
    """Around a COMMIT alone: an I/O error there leaves open whether a later recovery finds the transaction."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated or _code(error.orig).startswith("SQLITE_IOERR"):
            raise CommitUnknownError(where) from None
        raise


@contextmanager
def data_errors() -> Iterator[None]:
    """Turn a refusal for a reason of data, and only that, into UnstorableError."""
    try:
        yield
    except UnicodeEncodeError:
        raise UnstorableError(_SURROGATE) from None
    except OverflowError as error:
        raise UnstorableError(str(error)) from None
    except DBAPIError as error:
        if not _is_about_data(error):
            raise
        raise UnstorableError(str(error.orig)) from None


def _is_about_data(error: DBAPIError) -> bool:
    if isinstance(error, (DataError, IntegrityError)):
        return True
    if not isinstance(error, (OperationalError, DatabaseError)):
        return False
    return _code(error.orig).startswith(_DATA) or _MALFORMED in str(error.orig)


def _ours(error: BaseException, *, where: str) -> StoreError:
    code = _code(error)
    for name, problem in _WAYS_OUT.items():
        if code.startswith(name):
            return StoreUnavailableError(where, problem)
    return StoreError(f"{where}: {error}")


def _code(error: BaseException | None) -> str:
    return getattr(error, "sqlite_errorname", "")
