"""Whether the tables that are there already are ours: a migration that was cut off leaves some, and so may others.

Our tables carry a comment. Called before a migration makes what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from jobwarden.errors import StoreUnavailableError
from jobwarden.store.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

_TABLES = text("""
SELECT table_name, table_comment FROM information_schema.tables WHERE table_schema = DATABASE()
""")


def refuse_foreign_tables(connection: Connection, *, where: str) -> None:
    """Raise StoreUnavailableError if a table of somebody else has the name of one of ours."""
    for name, comment in connection.execute(_TABLES):
        if name in metadata.tables and not comment.startswith("jobwarden"):
            problem = f"it holds a table {name} that jobwarden did not make; give jobwarden a database of its own"
            raise StoreUnavailableError(where, problem)
