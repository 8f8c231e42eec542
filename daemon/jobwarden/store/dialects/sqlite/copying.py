"""A copy of the database while programs work on it, by SQLite's own backup API. Called by `SQLiteDialect.back_up`.

The copy shows one moment: all pages are read in one read transaction, which holds no writer up (the log only grows a
little longer meanwhile). It has no name before it is whole, checked and on the disk, and it never takes the place of
another file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from typing import TYPE_CHECKING

from jobwarden.errors import BackupError
from jobwarden.store.dialects.sqlite.checkpoints import driver_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

_PAGES_IN_A_STEP = 4_096
_WHOLE = "ok"


def copy_database(connection: Connection, target: Path, *, told: Callable[[int, int], None]) -> None:
    """Write the database as it is now to the new file `target`; `told` gets pages done and pages in all.

    Raises BackupError, and what SQLite raises about the source.
    """
    _refuse_taken(target)
    unborn = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(unborn, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            _fill(driver_of(connection), unborn, told=told)
            _put_in_place(unborn, target)
        finally:
            for left in (unborn, *(unborn.with_name(unborn.name + side) for side in ("-wal", "-shm", "-journal"))):
                left.unlink(missing_ok=True)
        _sync(target.parent)
    except OSError as error:
        raise BackupError(str(target), f"cannot be written: {error.strerror}; choose another place") from error


def _refuse_taken(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise BackupError(str(target), "is there already; give the copy another name, or remove that one first")


def _fill(source: sqlite3.Connection, unborn: Path, *, told: Callable[[int, int], None]) -> None:
    try:
        with contextlib.closing(sqlite3.connect(unborn, isolation_level=None)) as copy:
            _copy(source, copy, told=told)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BackupError(
            str(unborn), f"the copy cannot be written: {error}; make room, or choose another place"
        ) from error
    if found != _WHOLE:
        problem = (
            f"the copy is damaged, and so most likely is the database ({found}); see `jobwarden doctor --thorough`"
        )
        raise BackupError(str(unborn), problem)
    _sync(unborn)


def _copy(source: sqlite3.Connection, copy: sqlite3.Connection, *, told: Callable[[int, int], None]) -> None:
    """In a transaction: a commit of others between two steps would let SQLite begin anew each time."""
    source.execute("BEGIN")
    try:
        source.execute("SELECT 1 FROM sqlite_schema").fetchone()  # the transaction begins with what it reads first
        source.backup(copy, pages=_PAGES_IN_A_STEP, progress=lambda _status, left, whole: told(whole - left, whole))
    finally:
        source.execute("ROLLBACK")


def _put_in_place(unborn: Path, target: Path) -> None:
    try:
        os.link(unborn, target)  # unlike a rename, never over another file
    except FileExistsError:
        _refuse_taken(target)
    except OSError:  # a file system without links
        _refuse_taken(target)
        unborn.rename(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
