"""What `jobwarden doctor` looks at where the store is an SQLite file; reads only.

`of_place` looks from outside, before any connection; `checks` are asked on connections. Called through the dialect.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy import text

from jobwarden.findings import notice, ok, problem, warning
from jobwarden.store.checkup.check import NO_DATABASE, Check
from jobwarden.store.dialects.sqlite import log_readers, place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from jobwarden.findings import Finding

_RACE_FIXED = (3, 51, 3)
_RACE_BACKPORTS: dict[tuple[int, ...], int] = {(3, 50): 7, (3, 44): 6}
"""Release -> the patch that has the fix too (sqlite.org/wal.html#walresetbug)."""
_LONG_LOG_BYTES = 32 * 1024 * 1024
"""The daemon folds the log in above 4 MB and cuts its file off above eight times that."""
_MIB = 2**20
_MOST_FAULTS = 5


def of_place(path: Path, *, log_bytes: int) -> Iterator[Finding]:
    """The library and the file as seen from outside. The last one is NO_DATABASE if there is no file."""
    yield version(sqlite3.sqlite_version_info)
    if not path.parent.is_dir():
        why = "a database is made in a folder that is there; nothing can be added or run"
        yield problem(NO_DATABASE, f"the folder {path.parent} does not exist", why=why, do="make it, or name another")
        return
    yield from place.file_system(path)
    yield from place.room(path)
    if not path.exists():
        why = "no job was ever added here; a wrong path looks the same"
        do = "compare the path with the daemon's; the first `jobwarden add` or `run` makes the file"
        yield notice(NO_DATABASE, f"there is no database at {path} yet", why=why, do=do)
        return
    yield from place.rights(path)
    yield from _log(path, log_bytes)


def checks(*, thorough: bool) -> list[Check]:
    """What is asked on a connection."""
    return [_integrity] if thorough else []


def version(found: tuple[int, ...]) -> Finding:
    """Whether this release of SQLite has the WAL-reset race."""
    told = f"SQLite {'.'.join(map(str, found))}"
    if found >= _RACE_FIXED or found[2] >= _RACE_BACKPORTS.get(found[:2], found[2] + 1):
        return ok("sqlite-version", told)
    return notice(
        "sqlite-version",
        f"{told} has the WAL-reset race, which 3.51.3 fixed",
        why="very rarely, a commit during a checkpoint damages the database; jobwarden's own hold the write lock, so "
        "that no commit comes in between, but other programs that write to the file, and connections of your own that "
        "add jobs, make automatic ones without it",
        do="set PRAGMA wal_autocheckpoint=0 on each such connection, or update SQLite to 3.51.3 or newer (Python's "
        "`sqlite3` uses the system's library, or one built into Python)",
    )


def _log(path: Path, size: int) -> Iterator[Finding]:
    log = log_readers.look(path)
    told = f"the write-ahead log is {size / _MIB:,.1f} MiB long"
    left = 0 if log is None else log.frames - log.folded
    if size <= _LONG_LOG_BYTES or log is None or not left:
        yield ok("log", told)
        return
    names = ", ".join(log_readers.name_of(pid) for pid in log.readers)
    waiting = f"{told}, {left:,} pages of it are not in the database yet"
    if names:
        yield warning(
            "log",
            f"{waiting}; {names} reads an old state of the database",
            why="the log grows with each commit until that reading ends: it fills the disk and slows every query",
            do="end that transaction (a cursor that was left open, a backup, a shell), or that process",
        )
    else:
        do = "run a daemon: it folds the log in; should one be running, look at its log for errors"
        yield warning("log", waiting, why="it grows with each commit and slows every query", do=do)


def _integrity(connection: Connection) -> Iterator[Finding]:
    faults = [str(row[0]) for row in connection.execute(text(f"PRAGMA quick_check({_MOST_FAULTS})"))]
    if faults == ["ok"]:
        yield ok("integrity", "the quick check finds no damage")
        return
    told = "; ".join(" ".join(each.split()) for each in faults)
    yield problem(
        "integrity",
        f"the database is damaged: {told}",
        why="jobs may be missing or wrong, and it gets worse with each write",
        do="stop the daemon, keep a copy of the file and its -wal, restore a backup (else try `sqlite3 FILE .recover`)",
    )
