"""Where the tests of a store take their databases from: a `Ground` for each dialect, handed over by whoever runs them.

`GivenDatabase` is the ground of somebody else's store: one database, emptied before each test. The suite itself knows
neither servers nor files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from sqlalchemy import func, inspect, select

from jobwarden.store import StoreOptions, migrations, open_store, schema
from jobwarden.store.dialects import dialect_for
from jobwarden.store.failures import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sqlalchemy import Connection


class Ground(Protocol):
    """The databases of one dialect, one test after the other."""

    def store(self, folder: Path) -> str:
        """The URL of a migrated store without any rows. It may be the one that was given out before, emptied.

        Whatever needs files may use `folder`, which is the test's own.
        """

    def bare(self, folder: Path) -> str | None:
        """The URL of a new database without any tables; None where there is none to be had."""

    def close(self) -> None:
        """Nothing of it is used any more."""


GROUNDS: pytest.StashKey[Mapping[str, Callable[[], Ground]]] = pytest.StashKey()
"""In pytest's `Config.stash`: the name of a dialect -> what makes its ground when the first test asks for it."""


class GivenDatabase:
    """The database at `url`: made if there is no store in it, emptied otherwise."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._dialect = dialect_for(url, StoreOptions(synchronous="normal"))
        open_store(url, StoreOptions(synchronous="normal"), migrate=True).close()

    def store(self, folder: Path) -> str:  # noqa: ARG002 - the database is where it is
        """The same one each time; what the last test left is deleted."""
        with self._dialect.engine.connect() as connection:
            self._dialect.begin(connection, writing=True)
            empty(connection)
            connection.commit()
        return self._url

    def bare(self, folder: Path) -> str | None:  # noqa: ARG002 - as above
        """There is only this one, and it has its tables."""
        return None

    def close(self) -> None:
        """It stays as the last test left it."""
        self._dialect.close()


def held_at(url: str) -> str | None:
    """What stands in the database that the suite would spoil, in words; None if there is nothing."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal"))
    try:
        with store_errors(dialect.url_shown), dialect.engine.connect() as connection:
            tables = set(inspect(connection).get_table_names())
            strangers = tables - set(schema.metadata.tables) - {migrations.version_table(connection)}
            jobs = connection.scalar(select(func.count()).select_from(schema.job)) if "job" in tables else 0
    finally:
        dialect.close()
    held = [f"{jobs} jobs"] if jobs else []
    return " and ".join([*held, *(f"the table {name}" for name in sorted(strangers)[:1])]) or None


def empty(connection: Connection) -> None:
    """Delete all rows of the store, in the open transaction; ids go on where they were."""
    for table in reversed(schema.metadata.sorted_tables):
        connection.execute(table.delete())
