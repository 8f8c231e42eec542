"""The doorbell on PostgreSQL: rings arrive, cost the caller nothing, and their absence is noticed."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest
from sqlalchemy import create_engine

from jobwarden.client import Client
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.store import Store, StoreOptions, open_store
from jobwarden.store.bell import NODE, WAIT, Bell, drain
from jobwarden.store.dialects.postgresql.exchange import PAUSE_SECONDS
from jobwarden.store.dialects.registry import dialect_for
from jobwarden.store.transactions import connected
from tests.support import pgbouncer
from tests.support.pgbouncer import PgBouncer
from tests.support.postgresql import PostgreSQL, server
from tests.support.proxy import Proxy
from tests.support.waiting import LIMIT_SECONDS, eventually

TIMEOUTS = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
BELLS = "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND query ~ 'LISTEN|NOTIFY .*(node|wait)' ORDER BY pid"

Opened = Callable[[str], Store]


class Ear(Protocol):
    def __call__(self, store: Store, kind: str = NODE, *, mode: str = "notifications") -> socket.socket: ...


@pytest.fixture
def url() -> str:
    made = server().new_database()
    open_store(made, migrate=True).close()
    return made


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Stores as two processes would open them; closed at the end."""
    stores: list[Store] = []

    def open_one(url: str) -> Store:
        stores.append(open_store(url, StoreOptions(lock_timeout_seconds=2)))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def ear(opened: Opened) -> Iterator[Ear]:  # noqa: ARG001 - stores are closed after their listeners
    """A listener of a store whose notifications are known to arrive; nothing has been rung yet."""
    listening: list[tuple[Bell, socket.socket]] = []

    def listen(store: Store, kind: str = NODE, *, mode: str = "notifications") -> socket.socket:
        assert store.bell is not None
        listener = store.bell.listen(kind)
        listening.append((store.bell, listener))
        eventually(lambda: store.connection_mode.startswith(mode), what=f"{mode}, not {store.connection_mode}")
        drain(listener)
        return listener

    yield listen
    for bell, listener in listening:
        bell.leave(listener)


def rings(listener: socket.socket, *, seconds: float = LIMIT_SECONDS) -> bool:
    return bool(select.select([listener], [], [], seconds)[0])


def hears(listener: socket.socket) -> None:
    assert rings(listener), "no ring came"
    drain(listener)


def ring(store: Store, *, times: int = 1) -> None:
    assert store.bell is not None
    for _ in range(times):
        store.bell.ring_nodes()


def name_of(url: str) -> str:
    return url.rpartition("/")[2].split("?")[0]


def bells(url: str) -> list[tuple[int]]:
    """The server's processes for connections that have rung or listened last."""
    return server().execute(BELLS.format(name_of(url)))


