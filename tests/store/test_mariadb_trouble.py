"""What only MariaDB brings: servers that will not do, migrations that were cut off, an application's own settings."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import create_engine, make_url, text

from jobwarden.errors import InvalidJobError, InvalidSettingsError, StoreUnavailableError
from jobwarden.jobs import JobOptions
from jobwarden.store import StoreOptions, migrations, open_store
from jobwarden.store.dialects.mariadb import engine as mariadb_engine
from jobwarden.store.dialects.mariadb.engine import MariaDBDialect
from jobwarden.store.migrations import first_mariadb

from .scene import START_US, Scene

pytestmark = pytest.mark.only("mariadb", reason="MariaDB's versions, DDL without transactions, settings of a session")


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("8.0.36", "this is MySQL 8.0.36; jobwarden needs MariaDB 10.11 or newer, or PostgreSQL"),
        ("5.5.5-10.6.18-MariaDB-log", "MariaDB 10.6.18 is too old, 10.11 or newer is needed; update the server"),
        ("10.5.1-MariaDB", "MariaDB 10.5.1 is too old, 10.11 or newer is needed; update the server"),
    ],
)
def test_another_or_an_old_server_is_refused_by_name(url: str, version: str, sentence: str) -> None:
    """Before anything is asked of it that it does not have."""
    dialect = MariaDBDialect(make_url(url), StoreOptions())
    with pytest.raises(StoreUnavailableError, match=sentence):
        dialect._refuse_other_server(version)  # noqa: SLF001 - no such server is at hand
    dialect.close()


@pytest.mark.parametrize("version", ["5.5.5-10.11.8-MariaDB-0+deb12u1", "11.4.2-MariaDB", "12.0.1-MariaDB-log"])
def test_newer_servers_are_welcome(url: str, version: str) -> None:
    """Whatever they say first for the sake of old replicas."""
    dialect = MariaDBDialect(make_url(url), StoreOptions())
    dialect._refuse_other_server(version)  # noqa: SLF001
    dialect.close()


def test_a_short_patience_leaves_no_transaction_open_for_ever(url: str) -> None:
    """Rounded to whole seconds it must not become nothing, which is no limit: locks of a dead client would stay."""
    dialect = MariaDBDialect(make_url(url), StoreOptions(lock_timeout_seconds=0.3, statement_timeout_seconds=0.3))
    with dialect.engine.connect() as connection:
        assert connection.execute(text("SELECT @@idle_transaction_timeout")).scalar_one() == 1
    dialect.close()


def test_a_server_with_small_packets_is_refused_and_told_what_to_set(url: str) -> None:
    """A claim's answer would be cut off to nothing there."""
    dialect = MariaDBDialect(make_url(url), StoreOptions())
    with pytest.raises(StoreUnavailableError, match="max_allowed_packet is 1048576 bytes; set it to 16777216"):
        dialect._refuse_small_packets(1_048_576)  # noqa: SLF001
    dialect.close()


def test_a_url_without_a_database_is_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidSettingsError, match="name the database; write mariadb://user@host/database"):
        open_store("mariadb://somebody:secret@localhost", migrate=True)


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mariadb+pymysql"])
def test_all_ways_to_write_the_scheme_lead_to_the_store(url: str, scheme: str) -> None:
    """People write mysql:// for MariaDB too."""
    written = make_url(url).set(drivername=scheme).render_as_string(hide_password=False)
    store = open_store(written)
    assert store.schema_revision() == migrations.HEAD
    store.close()


@pytest.mark.parametrize("made", [1, 5, len(first_mariadb.STATEMENTS)])
def test_a_migration_that_was_cut_off_is_told_and_goes_on_when_it_is_begun_again(bare_url: str, made: int) -> None:
    """Each statement commits by itself: the revision is missing until the last has."""
    engine = create_engine(bare_url)
    with engine.begin() as connection:
        for statement in first_mariadb.STATEMENTS[:made]:
            connection.execute(text(statement))
    engine.dispose()
    with pytest.raises(Exception, match=r"schema is missing, this version, .+, needs \w+; run `jobwarden migrate`"):
        open_store(bare_url)
    store = open_store(bare_url, migrate=True)
    scene = Scene(store)
    scene.complete(scene.add_and_claim())
    scene.writer.close()
    store.close()


def test_a_table_of_somebody_else_is_not_taken_for_ours(bare_url: str) -> None:
    """`CREATE TABLE IF NOT EXISTS` would leave it as it is."""
    engine = create_engine(bare_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE job (id int PRIMARY KEY)"))
    engine.dispose()
    with pytest.raises(StoreUnavailableError, match="it holds a table job that jobwarden did not make"):
        open_store(bare_url, migrate=True)


def test_migrations_wait_for_each_other(bare_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock goes with the connection; who has waited finds the work done, or says what it waits for."""
    made: list[object] = []
    threads = [threading.Thread(target=lambda: made.append(open_store(bare_url, migrate=True))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    for store in made:
        store.close()  # type: ignore[attr-defined]
    name = f"jobwarden.migrate.{make_url(bare_url).database}"
    engine = create_engine(bare_url)
    monkeypatch.setattr(mariadb_engine, "_MIGRATION_SECONDS", 0)
    with engine.connect() as holder:
        holder.execute(text("SELECT GET_LOCK(:name, 0)"), {"name": name})
        store = open_store(bare_url)
        with pytest.raises(StoreUnavailableError, match="another process has been migrating it"):
            store.migrate()
        store.close()
    engine.dispose()


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "READ COMMITTED"])
def test_an_add_in_a_transaction_with_an_old_view_gives_the_holder_of_a_key(
    scene: Scene, isolation: str, url: str
) -> None:
    """InnoDB's own default shows an application the state in which its transaction began."""
    engine = create_engine(url, isolation_level=isolation)
    keyed = JobOptions(job_type="work", idempotency_key="k")
    with engine.connect() as connection:
        connection.execute(text("SELECT count(*) FROM job")).scalar()
        connection.execute(text("SELECT count(*) FROM `key`")).scalar()
        held = scene.store.add([keyed], now_us=START_US)
        assert scene.store.add([keyed], now_us=START_US, connection=connection) == held
        connection.commit()
    engine.dispose()


def test_an_applications_own_settings_do_not_matter(scene: Scene, url: str) -> None:
    """Its time zone, SQL mode, character set and longest aggregate are left as they are, and change nothing for us."""
    engine = create_engine(f"{url}&charset=latin1")
    with engine.connect() as connection:
        connection.execute(text("SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', time_zone = '+05:00'"))
        connection.execute(text("SET SESSION group_concat_max_len = 8"))
        ids = scene.store.add(
            [JobOptions(job_type="work", payload={"a": 'b"\\ü'}, tags=["x", "y"]) for _ in range(30)],
            now_us=START_US,
            connection=connection,
        )
        connection.commit()
    engine.dispose()
    assert [job.id for job in scene.claim()] == ids
    record = scene.get(ids[0])
    assert (record.payload, record.tags) == ({"a": 'b"\\ü'}, ["x", "y"])
    assert int(record.created_at.timestamp() * 1_000_000) == START_US


def test_another_database_of_the_server_is_refused(scene: Scene, bare_url: str) -> None:
    """Its jobs would never be seen by the daemons of this one."""
    engine = create_engine(bare_url)
    with engine.connect() as connection, pytest.raises(InvalidJobError, match="leads to the database"):
        scene.store.add([JobOptions(job_type="work")], now_us=START_US, connection=connection)
    engine.dispose()
