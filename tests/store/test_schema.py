"""The schema: made by migrations, described by `schema.py`, opened once by many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from jobwarden.errors import SchemaMismatchError
from jobwarden.jobs import JobOptions
from jobwarden.store import Store, migrations, open_store
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.schema import ATTEMPTS_VIEW, metadata


def test_the_migrations_make_what_the_schema_describes(store: Store, url: str, bare_url: str) -> None:
    """Tables, columns, indexes with their conditions, constraints and the view are the same."""
    assert store.schema_revision() == migrations.HEAD
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with dialect.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        made = _objects(connection)
    dialect.close()
    described = dialect_for(bare_url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with described.engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(text(ATTEMPTS_VIEW))
        expected = _objects(connection)
    described.close()
    made.pop("alembic_version")
    assert made == expected


def test_head_is_the_newest_revision() -> None:
    """Opening a store compares with a constant, so that it need not import Alembic."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [migrations.HEAD]


@pytest.mark.only("sqlite", reason="a server's database is made by whoever runs the server")
def test_opening_creates_and_a_second_opening_changes_nothing(bare_url: str) -> None:
    """SQLite files are made on first use, readable by their owner only."""
    with_store = open_store(bare_url)
    assert with_store.migrate() == []
    with_store.close()
    path = Path(bare_url.removeprefix("sqlite:///"))
    assert path.stat().st_mode & 0o777 == 0o600
    again = open_store(bare_url, migrate=False)
    assert again.schema_revision() == migrations.HEAD
    again.close()


def test_an_empty_database_is_refused_without_leave_to_migrate(bare_url: str) -> None:
    """The error says what to run."""
    with pytest.raises(SchemaMismatchError, match="jobwarden migrate"):
        open_store(bare_url, migrate=False)


def test_a_database_of_a_newer_version_is_refused(bare_url: str) -> None:
    """It is not migrated backwards, whatever is asked for."""
    store = open_store(bare_url, migrate=True)
    dialect = dialect_for(bare_url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with dialect.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    dialect.close()
    with pytest.raises(SchemaMismatchError, match="newer"):
        open_store(bare_url)
    with pytest.raises(SchemaMismatchError, match="9999"):
        store.migrate()
    store.close()


def test_many_processes_may_make_a_store_at_once(bare_url: str) -> None:
    """One creates it; all can use it."""
    code = (
        "import sys; from jobwarden.store import open_store; from jobwarden.jobs import JobOptions; "
        "s = open_store(sys.argv[1], migrate=True); s.add([JobOptions(job_type='a')], now_us=1); s.close()"
    )
    command = [sys.executable, "-c", code, bare_url]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, errors
    store = open_store(bare_url)
    assert store.counts() == {"a": {"pending": 4}}
    store.close()


@pytest.mark.only("sqlite", reason="the first schema was SQLite's alone")
def test_a_database_of_the_first_schema_is_brought_up_with_its_jobs(bare_url: str) -> None:
    """Ended jobs are counted, their tags are live no more; what waited can be claimed and depended on."""
    dialect = dialect_for(bare_url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with dialect.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes.update(connection=connection, applied=[])
        command.upgrade(config, "0001")
        for job_id, status, ready, ended in ((1, "pending", 1, None), (2, "completed", None, 5)):
            connection.execute(text(_OLD_JOB), {"id": job_id, "status": status, "ready": ready, "ended": ended})
            connection.execute(text("INSERT INTO tag (job_id, name, position) VALUES (:id, 'x', 0)"), {"id": job_id})
    dialect.close()
    store = open_store(bare_url)
    assert store.schema_revision() == migrations.HEAD
    assert store.counts() == {"work": {"pending": 1, "completed": 1}}
    (waiting,) = store.add([JobOptions.parse(job_type="work", depends_on={"tags": ["x"]})], now_us=6)
    record = store.get(waiting)
    assert record is not None
    assert record.pending_reason == "waits for tagged jobs"
    assert "job 1" in store.controls.explain(waiting, now_us=6).reasons[0].text
    store.close()


_OLD_JOB = """
INSERT INTO job (id, job_type, status, priority, run_at, ready, due_at, claim_rank, created_at, updated_at,
                 payload, ended_at)
VALUES (:id, 'work', :status, 0, 1, :ready, :ready, 0, 1, 1, 'null', :ended)
"""


def _objects(connection: Connection) -> dict[str, Any]:
    """Name -> what the database itself says of its table, view or index, in words that can be compared."""
    inspector = inspect(connection)
    found: dict[str, Any] = {name: inspector.get_view_definition(name) for name in inspector.get_view_names()}
    for name in inspector.get_table_names():
        columns = [
            (each["name"], str(each["type"]), each["nullable"], each["default"]) for each in inspector.get_columns(name)
        ]
        found[name] = (columns, inspector.get_pk_constraint(name), inspector.get_foreign_keys(name))
        found |= {f"index {each['name']}": _said(each) for each in inspector.get_indexes(name)}
    if connection.dialect.name == "sqlite":  # whose own words are the only ones for its constraints
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        found |= {row.name: " ".join(row.sql.split()).replace("( ", "(").replace(" )", ")") for row in rows}
    return found


def _said(told: Any) -> Any:
    """As it can be compared: the condition of an index is an object that equals only itself."""
    if isinstance(told, dict):
        return {name: _said(value) for name, value in told.items()}
    return str(told)
