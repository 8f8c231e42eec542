"""Connections to PostgreSQL: replaced when they have ended, given up when nobody answers, never trusted too far."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import URL, Connection, create_engine, make_url

from jobwarden.clock import to_us
from jobwarden.errors import CommitUnknownError, StoreError, StoreUnavailableError
from jobwarden.jobs import JobOptions
from jobwarden.store import Store, StoreOptions, Work, open_store
from jobwarden.store.dialects.postgresql import connecting
from jobwarden.store.dialects.postgresql.connecting import Connecting
from jobwarden.store.dialects.registry import dialect_for
from jobwarden.store.transactions import connected
from tests.support.postgresql import server
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

QUICK = StoreOptions(lock_timeout_seconds=0.5, statement_timeout_seconds=0.5)
NOTHING = Work(now_us=1, node_id="nobody", node_name="nobody")


@pytest.fixture
def url() -> str:
    made = server().new_database()
    open_store(made, migrate=True).close()
    return made


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(f"{server().socket_dir}/.s.PGSQL.{server().port}") as made:
        yield made


@pytest.fixture
def store(proxy: Proxy, url: str) -> Iterator[Store]:
    made = open_store(proxy.url(url), QUICK)
    yield made
    proxy.resume()
    made.close()


def backends(url: str, state: str = "idle") -> list[int]:
    """The server's processes for this database that are in this state."""
    name = make_url(url).database
    query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND state = '{state}'"  # noqa: S608 - our names
    return [row[0] for row in server().execute(query)]


def test_connections_that_ended_while_nobody_used_them_cost_nothing(store: Store, url: str) -> None:
    """Nothing was asked of them yet: a pooled one is replaced, a kept one begins again on a new one."""
    writer = store.writer()
    writer.transact(NOTHING)
    version = store.data_version()
    for _ in range(3):
        for pid in backends(url):
            server().execute(f"SELECT pg_terminate_backend({pid})")
        eventually(lambda: not backends(url), what="the end of all connections")
        assert store.get(1) is None
        assert writer.transact(NOTHING).node_missing
    writer.close()
    with pytest.raises(StoreUnavailableError):  # asked outside of any transaction; the next one is new
        store.data_version()
    assert store.data_version() >= version


def test_a_server_that_answers_nothing_is_given_up(store: Store, proxy: Proxy) -> None:
    """Nobody waits for ever, and an answer that comes late is nobody's."""
    writer = store.writer()
    proxy.cut()
    with pytest.raises(StoreUnavailableError, match="did not answer in time"):
        writer.transact(NOTHING)
    with pytest.raises(StoreUnavailableError, match="did not answer in time"):
        store.get(1)
    proxy.resume()
    assert writer.transact(NOTHING).node_missing
    assert store.get(1) is None
    writer.close()


def test_silence_in_a_commit_leaves_it_unknown(store: Store, proxy: Proxy) -> None:
    """The server has done it; that it says nothing means nothing."""
    cut = proxy.lose_answer(b"commit", within=b"insert into job", silent=True)
    with pytest.raises(CommitUnknownError):
        store.add([JobOptions(job_type="echo")], now_us=1)
    cut.wait()
    assert len(store.find()) == 1


def test_the_locks_of_a_client_that_has_vanished_are_free_soon(store: Store, proxy: Proxy, url: str) -> None:
    """The server ends a transaction whose client says nothing any more, though its connection stands."""
    proxy.lose_request(b"commit", within=b"insert into job", silent=True)
    with pytest.raises(CommitUnknownError):
        store.add([JobOptions(job_type="echo")], now_us=1)
    eventually(lambda: not backends(url, "idle in transaction"), what="the end of the transaction")
    assert not store.find()


def test_a_failed_transaction_is_never_taken_for_a_commit(url: str) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK then, which is no error to the driver."""
    dialect = dialect_for(url, QUICK)
    with pytest.raises(StoreError), connected(dialect, writing=True) as connection:
        fail_unnoticed(connection)
    with connected(dialect, writing=True) as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    dialect.close()


def test_what_the_url_says_wins(url: str) -> None:
    """Over every default of ours; the server's own settings are added to."""
    asked = {"application_name": "mine", "options": "-c statement_timeout=1234"}
    dialect = dialect_for(str_of(make_url(url).update_query_dict(asked)), QUICK)
    with dialect.engine.connect() as connection:
        ask = "SELECT current_setting('application_name'), current_setting('statement_timeout'), "
        row = connection.exec_driver_sql(f"{ask} current_setting('lock_timeout')").one()
        assert tuple(row) == ("mine", "1234ms", "500ms")
    dialect.close()


@pytest.mark.parametrize("way", ["straight", "pooler"])
@pytest.mark.parametrize("style", ["German", "SQL, DMY", "Postgres"])
def test_a_database_with_a_style_of_dates_of_its_own_is_read(
    url: str, style: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver reads moments in ISO only; also where the server can be told nothing when a connection is made."""
    server().execute(f"ALTER DATABASE {make_url(url).database} SET datestyle = '{style}'")
    if way == "pooler":
        monkeypatch.setattr(Connecting, "_startup", lambda _self: "")
        monkeypatch.setattr(connecting, "_ASK", "SELECT 0")
    store = open_store(url)
    (job_id,) = store.add([JobOptions(job_type="echo")], now_us=1_000_001)
    found = store.get(job_id)
    assert found is not None
    assert to_us(found.created_at) == 1_000_001
    store.close()


def test_a_migration_takes_as_long_as_it_takes(url: str) -> None:
    """Neither the server nor we give it up; the next transaction on that connection has its limits again."""
    dialect = dialect_for(url, QUICK)
    long = f"SELECT pg_sleep({QUICK.statement_timeout_seconds + 2.5})"
    with connected(dialect, writing=True) as connection:
        dialect.upgrade(connection)
        connection.exec_driver_sql(long)
    with (
        pytest.raises(StoreUnavailableError, match="statement timeout"),
        connected(dialect, writing=True) as connection,
    ):
        connection.exec_driver_sql(long)
    dialect.close()


@pytest.mark.parametrize("place", ["user", "query"])
def test_no_password_is_shown(place: str) -> None:
    """Wherever in the URL it stands."""
    plain = make_url("postgresql://user@127.0.0.1:1/jobs")
    url = plain.set(password="canary") if place == "user" else plain.update_query_dict({"password": "canary"})
    with pytest.raises(StoreUnavailableError) as caught:
        open_store(str_of(url))
    assert "canary" not in str(caught.value)


def test_a_callers_connection_need_not_be_made_by_us(url: str) -> None:
    """Any engine of SQLAlchemy to the same database will do."""
    store = open_store(url)
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        store.add([JobOptions(job_type="echo")], now_us=1, connection=connection)
    assert len(store.find()) == 1
    engine.dispose()
    store.close()


def fail_unnoticed(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with pytest.raises(psycopg.errors.DivisionByZero):
        driver.execute("SELECT 1 / 0")


def str_of(url: URL) -> str:
    return url.render_as_string(hide_password=False)
