"""Whether the indexes of `schema` are there, on any database; for each that is not, the statement that makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect
from sqlalchemy.schema import CreateIndex

from jobwarden.findings import ok, warning
from jobwarden.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from jobwarden.findings import Finding


def indexes(connection: Connection) -> Iterator[Finding]:
    """One finding about all that are missing."""
    found = {each["name"] for listed in inspect(connection).get_multi_indexes().values() for each in listed}
    wanted = {str(index.name): index for table in schema.metadata.sorted_tables for index in table.indexes}
    missing = [name for name in sorted(wanted) if name not in found]
    if not missing:
        yield ok("indexes", f"all {len(wanted)} indexes are there")
        return
    statements = [" ".join(str(CreateIndex(wanted[name]).compile(connection)).split()) for name in missing]
    yield warning(
        "indexes",
        f"missing: {', '.join(missing)}",
        why="without them claims and upkeep read whole tables, and get slower with every job that is kept",
        do=f"run in the database: {'; '.join(statements)}",
    )
