"""The errors of PyMySQL, by MariaDB's number (MariaDB documentation, "Error Codes")."""

from __future__ import annotations

from jobwarden.store.failures.judgement import Judgement, Kind

_LOST = "the connection to the server was lost; try again"
_NO_ENTRY = "the server refuses the user or the password; check both in the database URL"
_NO_SERVER = "no server answers there; is the host right, and is the server running?"
_NO_RIGHT = "this user may not do that; grant it the rights on jobwarden's tables, or name another user"
_NO_TABLE = "a table or column is missing; run `jobwarden migrate`"
_READ_ONLY = "this server takes no writes (a replica, or set to read-only); name the primary in the database URL"
_FULL = "the server's disk or table space is full; make room on it"
_SLOW = "a statement took longer than the statement timeout and was cancelled; try again"
_CROWDED = "the server has no connection left for us; close some, or raise its max_connections"
_REPEAT = "another transaction was in the way (deadlock or conflict); try again"
_STOPPING = "the server is stopping; try again"

_WAYS_OUT = {
    1020: _REPEAT,
    1021: _FULL,
    1026: _FULL,
    1037: "the server has not enough memory; try again",
    1040: _CROWDED,
    1044: _NO_RIGHT,
    1045: _NO_ENTRY,
    1049: "there is no such database on this server; create it, or name another one in the database URL",
    1053: _STOPPING,
    1054: _NO_TABLE,
    1114: _FULL,
    1129: "the server has blocked this host after too many errors; run FLUSH HOSTS there",
    1130: "the server takes no connections from this host; check the user's host there",
    1142: _NO_RIGHT,
    1143: _NO_RIGHT,
    1146: _NO_TABLE,
    1203: _CROWDED,
    1205: "somebody else kept a lock for longer than the lock timeout; try again",
    1213: _REPEAT,
    1226: _CROWDED,
    1227: _NO_RIGHT,
    1290: _READ_ONLY,
    1317: _SLOW,
    1698: _NO_ENTRY,
    1792: _READ_ONLY,
    1836: _READ_ONLY,
    1927: _LOST,
    1969: _SLOW,
    2002: _NO_SERVER,
    2003: _NO_SERVER,
    2005: "the host is unknown; check its name in the database URL",
    2006: _LOST,
    2013: _LOST,
    2014: _LOST,
    2055: _LOST,
    3024: _SLOW,
    4031: _LOST,
    4151: _NO_ENTRY,
}

_LASTING = {1044, 1045, 1049, 1054, 1130, 1142, 1143, 1146, 1227, 1698, 4151}
"""User, rights, names: who set this up has to look."""

_LOST_CODES = {0, 1053, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031}
"""A commit that ends so may have been done; PyMySQL says 0 for a connection that is closed already."""

_REFUSED = {
    1048: "a value is missing",
    1062: "a value is there already",
    1153: "a value is larger than the server's max_allowed_packet",
    1264: "a number or moment is out of range",
    1292: "a value is malformed",
    1300: "a text holds bytes that are no text",
    1366: "a text holds a character that the database cannot store",
    1406: "a text is too long",
    1451: "a row that is referred to would go",
    1452: "a row that is referred to is missing",
    3140: "a value is malformed JSON",
    4025: "a value breaks a rule of its table",
    4038: "a value is malformed JSON",
}


def judge(error: BaseException) -> Judgement | None:  # noqa: PLR0911 - one for each kind
    """None if this is no error of PyMySQL."""
    if type(error).__module__.partition(".")[0] != "pymysql":
        return None
    code = error.args[0] if error.args and isinstance(error.args[0], int) else -1
    if code in _REFUSED:
        return Judgement(Kind.DATA, _REFUSED[code])
    lost = code in _LOST_CODES
    if _WAYS_OUT.get(code) is _REPEAT:
        return Judgement(Kind.CONTENDED, _REPEAT)
    if code in _WAYS_OUT:
        return Judgement(Kind.AWAY, _WAYS_OUT[code], lost=lost, lasts=code in _LASTING)
    if type(error).__name__ in {"DataError", "IntegrityError"}:
        return Judgement(Kind.DATA, f"the database refuses a value (error {code})")
    if lost or type(error).__name__ == "InterfaceError":
        return Judgement(Kind.AWAY, _LOST, lost=True)
    return Judgement(Kind.WRONG, f"{error.args[-1] if error.args else error} (error {code})")
