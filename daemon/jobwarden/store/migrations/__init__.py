"""Making and changing the schema with Alembic, started from code: there is no alembic.ini.

Opening a store asks `revision_of`; only when it differs from `HEAD` is Alembic imported and run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0004"
"""The newest revision in `versions/`; a test compares."""


def revision_of(connection: Connection) -> str | None:
    """The revision of this database; None if it has none yet."""
    table = version_table(connection)
    if not inspect(connection).has_table(table):
        return None
    return connection.execute(text(f"SELECT version_num FROM {table}")).scalar()


def version_table(connection: Connection) -> str:
    """Where the revision stands: on servers, beside the tables of applications that may use Alembic as well."""
    return "alembic_version" if connection.dialect.name == "sqlite" else "jobwarden_version"


def upgrade(connection: Connection) -> list[str]:
    """Bring the database to `HEAD` inside the caller's transaction; the revisions that were applied, oldest first."""
    from alembic import command  # noqa: PLC0415 - slow to import, and seldom needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    applied: list[str] = []
    config.attributes.update(connection=connection, applied=applied)
    command.upgrade(config, "head")
    return applied
