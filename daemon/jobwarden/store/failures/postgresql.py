"""The errors of psycopg: by SQLSTATE (PostgreSQL documentation, appendix A), and by their words where there is none.

A refused connection comes without a state, in the words of libpq or of the server. Messages of the classes 22 and 23
quote the value that was refused, so they are never passed on.
"""

from __future__ import annotations

from jobwarden.store.failures.judgement import Judgement, Kind

_LOST = "the connection to the server was lost; try again"
_NO_ENTRY = "the server refuses the user or the password; check both in the database URL, and the server's pg_hba.conf"
_NO_DATABASE = "there is no such database on this server; create it, or name another one in the database URL"
_READ_ONLY = "this server takes no writes (a standby, or set to read-only); name the primary in the database URL"
_STARTING = "the server is starting or stopping; try again"
_CROWDED = "the server has no connection left for us; close some, or raise its max_connections"
_NO_TABLE = "a table or column is missing; run `jobwarden migrate`, and check the search_path of this user"
_SILENT = "the server did not answer in time; try again"
_DENIED = "this user may not do that; grant it the rights on jobwarden's tables, or name another user"
_NO_TLS = "no encrypted connection can be made as the URL asks for it; check sslmode and files"
_REPEAT = "another transaction was in the way (deadlock or conflict); try again"

_WAYS_OUT = {
    "08": _LOST,
    "25006": _READ_ONLY,
    "25P03": "the server closed a transaction that was idle for too long; try again",
    "25P04": "the server closed a transaction that took too long; try again",
    "26000": "a prepared statement is gone: is there a pooler in between that shares connections? try again",
    "42P05": "a prepared statement is there twice: is there a pooler in between that shares connections? try again",
    "28": _NO_ENTRY,
    "3D000": _NO_DATABASE,
    "3F000": _NO_TABLE,
    "40": _REPEAT,
    "42501": _DENIED,
    "42P01": _NO_TABLE,
    "42703": _NO_TABLE,
    "53100": "the server's disk is full; make room on it",
    "53200": "the server has not enough memory; try again",
    "53300": _CROWDED,
    "53": "the server is short of something (disk, memory, connections); look at its log",
    "55P03": "somebody else kept a lock for longer than the lock timeout; try again",
    "57014": "a statement took longer than the statement timeout and was cancelled; try again",
    "57P03": _STARTING,
    "57P": "the server ended the connection (an administrator, a restart or a crash); try again",
    "58": "the server reports an error of its disk or system; look at its log",
    "XX001": "the database is damaged; look at the server's log and restore a backup",
    "XX002": "an index of the database is damaged; look at the server's log and reindex",
}
"""By the beginning of the state; the longer one comes first."""

_LASTING = (_NO_ENTRY, _NO_DATABASE, _NO_TABLE, _DENIED, _NO_TLS)
"""User, rights, names: who set this up has to look."""

_LOST_STATES = ("08", "57P", "25P03", "25P04", "58", "XX")
"""A commit that ends so may have been done."""

_DATA_CLASSES = ("22", "23", "54")
_REFUSED = {
    "22021": "a text holds a character that the database cannot store (NUL, or no UTF-8)",
    "22P05": "a text holds a character that the database cannot store; is its encoding UTF8?",
    "22P02": "a value is malformed",
    "22032": "a value is malformed JSON",
    "22001": "a text is too long",
    "22003": "a number is out of range",
    "22008": "a moment is out of range",
    "54000": "a value is too large",
}

_WORDS = (
    (("password", "authentication", "pg_hba.conf", "fe_sendauth", "role "), _NO_ENTRY),
    (("does not exist", "database"), _NO_DATABASE),
    (("resolve host", "translate host", "hostname"), "the host is unknown; check its name in the database URL"),
    (("refused", "No such file", "unreachable", "No route"), "no server answers there; is it running?"),
    (("timeout expired", "timed out", "timeout"), _SILENT),
    (("starting up", "shutting down", "recovery mode", "not yet accepting"), _STARTING),
    (("too many", "connection slots", "no more connections"), _CROWDED),
    (("read-only", "read-write", "hot standby"), _READ_ONLY),
    (("SSL", "certificate"), _NO_TLS),
    (("closed", "lost", "terminat", "reset by", "broken", "is bad", "EOF", "server conn crashed"), _LOST),
)
"""In this order: any of the words; but of a missing database, both."""


def judge(error: BaseException) -> Judgement | None:
    """None if this is no error of psycopg."""
    if type(error).__module__.partition(".")[0] not in {"psycopg", "psycopg_binary", "psycopg_c"}:
        return None
    state: str | None = getattr(error, "sqlstate", None)
    return _by_words(error) if state is None else _by_state(error, state)


def _by_state(error: BaseException, state: str) -> Judgement:
    if state.startswith(_DATA_CLASSES):
        return Judgement(Kind.DATA, _REFUSED.get(state, f"the database refuses a value ({_name(error, state)})"))
    lost = state.startswith(_LOST_STATES)
    for beginning in (state, state[:3], state[:2]):
        if beginning in _WAYS_OUT:
            if _WAYS_OUT[beginning] is _REPEAT:
                return Judgement(Kind.CONTENDED, _REPEAT)
            # Behind an address that moves to the new primary, what is open leads to the old one.
            problem = _WAYS_OUT[beginning]
            return Judgement(Kind.AWAY, problem, lost=lost, lasts=problem in _LASTING, sticks=problem is _READ_ONLY)
    return Judgement(Kind.WRONG, f"{_first_line(error)} ({_name(error, state)})", lost=lost)


def _by_words(error: BaseException) -> Judgement:
    """No state: libpq's own errors, and psycopg's."""
    words, kind = str(error), type(error).__name__
    if kind == "DataError":
        return Judgement(Kind.DATA, _REFUSED["22021"] if "NUL" in words else "a value cannot be sent to the database")
    if kind not in {"OperationalError", "InterfaceError", "_WaitTimeout", "ConnectionTimeout"}:
        return Judgement(Kind.WRONG, _first_line(error))
    for signs, problem in _WORDS:
        found = [sign in words for sign in signs]
        if all(found) if problem is _NO_DATABASE else any(found):
            lasts = problem in _LASTING
            return Judgement(Kind.AWAY, problem, lost=True, is_silent=problem is _SILENT, lasts=lasts)
    return Judgement(Kind.AWAY, _first_line(error), lost=True)


def _first_line(error: BaseException) -> str:
    diagnosis = getattr(error, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or str(error)
    return text.strip().partition("\n")[0]


def _name(error: BaseException, state: str) -> str:
    return f"{type(error).__name__}, SQLSTATE {state}"
