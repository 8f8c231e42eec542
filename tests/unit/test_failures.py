"""What drivers' errors mean: what is away, what is about the data, and what nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pymysql
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from jobwarden.errors import CommitUnknownError, StoreError, StoreUnavailableError
from jobwarden.store.failures import (
    UnstorableError,
    commit_errors,
    data_errors,
    judge,
    store_errors,
)
from jobwarden.store.failures.judgement import Kind

SECRET = "a value that nobody may see"

LOST = [
    errors.AdminShutdown(SECRET),
    errors.CrashShutdown(SECRET),
    errors.ConnectionFailure(SECRET),
    errors.IdleInTransactionSessionTimeout(SECRET),
    psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly"),
    psycopg.OperationalError("the connection is closed"),
    psycopg.OperationalError("no answer within 7 s: timed out"),
    pymysql.OperationalError(2006, "MySQL server has gone away"),
    pymysql.OperationalError(2013, "Lost connection to MySQL server during query"),
    pymysql.InterfaceError(0, ""),
]
CHANGED_NOTHING = [
    errors.LockNotAvailable(SECRET),
    errors.QueryCanceled(SECRET),
    errors.DeadlockDetected(SECRET),
    errors.SerializationFailure(SECRET),
    errors.DiskFull(SECRET),
    errors.TooManyConnections(SECRET),
    errors.ReadOnlySqlTransaction(SECRET),
    errors.InsufficientPrivilege(SECRET),
    errors.UndefinedTable(SECRET),
    errors.InvalidPassword(SECRET),
    pymysql.OperationalError(1205, SECRET),
    pymysql.OperationalError(1213, SECRET),
    pymysql.OperationalError(1045, SECRET),
    pymysql.ProgrammingError(1146, SECRET),
    pymysql.OperationalError(1290, SECRET),
]
ABOUT_DATA = [
    errors.UntranslatableCharacter(SECRET),
    errors.InvalidTextRepresentation(SECRET),
    errors.NumericValueOutOfRange(SECRET),
    errors.CheckViolation(SECRET),
    psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
    pymysql.DataError(1406, SECRET),
    pymysql.IntegrityError(1062, SECRET),
    pymysql.OperationalError(4025, SECRET),
]


def named(error: BaseException) -> str:
    """For people: the class, and what tells it from its neighbours without quoting a value."""
    words = "" if error.args[0] == SECRET else error.args[0]
    return f"{type(error).__name__} {words}".strip()


def raised(error: Exception, *, wrapped: bool) -> Callable[[], None]:
    """What raises it, as SQLAlchemy does or as the driver itself does."""

    def act() -> None:
        raise DBAPIError("STATEMENT", None, error) if wrapped else error

    return act


@pytest.mark.parametrize("wrapped", [True, False], ids=["SQLAlchemy", "driver"])
@pytest.mark.parametrize("error", LOST, ids=named)
def test_a_connection_lost_in_a_commit_leaves_it_unknown(error: Exception, wrapped: bool) -> None:  # noqa: FBT001
    """Anywhere else nothing was changed."""
    act = raised(error, wrapped=wrapped)
    with pytest.raises(CommitUnknownError), store_errors("here"), commit_errors("here"):
        act()
    with pytest.raises(StoreUnavailableError), store_errors("here"):
        act()


@pytest.mark.parametrize("error", CHANGED_NOTHING, ids=named)
def test_what_the_server_refuses_has_changed_nothing(error: Exception) -> None:
    """Also in a COMMIT: the server itself has said no."""
    with pytest.raises(StoreUnavailableError) as caught, store_errors("here"), commit_errors("here"):
        raise error
    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith("here: ")
    assert "; " in caught.value.problem, "what happened, and the way out"


@pytest.mark.parametrize("error", [*LOST, *CHANGED_NOTHING], ids=named)
def test_what_somebody_has_to_change_on_our_side_does_not_pass(error: Exception) -> None:
    """A start waits for a server that is away, not for another user, right or name."""
    lasting = (errors.InsufficientPrivilege, errors.UndefinedTable, errors.InvalidPassword)
    with pytest.raises(StoreUnavailableError) as caught, store_errors("here"):
        raise error
    lasts = isinstance(error, lasting) or (error.args[0] in {1045, 1146})
    assert caught.value.passes is not lasts


@pytest.mark.parametrize("error", ABOUT_DATA, ids=named)
def test_a_refused_value_is_told_from_a_store_that_is_away(error: Exception) -> None:
    """So that it can be found among its neighbours; no message quotes it."""
    with pytest.raises(UnstorableError) as caught, data_errors():
        raise error
    assert SECRET not in caught.value.reason
    with pytest.raises(StoreError) as told, store_errors("here"):
        raise error
    assert not isinstance(told.value, StoreUnavailableError)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("error", [*LOST, *CHANGED_NOTHING], ids=named)
def test_a_store_that_is_away_is_not_taken_for_bad_data(error: Exception) -> None:
    """A batch is not taken apart for it."""
    with pytest.raises(type(error)), data_errors():
        raise error


def test_a_mistake_of_ours_is_no_store_that_is_away() -> None:
    """It is told as it is, for it will not pass."""
    judgement = judge(errors.SyntaxError("syntax error"))
    assert judgement is not None
    assert judgement.kind is Kind.WRONG


def test_what_is_no_error_of_a_driver_passes() -> None:
    """Nothing of others is dressed up."""
    assert judge(ValueError("x")) is None
    with pytest.raises(ValueError, match="x"), store_errors("here"), commit_errors("here"), data_errors():
        raise ValueError("x")


def test_no_driver_is_imported_for_their_errors() -> None:
    """Both are extras."""
    folder = Path(judge.__code__.co_filename).parent
    for file in folder.glob("*.py"):
        words = file.read_text().split()
        assert not {"psycopg", "pymysql"} & {words[i + 1] for i, word in enumerate(words[:-1]) if word == "import"}
