"""The suite of all stores on one that another package offers: green if it keeps the promises, red if it breaks one.

The package is a folder on the path: a module, and beside it the entry point that names its scheme. It is SQLite under
another name; what it spoils, if anything, is said in its URL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from jobwarden.errors import InvalidSettingsError
from jobwarden.jobs import JobOptions
from jobwarden.store import open_store
from jobwarden.store.dialects import StoreOptions, dialect_for
from tests.unit.test_house_rules import TESTS

MODULE = """
from dataclasses import replace

from sqlalchemy import text

from jobwarden.store.dialects.sqlite.engine import SQLiteDialect


class Elsewhere(SQLiteDialect):
    def __init__(self, url, options):
        super().__init__(url.set(drivername="sqlite"), options)
        self.url_shown = url.render_as_string(hide_password=True)
        if str(url.database).endswith("careless.db"):
            claim = self.statements.claim_jobs.text
            assert "fence = fence + 1" in claim
            self.statements = replace(self.statements, claim_jobs=text(claim.replace("fence = fence + 1,", "")))
"""
METADATA = "Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n"
ENTRY_POINTS = "[jobwarden.stores]\nelsewhere = elsewhere:Elsewhere\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of an installed package that offers the scheme `elsewhere`."""
    about = tmp_path / "packages" / "elsewhere-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(METADATA)
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    (about.parent / "elsewhere.py").write_text(MODULE)
    return about.parent


def run(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, as the author of the package types it in a folder of his own."""
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "JOBWARDEN_TEST_EXAMPLES": "20", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "jobwarden.testing.store_contract", *words]
    return subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(["-k", "fence or claiming or adding or ends"], id="the-path-of-a-job"),
        pytest.param([], id="all", marks=pytest.mark.nightly),
    ],
)
def test_the_suite_is_green_on_a_store_of_another_package(package: Path, tmp_path: Path, chosen: list[str]) -> None:
    """Found by its scheme; the tests of the contract run on it, none of those that are one store's own."""
    done = run(package, f"elsewhere:///{tmp_path}/jobs.db", "-q", *chosen)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr
    assert "\nelsewhere: " in done.stdout
    assert "failed" not in done.stdout
    assert "sqlite: " not in done.stdout


def test_the_suite_is_red_on_a_store_that_forgets_the_fence(package: Path, tmp_path: Path) -> None:
    """A claim that leaves the fence where it was lets a late owner's result in: a test about fences says so."""
    done = run(package, f"elsewhere:///{tmp_path}/careless.db", "-q", "-x", "-k", "fence")
    assert done.returncode == 1, done.stdout[-4_000:] + done.stderr
    assert "FAILED" in done.stdout


def test_a_database_with_jobs_is_left_alone_unless_told_otherwise(package: Path, tmp_path: Path) -> None:
    """The suite empties its database; what somebody has in it is named, and still there."""
    url = f"sqlite:///{tmp_path}/mine.db"
    store = open_store(url)
    store.add([JobOptions(job_type="precious")], now_us=1)
    store.close()
    done = run(package, url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the database holds 1 jobs; ")
    store = open_store(url)
    assert store.counts() == {"precious": {"pending": 1}}
    store.close()


def test_a_database_of_somebody_else_is_left_alone(package: Path, tmp_path: Path) -> None:
    """Tables that are none of a store's make it no place for tests."""
    dialect = dialect_for(f"sqlite:///{tmp_path}/shop.db", StoreOptions())
    with dialect.engine.begin() as connection:
        connection.execute(text("CREATE TABLE customer (name TEXT)"))
    dialect.close()
    done = run(package, f"sqlite:///{tmp_path}/shop.db")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the database holds the table customer; ")


def test_a_scheme_that_nobody_offers_is_named(package: Path) -> None:
    """One sentence, no traceback."""
    done = run(package, "nowhere://x/y")
    assert done.returncode == 2
    assert "no store for nowhere:// is installed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("offered", ["no_such_module:Store", "elsewhere:NoSuchThing", "elsewhere:METADATA"])
def test_a_package_that_cannot_be_loaded_is_named_by_its_scheme(
    package: Path, offered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver of its own that is missing, for example: one sentence, as for every setting that is wrong."""
    (package / "elsewhere-1.0.dist-info" / "entry_points.txt").write_text(f"[jobwarden.stores]\nshaky = {offered}\n")
    (package / "elsewhere.py").write_text("METADATA = 1\n")
    monkeypatch.syspath_prepend(package)
    with pytest.raises(
        InvalidSettingsError, match=r"^database_url: the package that offers a store for shaky:// is broken"
    ):
        open_store("shaky://someone@host/jobs")


def test_what_is_shipped_needs_nothing_that_is_not() -> None:
    """The suite's files but those of one store are in the wheel: they import each other by their place."""
    own = ("test_sqlite_", "test_postgresql_", "test_mariadb_")
    shipped = [path for path in (TESTS / "store").glob("*.py") if not path.name.startswith(own)]
    assert len(shipped) > 40
    assert [path.name for path in shipped if "\nfrom tests" in path.read_text()] == []
