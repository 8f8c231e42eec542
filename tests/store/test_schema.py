"""The schema: made by migrations, described by `schema.py`, opened once by many."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, column, inspect, table, text

from jobwarden import __version__
from jobwarden.errors import SchemaMismatchError
from jobwarden.jobs import JobOptions
from jobwarden.store import Store, migrations, open_store
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.schema import ATTEMPTS_VIEW, metadata


def test_the_migrations_make_what_the_schema_describes(store: Store, url: str, bare_url: str) -> None:
    """Tables, columns, keys, indexes with their conditions. A server may have more of them, for itself, and decides
    which columns an index carries only to be looked at.
    """
    assert store.schema_revision() == migrations.HEAD
    made, expected = _in(url, _objects), _described(bare_url, _objects)
    for name, wanted in expected.items():
        if isinstance(wanted, dict):
            assert {column: made[name].get(column) for column in wanted} == wanted, name
        elif isinstance(wanted, set):
            assert made[name] >= wanted or made[name] <= wanted, name
        else:
            assert made[name] == wanted, name


@pytest.mark.only("sqlite", reason="it alone keeps the words of its statements")
def test_the_migrations_make_it_word_for_word(url: str, bare_url: str) -> None:
    """Constraints and the view too."""
    made = _in(url, _words)
    made.pop("alembic_version")
    assert made == _described(bare_url, _words)


def _in(url: str, look: Callable[[Connection], dict[str, Any]]) -> dict[str, Any]:
    dialect = dialect_for(url, StoreOptions(synchronous="normal"))
    with dialect.engine.connect() as connection:
        seen = look(connection)
    dialect.close()
    return seen


def _described(url: str, look: Callable[[Connection], dict[str, Any]]) -> dict[str, Any]:
    """In a database made by the description itself."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal"))
    with dialect.engine.begin() as connection:
        metadata.create_all(connection)
        if connection.dialect.name == "sqlite":
            connection.execute(text(ATTEMPTS_VIEW))
    dialect.close()
    return _in(url, look)


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
        revision = table(migrations.version_table(connection), column("version_num"))
        connection.execute(revision.update().values(version_num="9999"))
    dialect.close()
    with pytest.raises(SchemaMismatchError, match="newer"):
        open_store(bare_url)
    with pytest.raises(SchemaMismatchError, match="9999"):
        store.migrate()
    store.close()


@pytest.mark.only("postgresql", "mariadb", reason="a file is ours alone")
def test_an_application_that_uses_alembic_as_well_shares_the_database(bare_url: str) -> None:
    """Its jobs are added in its own transactions, beside its own tables: neither takes the other's revision for its."""
    dialect = dialect_for(bare_url, StoreOptions(lock_timeout_seconds=1))
    with dialect.engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0003')"))
        connection.commit()
    with pytest.raises(SchemaMismatchError, match="schema is missing"):
        open_store(bare_url)
    store = open_store(bare_url, migrate=True)
    assert store.schema_revision() == migrations.HEAD
    store.close()
    with dialect.engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0003"
    dialect.close()


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
    """Table -> its columns, index -> what it is over; not how long a text may be, nor in which order they stand."""
    inspector = inspect(connection)
    found: dict[str, Any] = {}
    for name in inspector.get_table_names():
        found[name] = {each["name"]: _column(each) for each in inspector.get_columns(name)}
        found[f"key of {name}"] = inspector.get_pk_constraint(name)["constrained_columns"]
        found[f"parents of {name}"] = {
            (*each["constrained_columns"], each["referred_table"], each["options"].get("ondelete"))
            for each in inspector.get_foreign_keys(name)
        }
        for each in inspector.get_indexes(name):
            found[str(each["name"])] = set(each["column_names"])
            conditions = {name: str(value) for name, value in each.get("dialect_options", {}).items()}
            condition = conditions.get(f"{connection.dialect.name}_where", "")
            found[f"condition of {each['name']}"] = re.sub(r"::text|[()]", "", condition)
    return found


def _column(told: Any) -> tuple[object, ...]:
    return told["type"]._type_affinity.__name__, told["nullable"], "nextval" not in str(told["default"] or "nextval")  # noqa: SLF001


def _words(connection: Connection) -> dict[str, str]:
    """SQLite keeps the statements that made each table and index."""
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    return {row.name: " ".join(row.sql.split()).replace("( ", "(").replace(" )", ")") for row in rows}


def test_a_schema_that_is_too_new_names_the_version_that_made_it(bare_url: str) -> None:
    """Noted beside the revision, where a program finds it that knows nothing else of the schema."""
    open_store(bare_url, migrate=True).close()
    dialect = dialect_for(bare_url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with dialect.engine.begin() as connection:
        revision = table(migrations.version_table(connection), column("version_num"))
        connection.execute(revision.update().values(version_num="9999"))
    dialect.close()
    sentence = rf"schema is 9999, of jobwarden {__version__}, this version, {__version__}, needs {migrations.HEAD}"
    with pytest.raises(SchemaMismatchError, match=sentence):
        open_store(bare_url, migrate=False)
