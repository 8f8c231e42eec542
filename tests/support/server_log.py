"""What a PostgreSQL server with `log_statement=all` was asked, statement by statement, out of its log."""

from __future__ import annotations

import re

from tests.support.postgresql import PostgreSQL

LOGGING = {"log_statement": "all"}
"""The option that such a server needs."""

RENEWAL = "UPDATE node SET beat"
"""What no other statement says."""

_BEGINNING = re.compile(r"^\S+ \S+ \S+ \[\d+\] ", re.MULTILINE)
_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): *(.*)", re.DOTALL)


def statements(server: PostgreSQL, *, since: int = 0) -> list[str]:
    """All statements of all sessions, BEGIN and COMMIT included, from this byte of the log on.

    Several that were sent in one go count one by one. The test's own count too: let it be silent meanwhile.
    """
    entries = _BEGINNING.split(server.log.read_bytes()[since:].decode(errors="replace"))
    found = [match[1].strip() for entry in entries if (match := _STATEMENT.search(entry))]
    return [each.strip() for entry in found for each in entry.split("; ") if each.strip()]


def is_renewal(statement: str) -> bool:
    """Whether a node renews its lease by it."""
    return RENEWAL in statement
