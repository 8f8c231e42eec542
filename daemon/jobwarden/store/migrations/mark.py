"""Which version of jobwarden gave a database its schema, for whoever is too old for it: noted beside the revision.

Not in a table of ours: a program must be able to read it from a schema that it does not know. SQLite has a number for
such things in the file's header, the servers have the comment of the table with the revision.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import text

from jobwarden.version import __version__

if TYPE_CHECKING:
    from sqlalchemy import Connection

_TABLE = "jobwarden_version"
_OWNER = "jobwarden "
_PARTS = 3
_RADIX = 1_000


def note_version(connection: Connection) -> None:
    """In the transaction of a migration, at its end."""
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql(f"PRAGMA user_version = {_as_number(__version__)}")
        case "postgresql":
            connection.exec_driver_sql(f"COMMENT ON TABLE {_TABLE} IS '{_OWNER}{__version__}'")
        case "mysql" | "mariadb":
            connection.exec_driver_sql(f"ALTER TABLE {_TABLE} COMMENT = '{_OWNER}{__version__}'")
        case _:
            return


def noted_version(connection: Connection) -> str:
    """As `0.2.0`; empty if it is not known."""
    match connection.dialect.name:
        case "sqlite":
            return _as_text(int(connection.execute(text("PRAGMA user_version")).scalar_one()))
        case "postgresql":
            query = f"SELECT obj_description(to_regclass('{_TABLE}'), 'pg_class')"
        case "mysql" | "mariadb":
            query = (
                "SELECT table_comment FROM information_schema.tables"
                f" WHERE table_schema = DATABASE() AND table_name = '{_TABLE}'"
            )
        case _:
            return ""
    return (connection.execute(text(query)).scalar() or "").removeprefix(_OWNER)


def _as_number(version: str) -> int:
    """`1.2.3` is 1002003; what follows the numbers is left out."""
    numbers = [int(part) for part in re.findall(r"\d+", version)[:_PARTS]]
    total = 0
    for number in [*numbers, 0, 0, 0][:_PARTS]:
        total = total * _RADIX + min(number, _RADIX - 1)
    return total


def _as_text(number: int) -> str:
    if number <= 0:
        return ""
    upper, patch = divmod(number, _RADIX)
    major, minor = divmod(upper, _RADIX)
    return f"{major}.{minor}.{patch}"
