"""The databases of our three stores, for the suite in tests/store: a file, and one database on each real server."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from jobwarden.store import StoreOptions, open_store
from jobwarden.testing.store_contract.ground import GivenDatabase, Ground
from tests.support import mariadb, postgresql


class SQLiteFiles:
    """A new file for each test, copied from one that was migrated: that takes a tenth of the time."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="jw-sqlite-"))
        self._made = self._folder / "jobs.db"
        open_store(f"sqlite:///{self._made}", StoreOptions(synchronous="normal")).close()

    def store(self, folder: Path) -> str:
        """A file of its own."""
        shutil.copy(self._made, folder / "jobs.db")
        return f"sqlite:///{folder}/jobs.db"

    def bare(self, folder: Path) -> str:
        """Opening it makes it."""
        return f"sqlite:///{folder}/new.db"

    def close(self) -> None:
        """Remove the file that was copied."""
        shutil.rmtree(self._folder, ignore_errors=True)


class OnServer(GivenDatabase):
    """One database, emptied before each test: a new one would take ten times as long."""

    def __init__(self, new_database: Callable[[], str]) -> None:
        self._new_database = new_database
        super().__init__(new_database())

    def bare(self, folder: Path) -> str:  # noqa: ARG002 - nothing of it is a file here
        """A new one."""
        return self._new_database()


_OURS: dict[str, Callable[[], Ground]] = {
    "sqlite": SQLiteFiles,
    "postgresql": lambda: OnServer(postgresql.server().new_database),
    "mariadb": lambda: OnServer(mariadb.server().new_database),
}


def chosen() -> dict[str, Callable[[], Ground]]:
    """Those that JOBWARDEN_TEST_STORES names, such as "sqlite,postgresql"; by default all."""
    wanted = os.environ.get("JOBWARDEN_TEST_STORES") or ",".join(_OURS)
    return {name: _OURS[name] for name in wanted.split(",")}
