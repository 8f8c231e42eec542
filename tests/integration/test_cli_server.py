"""A server that cannot be reached or used, at each command: one sentence, the exit code, never the password."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from jobwarden.cli.entry import enter
from jobwarden.store import open_store
from tests.support import mariadb
from tests.support.postgresql import PostgreSQL
from tests.support.shell import database_named

COMMANDS = {
    "add": ["add", "echo", "{}"],
    "status": ["status"],
    "list": ["list"],
    "migrate": ["migrate"],
}


@pytest.fixture(scope="module")
def reachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A server with a port and a password."""
    made = PostgreSQL(tmp_path_factory.mktemp("server"), tcp=True).start()
    made.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger-password'")
    made.execute("CREATE ROLE reader LOGIN PASSWORD 'stranger-password'")
    yield made
    made.close()


@pytest.fixture(scope="module")
def good(reachable: PostgreSQL) -> str:
    """A URL at which everything works."""
    url = reachable.new_database(tcp=True)
    open_store(url, migrate=True).close()
    return url


def changed(url: str, **parts: object) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


def mistakes(url: str) -> dict[str, tuple[str, str]]:
    """What is wrong -> the URL, and words of the sentence."""
    query = make_url(url).update_query_dict
    return {
        "password": (changed(url, password="wrong-password"), "refuses the user or the password"),
        "no password": (url.replace(f":{make_url(url).password}@", "@"), "refuses the user or the password"),
        "user": (changed(url, username="nobody"), "refuses the user or the password"),
        "database": (changed(url, database="nosuch"), "no such database"),
        "host": (changed(url, host="nosuch.invalid"), "the host is unknown"),
        "port": (changed(url, port=1), "no server answers there"),
        "socket": (f"postgresql:///jobs?host={'/nosuch'}", "no server answers there"),
        "standby": (
            query({"target_session_attrs": "standby"}).render_as_string(hide_password=False),
            "takes no writes",
        ),
        "encryption": (query({"sslmode": "require"}).render_as_string(hide_password=False), "encrypted"),
        "rights": (changed(url, username="stranger", password="stranger-password"), "may not do that"),
    }


WORDS = list(mistakes("postgresql://u:p@h/d"))


@pytest.mark.parametrize("mistake", WORDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_is_wrong(
    good: str, mistake: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with the way out; a failed command exits with 1."""
    url, words = mistakes(good)[mistake]
    with database_named(url) as words_of_url:
        code = enter([*COMMANDS[command], *words_of_url])
    said = capsys.readouterr().err
    assert code == 1, said
    assert words in said
    assert len(said.splitlines()) == 1, said
    for secret in filter(None, (make_url(good).password, make_url(url).password)):
        assert secret not in said


@pytest.mark.parametrize("mistake", ["password", "database"])
def test_a_daemon_does_not_start_on_it(good: str, mistake: str, tmp_path: Path) -> None:
    """It ends with the sentence and code 1; only for a server that is away it waits."""
    url, words = mistakes(good)[mistake]
    (tmp_path / "handlers").mkdir()
    flags = ["--state-dir", str(tmp_path / "state"), "--handlers", str(tmp_path / "handlers")]
    with database_named(url) as words_of_url:
        ended = subprocess.run(
            [sys.executable, "-m", "jobwarden", "run", *flags, *words_of_url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1, ended.stderr
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert str(make_url(url).password) not in ended.stderr


MARIADB_MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "user": ({"username": "nobody"}, "refuses the user or the password"),
    "password": ({"password": "wrong-password"}, "refuses the user or the password"),
    "database": ({"database": "nosuch"}, "no such database"),
    "host": ({"host": "nosuch.invalid", "query": {}}, "no server answers there"),
}


@pytest.mark.parametrize("mistake", MARIADB_MISTAKES)
@pytest.mark.parametrize("command", COMMANDS)
def test_on_mariadb_each_command_says_what_is_wrong(
    mistake: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same sentences for the same mistakes."""
    parts, words = MARIADB_MISTAKES[mistake]
    url = changed(mariadb.server().new_database(), **parts)
    with database_named(url) as words_of_url:
        code = enter([*COMMANDS[command], *words_of_url])
    said = capsys.readouterr().err
    assert code == 1, said
    assert words in said
    assert len(said.splitlines()) == 1, said
    assert "wrong-password" not in said


def test_a_server_without_our_tables_is_to_be_migrated(
    reachable: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    """Servers are never changed without being asked to."""
    url = reachable.new_database(tcp=True)
    with database_named(url) as flags:
        assert enter(["add", "echo", "{}", *flags]) == 1
    said = capsys.readouterr().err
    assert "jobwarden migrate" in said
    assert len(said.splitlines()) == 1


def test_a_server_set_to_read_only_is_told_from_others(
    reachable: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a standby would be: it takes no jobs, and that is said at once."""
    url = reachable.new_database(tcp=True)
    open_store(url, migrate=True).close()
    name = make_url(url).database
    reachable.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with database_named(url) as flags:
        assert enter(["add", "echo", "{}", *flags]) == 1
    assert "takes no writes" in capsys.readouterr().err
