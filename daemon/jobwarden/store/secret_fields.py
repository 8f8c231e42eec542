"""The names of secret payload fields by job type, as nodes have told them. They are kept for good.

Written by a node's writer when a generation becomes current; read by those who show jobs to people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Insert, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from jobwarden.jobs.secrecy import SecretFields
from jobwarden.store.schema import secret_field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection


def note_secret_fields(connection: Connection, rows: Iterable[tuple[str, str]]) -> None:
    """Keep these (job type, name), whoever else does so in the same moment."""
    known = set(_rows(connection))
    fresh = [{"job_type": job_type, "name": name} for job_type, name in rows if (job_type, name) not in known]
    if fresh:
        connection.execute(_insertion(connection.dialect.name), fresh)


def read_secret_fields(connection: Connection) -> SecretFields:
    """All of them."""
    return SecretFields(_rows(connection))


def _rows(connection: Connection) -> list[tuple[str, str]]:
    return [(row.job_type, row.name) for row in connection.execute(select(secret_field))]


def _insertion(dialect: str) -> Insert:
    """A row that is there already is left as it is."""
    match dialect:
        case "sqlite":
            return sqlite.insert(secret_field).on_conflict_do_nothing()
        case "postgresql":
            return postgresql.insert(secret_field).on_conflict_do_nothing()
        case _:
            return mysql.insert(secret_field).on_duplicate_key_update(name=secret_field.c.name)
