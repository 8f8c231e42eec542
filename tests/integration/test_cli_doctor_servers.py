"""`jobwarden doctor` on real servers, PostgreSQL above all: each finding is provoked for real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import make_url

from jobwarden.client import Client
from jobwarden.clock import SECOND_US, SYSTEM_CLOCK, to_datetime
from jobwarden.findings import Severity
from jobwarden.jobs import JobOptions
from jobwarden.store import open_store
from jobwarden.store.dialects.postgresql.index_health import is_swollen
from jobwarden.store.dialects.postgresql.snapshots import OLD_SECONDS, OLD_TRANSACTIONS, is_old, severity_of
from jobwarden.store.dialects.postgresql.table_health import is_late
from tests.support import mariadb, pgbouncer, postgresql
from tests.support.pgbouncer import PgBouncer
from tests.support.played_node import NAME, PlayedNode
from tests.support.postgresql import PostgreSQL
from tests.support.shell import Shell

Finding = dict[str, Any]

BURN = "DO $$ BEGIN FOR n IN 1..{n} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
SECRET = "SELECT 'nobody else reads this'"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder, and no options in the environment."""
    for variable in [name for name in os.environ if name.startswith("JOBWARDEN_") and "_TEST_" not in name]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url() -> str:
    """A migrated database of its own on PostgreSQL."""
    made = postgresql.server().new_database()
    open_store(made, migrate=True).close()
    return made


