"""The errors of sqlite3, by the name of their code."""

from __future__ import annotations

import sqlite3

from jobwarden.store.failures.judgement import Judgement, Kind

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
_UNSURE = "SQLITE_IOERR"
"""Of a commit: a later recovery may find the transaction in the log."""

_PASSES = ("SQLITE_BUSY", "SQLITE_LOCKED")

_STICKS = "SQLITE_READONLY"
"""A file that cannot be written is opened for reading, and that connection stays so (sqlite3_open_v2)."""


def judge(error: BaseException) -> Judgement | None:
    """None if this is no error of sqlite3."""
    code = getattr(error, "sqlite_errorname", "")
    if not code and not isinstance(error, sqlite3.Error):
        return None
    for name, problem in _WAYS_OUT.items():
        if code.startswith(name):
            lasts = name not in _PASSES
            return Judgement(Kind.AWAY, problem, lost=name == _UNSURE, lasts=lasts, sticks=name == _STICKS)
    about_data = isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError)) or code.startswith(_DATA)
    return Judgement(Kind.DATA if about_data or _MALFORMED in str(error) else Kind.WRONG, str(error))