def sent(url: str) -> int:
    """How many transactions the server has committed in this database."""
    name = name_of(url)
    server().execute("SELECT pg_stat_force_next_flush()", database=name)
    return int(server().execute(f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{name}'")[0][0])  # noqa: S608 - our own name


def test_a_ring_reaches_the_kind_that_is_meant_in_other_processes(url: str, opened: Opened, ear: Ear) -> None:
    """Nodes hear of work, waiters of ends, both of everything."""
    here, there = opened(url), opened(url)
    node, waiter = ear(here), ear(here, WAIT)
    assert here.watch_seconds is None
    assert there.bell is not None
    there.bell.ring_nodes()
    hears(node)
    there.bell.ring_waiters()
    hears(waiter)
    assert not rings(node, seconds=0)
    there.bell.ring()
    hears(node)
    hears(waiter)


def test_an_added_job_rings_and_a_reader_does_not(url: str, opened: Opened, ear: Ear) -> None:
    """As on every store: after the commit, by whoever gave the nodes work."""
    node = ear(opened(url))
    with Client(url) as client:
        client.add_job("echo")
        hears(node)
        client.get_jobs()
    assert not rings(node, seconds=0)


def test_a_job_added_in_a_callers_transaction_rings_when_that_is_over(url: str, opened: Opened, ear: Ear) -> None:
    """Not before: nodes would look too early."""
    node = ear(opened(url))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with Client(url) as client:
        with engine.begin() as connection:
            client.add_job("echo", connection=connection)
            assert not rings(node, seconds=0)
        hears(node)
    engine.dispose()


def test_rings_in_a_row_are_sent_together(url: str, opened: Opened, ear: Ear) -> None:
    """Each NOTIFY is a commit under a lock of the whole server: a process sends one at once, then fifty a second."""
    here, there = opened(url), opened(url)
    node = ear(here)
    ring(there)
    hears(node)
    before, began_ns = sent(url), SYSTEM_CLOCK.monotonic_ns()
    for _ in range(100):
        ring(there, times=200)
        hears(node)
    there.close()  # lets the last one out
    took_seconds = (SYSTEM_CLOCK.monotonic_ns() - began_ns) / SECOND_NS
    assert sent(url) - before < 10 + 2 * took_seconds / PAUSE_SECONDS


@pytest.mark.parametrize("end", ["client.close()", "pass", "sys.exit(3)"])
def test_the_last_ring_of_a_process_goes_out_before_it_ends(url: str, opened: Opened, ear: Ear, end: str) -> None:
    """`jobwarden add` ends at once."""
    node = ear(opened(url))
    program = (
        f"import sys; from jobwarden.client import Client; client = Client({url!r}); client.add_job('echo'); {end}"
    )
    subprocess.run([sys.executable, "-c", program], check=False, timeout=LIMIT_SECONDS)
    hears(node)


def test_closing_waits_for_what_is_owed_and_no_longer(url: str, opened: Opened, ear: Ear) -> None:
    """A ring that has to wait for its turn goes out, and then the thread ends: no program ends later for it."""
    node, closing = ear(opened(url)), open_store(url)
    others = set(threading.enumerate())
    ring(closing)
    hears(node)
    ring(closing)
    closing.close()
    eventually(lambda: others.issuperset(threading.enumerate()), what="its thread has ended", seconds=10)
    hears(node)


def test_ringing_a_server_that_is_away_or_silent_holds_nobody_up(url: str, opened: Opened, ear: Ear) -> None:
    """It cannot fail, and is done elsewhere; it comes back by itself."""
    with Proxy(f"{server().socket_dir}/.s.PGSQL.{server().port}") as proxy:
        store = opened(proxy.url(url))
        node = ear(store)
        with ThreadPoolExecutor(1) as thread:
            proxy.cut()
            thread.submit(ring, store, times=1_000).result(LIMIT_SECONDS)
            proxy.refuse()
            thread.submit(ring, store, times=1_000).result(LIMIT_SECONDS)
        eventually(lambda: "away" in store.connection_mode, what="a bell that knows of its loss")
        hears(node)
        assert store.watch_seconds == 1.0
        proxy.resume()
        eventually(lambda: store.watch_seconds is None, what="a bell that works again")
        drain(node)
        ring(opened(url))
        hears(node)


def test_a_lost_connection_rings_at_once_and_again_when_it_is_back(url: str, opened: Opened, ear: Ear) -> None:
    """What was rung in between is lost, so listeners look."""
    store = opened(url)
    node = ear(store)
    for (pid,) in bells(url):
        server().execute(f"SELECT pg_terminate_backend({pid})")
    hears(node)
    eventually(lambda: store.watch_seconds is None, what="a bell that works again")
    hears(node)


def test_listeners_share_one_connection_which_goes_when_nobody_needs_it(url: str, opened: Opened, ear: Ear) -> None:
    """Few and fixed connections: one for hearing and ringing together."""
    store = opened(url)
    for kind in (NODE, NODE, WAIT):
        ear(store, kind)
    ring(store)
    assert len(bells(url)) == 1
    store.close()
    eventually(lambda: not bells(url), what="no connection of the bell")


def test_a_fork_says_nothing_on_its_parents_connection(url: str, opened: Opened, ear: Ear) -> None:
    """A child that ends, in whatever way, does not end what its parent listens on; it may ring itself."""
    store = opened(url)
    node = ear(store)
    pids = bells(url)
    child = os.fork()
    if child == 0:
        try:
            ring(store)
            store.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    hears(node)
    assert store.watch_seconds is None
    assert bells(url) == pids


@pytest.mark.parametrize("settings", [{}, {"ignore_startup_parameters": "options"}], ids=["refused", "ignored"])
def test_behind_a_transaction_pooler_everybody_looks_by_himself(
    url: str, opened: Opened, ear: Ear, settings: dict[str, str]
) -> None:
    """No notification arrives there; it is noticed, said, and jobs are found all the same."""
    pgbouncer.require()
    with PgBouncer(server(), pool_mode="transaction", **settings) as bouncer:
        store = opened(bouncer.url(url))
        node = ear(store, mode="polling: a pooler")
        assert store.watch_seconds == 1.0
        straight = ear(opened(url))
        ring(store)
        hears(straight)  # the other way round rings go through
        assert not rings(node, seconds=0)


def test_through_a_session_pooler_notifications_arrive(url: str, opened: Opened, ear: Ear) -> None:
    """Each client has a connection of the server for itself there."""
    pgbouncer.require()
    with PgBouncer(server(), pool_mode="session") as bouncer:
        node = ear(opened(bouncer.url(url)))
        ring(opened(url))
        hears(node)


def test_behind_a_pooler_every_transaction_has_its_timeouts(url: str) -> None:
    """And leaves none behind on connections that others use."""
    pgbouncer.require()
    with PgBouncer(server(), pool_mode="transaction", default_pool_size="1") as bouncer:
        dialect = dialect_for(bouncer.url(url), StoreOptions(lock_timeout_seconds=2))
        for _ in range(10):  # more often than psycopg waits before it prepares a statement
            with connected(dialect, writing=False) as connection:
                assert tuple(connection.exec_driver_sql(TIMEOUTS).one()) == ("30s", "2s")
        with dialect.engine.connect() as connection:
            assert tuple(connection.exec_driver_sql(TIMEOUTS).one()) == ("0", "0")
        dialect.close()


def test_straight_to_the_server_timeouts_hold_for_every_statement(url: str) -> None:
    """Said once when the connection is made; a single statement has them too."""
    dialect = dialect_for(url, StoreOptions(lock_timeout_seconds=2))
    with dialect.engine.connect() as connection:
        assert tuple(connection.exec_driver_sql(TIMEOUTS).one()) == ("30s", "2s")
    dialect.close()


def test_a_whole_client_works_behind_a_pooler_while_its_connections_change(url: str) -> None:
    """No prepared statement, no setting and no lock that outlives a transaction."""
    pgbouncer.require()
    with (
        PgBouncer(server(), pool_mode="transaction", server_lifetime="0") as bouncer,
        Client(bouncer.url(url)) as client,
    ):
        ids = [client.add_job("echo", {"n": number}) for number in range(20)]
        assert [client.cancel_job(each).status for each in ids] == ["cancelled"] * 20
        assert client.counts() == {"echo": {"cancelled": 20}}


def test_a_bell_does_not_outlive_a_killed_server_in_silence(
    opened: Opened, ear: Ear, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It comes back with the server, with what listens, and rings once."""
    own = PostgreSQL(tmp_path_factory.mktemp("server"), {"synchronous_commit": "on"}).start()
    try:
        url = own.new_database()
        open_store(url, migrate=True).close()
        store = opened(url)
        node = ear(store)
        own.kill()
        hears(node)
        own.start()
        eventually(lambda: store.watch_seconds is None, what="a bell that works again")
        hears(node)
        ring(opened(url))
        hears(node)
    finally:
        own.close()
