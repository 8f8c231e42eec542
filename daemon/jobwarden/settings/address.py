"""Database URLs, as far as one can judge them without a database driver: their scheme, and what to hide.

Never shows a password: no sentence made here repeats the URL.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib.metadata import entry_points
from urllib.parse import quote

SCHEMES = ("sqlite", "postgresql", "postgres", "mysql", "mariadb")

STORES = "jobwarden.stores"
"""The entry-point group under which other packages offer stores: the name is the scheme."""

_USER = re.compile(r"([^:/?#]+://[^:/?#@]+)@")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]*)(\+[A-Za-z0-9_]+)?://(.*)", re.DOTALL)
_USER_PASSWORD = re.compile(r"(://[^:/@]*):.*@")
_QUERY_PASSWORD = re.compile(r"([?&](?:password|passwd|pwd|sslpassword)=)[^&]*", re.IGNORECASE)
_ANY_PASSWORD = re.compile(rf"{_USER_PASSWORD.pattern.replace('.*', '.+')}|{_QUERY_PASSWORD.pattern}.", re.IGNORECASE)


def mask_password(url: str) -> str:
    """The URL with `***` in place of a password before the host or in the query."""
    return _QUERY_PASSWORD.sub(r"\1***", _USER_PASSWORD.sub(r"\1:***@", url))


def exposed_password(url: str) -> str | None:
    """What is wrong with this URL on a command line, and the way out; None where it holds no password, or is none."""
    if _ANY_PASSWORD.search(url) is None or address_problem(url):
        return None
    return (
        "contains a password, and everybody on this machine can read a command line; put the URL into the environment "
        "variable JOBWARDEN_DATABASE_URL or the config file, or take the password out of it and give that in the file "
        "that `database_password_file` names, or as the systemd credential `database_password`"
    )


def with_password(url: str, password: str | None) -> str:
    """The URL with this password for its user; as it is where there is none, or no user."""
    if password is None:
        return url
    return _USER.sub(lambda match: f"{match[1]}:{quote(password, safe='')}@", url, count=1)


def password_problem(url: str) -> str | None:
    """Why no password can be given beside this URL, and the way out, or None."""
    if url.lower().startswith("sqlite"):
        return "is for database servers, and `database_url` names an SQLite file; leave the password out"
    if _ANY_PASSWORD.search(url):
        return "`database_url` holds a password already; take one of the two out"
    if _USER.match(url) is None:
        return "`database_url` names no user whose password it could be; write postgresql://USER@HOST/DATABASE"
    return None


def is_text(url: str) -> bool:
    """Whether a URL can be shown and written down: a path from the shell may hold bytes that are no text."""
    try:
        url.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in url


def address_problem(url: str) -> str | None:
    """What is wrong with a database URL and the way out, or None; the sentence does not contain the URL."""
    if not is_text(url):
        return "contains bytes that are no UTF-8 text; rename the file"
    match = _SCHEME.match(url)
    if match is None:
        return "is no database URL; write for example sqlite:///jobwarden.db or postgresql://user@host/database"
    scheme, rest = match[1].lower(), match[3]
    if scheme not in SCHEMES and scheme not in entry_points(group=STORES).names:
        near = get_close_matches(scheme, SCHEMES, n=1)
        meant = f"did you mean {near[0]}://?" if near else f"use one of {', '.join(SCHEMES)}"
        return f"{scheme}:// is no database that jobwarden knows; {meant}"
    if scheme == "sqlite":
        return _sqlite_problem(rest)
    return None


def _sqlite_problem(rest: str) -> str | None:
    path = rest.partition("?")[0]
    if path in {"", "/", "/:memory:"} or "mode=memory" in rest:
        return "is a database in memory, which processes cannot share; name a file, as in sqlite:///jobwarden.db"
    if not path.startswith("/"):
        return "lacks a slash; write three before a relative path and four before an absolute one"
    return None