@pytest.fixture
def shell(url: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(url, capsys)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """One with few connections, prepared transactions and passwords."""
    options = {"max_connections": "12", "max_prepared_transactions": "2"}
    with closing(PostgreSQL(tmp_path_factory.mktemp("server"), options, tcp=True)) as made:
        yield made.start()


@pytest.fixture
def own_url(own_server: PostgreSQL) -> str:
    """A migrated database on it."""
    made = own_server.new_database()
    open_store(made, migrate=True).close()
    return made


def examined(shell: Shell, *, code: int = 0) -> list[Finding]:
    """All findings; exit code 1 stands for a problem among them."""
    found: list[Finding] = shell.json("doctor", code=code)["findings"]
    return found


def of(found: list[Finding], subject: str) -> list[Finding]:
    """Those about this subject."""
    return [each for each in found if each["subject"] == subject]


def whats(found: list[Finding], subject: str) -> list[str]:
    """What they say."""
    return [each["what"] for each in of(found, subject)]


@contextmanager
def administrator(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of somebody else, each of whose statements commits."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        yield connection


@contextmanager
def old_snapshot(url: str) -> Iterator[int]:
    """A session that holds one, idle in its transaction, while others go on; its pid."""
    with closing(psycopg.connect(url, application_name="nightly report")) as holder, administrator(url) as others:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute(SECRET)
        others.execute(BURN.format(n=OLD_TRANSACTIONS + 1).encode())
        yield holder.info.backend_pid


def test_a_sound_server_has_no_problem(shell: Shell) -> None:
    """All that is asked of PostgreSQL is told; the only warnings are for what the suite's server leaves out."""
    found = examined(shell)
    assert {each["subject"] for each in found if each["severity"] == "warning"} <= {"settings"}
    told = {each["subject"] for each in found if each["severity"] == "ok"}
    assert {"server-version", "connections", "rights", "snapshot", "dead-rows", "index-health", "schema"} <= told
    assert {"indexes", "running", "clock", "kernel"} <= told


def test_settings_that_lose_jobs_are_named(shell: Shell) -> None:
    """The suite's server is hasty: a crash of it may lose what it has acknowledged."""
    told = whats(examined(shell), "settings")
    assert {"fsync is off", "full_page_writes is off", "synchronous_commit is off"} <= set(told)


def test_an_old_snapshot_names_the_session_that_holds_it(shell: Shell, url: str) -> None:
    """Pid, application, state and since when, and how to end it; never what it asks. Ended, the finding is gone."""
    with old_snapshot(url) as pid:
        (told,) = of(examined(shell), "snapshot")
        assert told["what"].startswith(f"session {pid} (application nightly report, role postgres, from this host)")
        assert "has held a snapshot since 2" in told["what"]
        assert told["what"].endswith("(idle in transaction)")
        assert f"pg_terminate_backend({pid})" in told["do"]
        assert "nobody else" not in str(told)
        with administrator(url) as connection:
            connection.execute(told["do"].partition("with ")[2].partition(";")[0])
    (told,) = of(examined(shell), "snapshot")
    assert told["severity"] == "ok"


def test_a_snapshot_of_another_database_holds_nothing_up(shell: Shell) -> None:
    """Vacuum here does not wait for it."""
    with old_snapshot(postgresql.server().new_database()):
        (told,) = of(examined(shell), "snapshot")
    assert told["severity"] == "ok"


def test_a_prepared_transaction_is_named(own_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no session, and outlives a restart of the server."""
    with administrator(own_url) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT pg_current_xact_id()")
        connection.execute("PREPARE TRANSACTION 'forgotten'")
        connection.execute(BURN.format(n=OLD_TRANSACTIONS + 1).encode())
        try:
            (told,) = of(examined(Shell(own_url, capsys)), "snapshot")
            assert told["what"].startswith("prepared transaction forgotten (role postgres)")
        finally:
            connection.execute("ROLLBACK PREPARED 'forgotten'")


@pytest.mark.parametrize(
    ("seconds", "transactions", "severity"),
    [
        (OLD_SECONDS - 1, OLD_TRANSACTIONS - 1, None),
        (OLD_SECONDS, 0, Severity.WARNING),
        (1, OLD_TRANSACTIONS, Severity.NOTICE),
        (None, OLD_TRANSACTIONS, Severity.WARNING),
    ],
)
def test_a_snapshot_is_judged_by_its_age(seconds: float | None, transactions: int, severity: Severity | None) -> None:
    """A minute is a warning; many transactions in less are worth a word; a slot has no age but its transactions."""
    assert is_old(seconds, transactions) is (severity is not None)
    if severity:
        assert severity_of(seconds) is severity


def test_a_role_that_sees_little_is_told_so(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without pg_read_all_stats other roles' snapshots stay unseen: then doctor does not say that there are none."""
    with administrator(url) as connection:
        user = _new_role(connection)
        connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}".encode())
        connection.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}".encode())
        (told,) = of(examined(Shell(_as(url, user), capsys)), "snapshot")
        assert told["what"] == "this role cannot see the transactions of other roles"
        connection.execute(f"GRANT pg_read_all_stats TO {user}".encode())
        (told,) = of(examined(Shell(_as(url, user), capsys)), "snapshot")
        assert told["severity"] == "ok"


def test_missing_rights_are_named_with_the_grant_that_gives_them(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What doctor says to do is what makes the problem go away; the server is examined all the same."""
    with administrator(url) as connection:
        user = _new_role(connection)
        shell = Shell(_as(url, user), capsys)
        connection.execute(f"GRANT SELECT ON jobwarden_version TO {user}".encode())
        found = examined(shell, code=1)
        (barred, making) = of(found, "rights")
        assert barred["severity"] == "problem"
        assert f"the role {user} may not read and write barrier, control, edge," in barred["what"]
        assert making["what"] == f"the role {user} may not make tables in the schema public"
        assert "server-version" in {each["subject"] for each in found}
        for statement in barred["do"].removeprefix("as their owner: ").split("; "):
            connection.execute(statement)
        assert [each["severity"] for each in of(examined(shell), "rights")] == ["notice", "ok"]


def test_an_invalid_index_and_a_leftover_are_named(shell: Shell, url: str) -> None:
    """Both are what a CREATE INDEX CONCURRENTLY left that failed; the second has the name that REINDEX gives."""
    with administrator(url) as connection:
        for number in (1, 2):
            connection.execute("INSERT INTO key (name, job_id) VALUES (%s, 7)", [f"k{number}"])
        for name in ("key_once", "job_claim_ccnew"):
            with pytest.raises(psycopg.errors.UniqueViolation):
                connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON key (job_id)".encode())
        found = examined(shell)
        (invalid,) = of(found, "index-invalid")
        (leftover,) = of(found, "index-leftover")
        assert (invalid["what"], invalid["severity"]) == ("the index key_once is invalid", "warning")
        assert leftover["do"] == "DROP INDEX CONCURRENTLY job_claim_ccnew"
        connection.execute(leftover["do"])
        connection.execute("DELETE FROM key")
        connection.execute(invalid["do"])
    (told,) = of(examined(shell), "index-health")
    assert told["severity"] == "ok"


def test_a_missing_index_is_named_with_the_statement_that_makes_it(shell: Shell, url: str) -> None:
    """In PostgreSQL's words; what doctor says to do is what makes the finding go away."""
    with administrator(url) as connection:
        connection.execute("DROP INDEX job_claim")
        (told,) = of(examined(shell), "indexes")
        assert told["what"] == "missing: job_claim"
        connection.execute(told["do"].removeprefix("run in the database: "))
    (told,) = of(examined(shell), "indexes")
    assert told["severity"] == "ok"


def test_dead_rows_that_pile_up_are_counted(shell: Shell, url: str) -> None:
    """A held snapshot keeps them; the table is named with its numbers, and when it was vacuumed last."""
    with administrator(url) as connection:
        connection.execute("ALTER TABLE tally SET (autovacuum_enabled = false)")
        connection.execute(
            "INSERT INTO tally (job_type, status, number) SELECT 'x', 'completed', 1 FROM generate_series(1, 11000)"
        )
        connection.execute("UPDATE tally SET number = 2")
        connection.execute("SELECT pg_stat_force_next_flush()")
        (told, off) = of(examined(shell), "dead-rows")
        assert told["what"].startswith("tally has 11,000 dead rows beside ")
        assert told["what"].endswith("it was never vacuumed")
        assert off["what"] == "autovacuum is switched off for tally"
        connection.execute("VACUUM tally")
        connection.execute(off["do"])
        connection.execute("SELECT pg_stat_force_next_flush()")
    (told,) = of(examined(shell), "dead-rows")
    assert told["severity"] == "ok"


def test_dead_rows_and_indexes_are_judged_by_their_size() -> None:
    """Twice the number at which autovacuum comes is late; eight times its entries is swollen, if it is large at all."""
    assert [is_late(dead, due_at=20_000) for dead in (20_001, 40_000, 40_001)] == [False, False, True]
    assert not is_late(9_000, due_at=100)
    size = 65 * 2**20
    assert is_swollen(size, entries=100, width=30)
    assert not is_swollen(size, entries=1_000_000, width=30)
    assert not is_swollen(size // 2, entries=100, width=30)
    assert not is_swollen(size, entries=-1, width=30)  # never analyzed: nobody knows


def test_few_free_connections_are_a_warning(own_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that finds none loses its lease."""
    (told,) = of(examined(Shell(own_url, capsys)), "connections")
    assert told["severity"] == "warning"
    assert told["what"].startswith("1 of 9 connections are taken, 1 of them by jobwarden")


def test_a_pooler_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A real PgBouncer that shares connections; everything else is examined through it all the same."""
    pgbouncer.require()
    with PgBouncer(postgresql.server(), pool_mode="transaction") as bouncer:
        found = examined(Shell(bouncer.url(url), capsys))
    assert whats(found, "pooler") == ["a pooler shares the server's connections between transactions"]
    assert {"server-version", "snapshot", "schema", "running"} <= {each["subject"] for each in found}


def test_another_encoding_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """A payload with other characters than the database knows would be refused."""
    server = postgresql.server()
    server.execute("CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    found = examined(Shell(server.url("narrow"), capsys), code=1)
    assert whats(found, "encoding") == ["the database's encoding is LATIN1"]


def test_events_of_another_server_are_told_with_the_way_to_have_them_followed(shell: Shell, url: str) -> None:
    """After a restore: the events would be held back until the numbers of transactions have come as far here."""
    store = open_store(url)
    before = store.add([JobOptions(job_type="echo")] * 2, now_us=1)
    with administrator(url) as connection:
        connection.execute("UPDATE event SET xid = xid + 1000000")
        later = store.add([JobOptions(job_type="echo")], now_us=2)
        assert [each.job_id for each in store.feed.after(None)] == later
        (told,) = of(examined(shell, code=1), "events")
        connection.execute(told["do"].partition(";")[0].encode())
    assert [each.job_id for each in store.feed.after(None)] == [*before, *later]
    assert [each["severity"] for each in of(examined(shell), "events")] == ["ok"]
    store.close()


def test_a_database_without_our_tables_is_one_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """Migrate is the way out; the server is examined all the same."""
    found = examined(Shell(postgresql.server().new_database(), capsys), code=1)
    (told,) = of(found, "schema")
    assert "schema is missing" in told["what"]
    assert told["do"] == "run `jobwarden migrate`"
    assert [each["subject"] for each in found if each["severity"] == "problem"] == ["schema"]
    assert {"server-version", "connections", "snapshot"} <= {each["subject"] for each in found}


def test_a_server_that_is_away_is_one_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, without a traceback; what needs no database is still told."""
    found = examined(Shell(f"postgresql://me:hidden@/jobs?host={tmp_path}", capsys), code=1)
    (told,) = of(found, "database")
    assert len(told["what"].splitlines()) == 1
    assert "hidden" not in str(found)
    assert of(found, "kernel")


def test_a_wrong_password_is_one_problem(own_server: PostgreSQL, capsys: pytest.CaptureFixture[str]) -> None:
    """The password that was tried is nowhere in the answer."""
    wrong = make_url(own_server.new_database(tcp=True)).set(password="mistyped").render_as_string(hide_password=False)
    found = examined(Shell(wrong, capsys), code=1)
    (told,) = of(found, "database")
    assert "password" in told["what"]
    assert "mistyped" not in str(found)


def test_nodes_and_clocks_are_judged_on_a_server_too(shell: Shell, url: str) -> None:
    """A node that is silent for longer than two leases, ready jobs of an unserved type, a stamp from the future."""
    with Client(url) as client:
        client.add_jobs([JobOptions(job_type="digest"), JobOptions(job_type="lonely")])
    with PlayedNode(url) as node:
        node.take_one()
    past, future = (to_datetime(SYSTEM_CLOCK.now_us() + hours * 3_600 * SECOND_US) for hours in (-1, 1))
    with administrator(url) as connection:
        connection.execute("""UPDATE node SET types = '[{"jobType":"digest"}]'""")
        assert whats(examined(shell), "handlers") == ["ready jobs of types that no daemon serves: lonely (1)"]
        connection.execute("UPDATE node SET beat_at = %s", [past])
        connection.execute("UPDATE event SET at = %s", [future])
        connection.execute("UPDATE job SET locked_at = %s, timeout_ms = 1000 WHERE status = 'processing'", [past])
    found = examined(shell)
    assert whats(found, "nodes")[0].startswith(f"{NAME} on testhost has not beaten for 3,6")
    assert whats(found, "handlers") == [], "who is dead serves nothing"
    assert "ahead of this host's clock" in whats(found, "clock")[0]
    assert whats(found, "running") == ["1 running job beyond the timeout: 1"]


def test_mariadb_is_examined(capsys: pytest.CaptureFixture[str]) -> None:
    """A sound database has no problem; the warning is for what the suite's server leaves out."""
    shell = Shell(_on_mariadb(), capsys)
    found = examined(shell)
    told = {each["subject"] for each in found if each["severity"] == "ok"}
    assert {"server-version", "connections", "collation", "snapshot", "indexes", "schema"} <= told
    assert {each["subject"] for each in found if each["severity"] == "warning"} <= {"settings"}


def test_changed_collations_and_missing_indexes_are_told_on_mariadb(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody has altered tables by hand."""
    url = _on_mariadb()
    with closing(_mariadb(url)) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE `key` MODIFY name varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        cursor.execute("DROP INDEX job_claim ON job")
    found = examined(Shell(url, capsys), code=1)
    assert whats(found, "collation") == ["changed by somebody: key.name (utf8mb4_general_ci)"]
    assert whats(found, "indexes") == ["missing: job_claim"]


def _new_role(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute("SELECT 'weak_' || pg_current_xact_id()").fetchone()
    assert row is not None
    connection.execute(f"CREATE ROLE {row[0]} LOGIN".encode())
    return str(row[0])


def _as(url: str, user: str) -> str:
    return make_url(url).set(username=user).render_as_string(hide_password=False)


def _on_mariadb() -> str:
    url = mariadb.server().new_database()
    open_store(url, migrate=True).close()
    return url


def _mariadb(url: str) -> Any:
    parsed = make_url(url)
    return pymysql.connect(
        host=parsed.host,
        port=parsed.port or 3306,
        user=parsed.username,
        password=parsed.password or "",
        database=parsed.database,
        unix_socket=parsed.query.get("unix_socket"),
    )
