"""The broken network of the tests breaks where it says."""

from __future__ import annotations

import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.support.postgresql import server
from tests.support.proxy import Proxy
from tests.support.waiting import LIMIT_SECONDS, eventually


@pytest.fixture
def database() -> str:
    name = server().new_database().split("?")[0].rpartition("/")[2]
    server().execute("CREATE TABLE t (n int)", database=name)
    return name


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(f"{server().socket_dir}/.s.PGSQL.{server().port}") as made:
        yield made


def connect(proxy: Proxy, database: str, **more: Any) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(proxy.url(f"postgresql://postgres@/{database}?host=/nowhere"), connect_timeout=5, **more)


def count(database: str) -> object:
    return server().execute("SELECT count(*) FROM t", database=database)[0][0]


@pytest.mark.parametrize("prepared_after", [0, None])
def test_the_answer_of_a_commit_is_lost(proxy: Proxy, database: str, prepared_after: int | None) -> None:
    """The server has done it, the client sees a broken connection."""
    connection = connect(proxy, database, prepare_threshold=prepared_after)
    cut = proxy.lose_answer(b"COMMIT", within=b"insert into t")
    connection.execute("SELECT 1")
    connection.commit()  # not within
    connection.execute("INSERT INTO t VALUES (%s)", (1,))
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    cut.wait()
    assert count(database) == 1
    assert cut.statements[-1] == b"commit"


def test_the_answer_of_a_single_statement_is_lost(proxy: Proxy, database: str) -> None:
    """Also of a prepared one, whose text was sent long before."""
    connection = connect(proxy, database, autocommit=True, prepare_threshold=0)
    connection.execute("INSERT INTO t VALUES (%s)", (1,))
    cut = proxy.lose_answer(b"insert into t")
    with pytest.raises(psycopg.OperationalError):
        connection.execute("INSERT INTO t VALUES (%s)", (2,))
    cut.wait()
    assert count(database) == 2


def test_a_lost_request_is_never_done(proxy: Proxy, database: str) -> None:
    """The server rolls back when it sees that the connection is gone."""
    connection = connect(proxy, database)
    cut = proxy.lose_request(b"commit")
    connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    cut.wait()
    assert count(database) == 0


def test_silence_refusal_and_what_comes_after(proxy: Proxy, database: str) -> None:
    """A silent network delays, a refusing one breaks, and both end."""
    connection = connect(proxy, database, autocommit=True)
    proxy.cut()
    with ThreadPoolExecutor(1) as thread:
        inserting = thread.submit(connection.execute, "INSERT INTO t VALUES (1)")
        eventually(connection.pgconn.is_busy, what="a statement under way")
        assert count(database) == 0
        proxy.resume()
        inserting.result(LIMIT_SECONDS)
    proxy.refuse()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(proxy, database)
    proxy.resume()
    connect(proxy, database).close()
    assert count(database) == 1


def test_a_silent_cut_leaves_the_connection_open(proxy: Proxy, database: str) -> None:
    """The client hears nothing at all, not even that it is over."""
    connection = connect(proxy, database, autocommit=True)
    cut = proxy.lose_answer(b"insert", silent=True)
    connection.pgconn.send_query(b"INSERT INTO t VALUES (1)")
    connection.pgconn.flush()
    cut.wait()
    connection.pgconn.consume_input()
    assert connection.pgconn.is_busy()
    assert count(database) == 1
    proxy.drop()
    assert select.select([connection.fileno()], [], [], LIMIT_SECONDS)[0]
    with pytest.raises(psycopg.OperationalError):
        connection.pgconn.consume_input()
