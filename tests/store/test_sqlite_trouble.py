"""A store that cannot be used says so in one sentence with the way out; no data and no password in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from jobwarden.errors import (
    CommitUnknownError,
    InvalidSettingsError,
    StoreUnavailableError,
)
from jobwarden.jobs import JobOptions, JobStatus
from jobwarden.store import Store, open_store
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.failures import commit_errors, store_errors

from .scene import START_US, Scene

pytestmark = pytest.mark.only("sqlite", reason="one lock for all writers, one file on one disk")

SECRET = "a secret"


def test_a_locked_store_is_unavailable_after_the_busy_timeout(store: Store, url: str) -> None:
    """Nothing was changed, and trying again is the way out."""
    holder = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    hurried = open_store(url, StoreOptions(lock_timeout_seconds=0.05))
    with holder.engine.connect() as connection:
        holder.begin(connection, writing=True)
        with pytest.raises(StoreUnavailableError, match="try again"):
            hurried.add([JobOptions(job_type="a", payload=SECRET)], now_us=START_US)
        assert hurried.find() == []
        connection.rollback()
    assert hurried.add([JobOptions(job_type="a")], now_us=START_US) == [1]
    hurried.close()
    holder.close()
    assert len(store.find()) == 1


@pytest.mark.parametrize(
    ("pragma", "way_out"), [("max_page_count=1", "make room"), ("query_only=ON", "check the owner and mode")]
)
def test_a_full_or_read_only_disk_is_named(url: str, pragma: str, way_out: str) -> None:
    """SQLite's own errors for both, brought about without a disk."""
    open_store(url).close()
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    event.listen(dialect.engine, "connect", lambda connection, _: connection.execute(f"PRAGMA {pragma}"))
    store = Store(dialect)
    with pytest.raises(StoreUnavailableError, match=way_out) as raised:
        store.add([JobOptions(job_type="a", payload={"text": "a secret" * 99_000})], now_us=START_US)
    assert "secret" not in str(raised.value)
    assert store.find() == []
    store.close()


def test_ends_are_not_dropped_while_the_store_is_locked(scene: Scene, url: str) -> None:
    """The transaction fails as a whole and succeeds when repeated."""
    job = scene.add_and_claim()
    holder = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    hurried = open_store(url, StoreOptions(lock_timeout_seconds=0.05))
    patient, scene.writer = scene.writer, hurried.writer()
    with holder.engine.connect() as connection:
        holder.begin(connection, writing=True)
        with pytest.raises(StoreUnavailableError):
            scene.complete(job)
        connection.rollback()
    assert scene.complete(job).refused == []
    assert scene.get(job.id).status is JobStatus.COMPLETED
    scene.writer.close()
    scene.writer = patient
    hurried.close()
    holder.close()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """It is not made: a typing error in a URL would go unnoticed."""
    with pytest.raises(StoreUnavailableError, match="directory exists"):
        open_store(f"sqlite:///{tmp_path}/missing/jobs.db")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """Whatever it is, it stays as it was."""
    path = tmp_path / "notes.txt"
    text = "these are my notes, not a database\n" * 100
    path.write_text(text)
    with pytest.raises(StoreUnavailableError, match="not an SQLite database"):
        open_store(f"sqlite:///{path}")
    assert path.read_text() == text


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "sqlite:////", "sqlite://///", "nonsense"]
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    """A memory database could not be shared with a daemon."""
    with pytest.raises(InvalidSettingsError, match="sqlite:///"):
        open_store(url)


def test_another_database_is_refused_without_showing_the_password() -> None:
    """The sentence names what is supported."""
    with pytest.raises(InvalidSettingsError, match="sqlite:///") as raised:
        open_store("oracle://me:hunter2@db/jobs")
    assert "hunter2" not in str(raised.value)


def test_an_unknown_synchronous_level_is_refused(url: str) -> None:
    """Durability is not guessed."""
    with pytest.raises(InvalidSettingsError, match="full or normal"):
        open_store(url, StoreOptions(synchronous="off"))


def test_an_error_of_the_disk_at_commit_leaves_the_commit_unknown() -> None:
    """The log may hold the transaction all the same: a later recovery decides."""

    class DiskError(Exception):
        sqlite_errorname = "SQLITE_IOERR_FSYNC"

    with pytest.raises(CommitUnknownError, match="idempotency key"), store_errors("here"), commit_errors("here"):
        raise OperationalError("COMMIT", None, DiskError())


def test_an_error_of_the_disk_elsewhere_changed_nothing() -> None:
    """Only COMMIT is ambiguous."""

    class DiskError(Exception):
        sqlite_errorname = "SQLITE_IOERR_WRITE"

    with pytest.raises(StoreUnavailableError, match="disk"), store_errors("here"):
        raise OperationalError("INSERT", None, DiskError())
