"""From a driver's errors to ours: what happened, and the way out, in one sentence without any of the data.

Called by every verb of the store. Tells apart what is wrong with the store (try again, make room), what is wrong with
the data (find the row), and a commit of which nobody knows whether it was done. The drivers' words are known to the
files beside this one, which import no driver.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from jobwarden.errors import CommitUnknownError, StoreContendedError, StoreError, StoreUnavailableError
from jobwarden.store.failures import mariadb, postgresql, sqlite
from jobwarden.store.failures.judgement import Judgement, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_SURROGATE = "a value contains a lone surrogate, which is no text"
_TOO_LARGE = "a number is out of range"


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
    except Exception as error:
        judgement = judge(error)
        if judgement is None:
            raise
        raise _ours(judgement, where=where) from None


@contextmanager
def commit_errors(where: str) -> Iterator[None]:
    """Around a COMMIT alone: if the connection breaks in it, nobody knows whether it was done."""
    try:
        yield
    except Exception as error:
        judgement = judge(error)
        if judgement is not None and (judgement.lost or getattr(error, "connection_invalidated", False)):
            raise CommitUnknownError(where) from None
        raise


@contextmanager
def data_errors() -> Iterator[None]:
    """Turn a refusal for a reason of data, and only that, into UnstorableError."""
    try:
        yield
    except OverflowError as error:
        raise UnstorableError(str(error)) from None
    except Exception as error:
        judgement = judge(error)
        if judgement is None or judgement.kind is not Kind.DATA:
            raise
        raise UnstorableError(judgement.problem) from None


def judge(error: BaseException) -> Judgement | None:
    """What an error out of SQLAlchemy, a driver or an encoder means; None for anything else."""
    if isinstance(error, UnicodeEncodeError):
        return Judgement(Kind.DATA, _SURROGATE)
    if isinstance(error, OverflowError):  # sqlite3's own, which SQLAlchemy lets pass
        return Judgement(Kind.DATA, _TOO_LARGE)
    found = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    for judged in (sqlite.judge(found), postgresql.judge(found), mariadb.judge(found)):
        if judged is not None:
            return judged
    return Judgement(Kind.WRONG, str(found)) if isinstance(error, DBAPIError) else None


def _ours(judgement: Judgement, *, where: str) -> StoreError:
    if judgement.kind is Kind.CONTENDED:
        return StoreContendedError(where, judgement.problem, passes=True)
    if judgement.kind is Kind.AWAY:
        return StoreUnavailableError(where, judgement.problem, passes=not judgement.lasts)
    return StoreError(f"{where}: {judgement.problem}")
