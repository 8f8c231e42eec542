"""A real MariaDB as our own child: on a Unix socket in a temporary folder, without a network port, gone at exit.

`server()` gives the one of this test process, made at first use, or the one behind `JOBWARDEN_TEST_MARIADB_URL` (a
server URL whose user may create databases). Tests that kill or configure a server make a `MariaDB` of their own.
Where there is neither, tests skip and say how to get one; with CI set they fail.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import URL, create_engine, make_url, text

from tests.support.waiting import eventually

VARIABLE = "JOBWARDEN_TEST_MARIADB_URL"

_MISSING = (
    f"no MariaDB: install Debian's mariadb-server, or set {VARIABLE} to the URL of a server whose user may create "
    "databases (such as mariadb://root@localhost/mysql?unix_socket=/run/mysqld/mysqld.sock)"
)

_SECONDS_TO_START = 60.0
_USER = "mysql"
"""Made by Debian's package: who the server is when the tests run as root."""

_QUICK = {
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "0",
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "32M",
    "innodb-fast-shutdown": "2",
    "key-buffer-size": "1M",
    "aria-pagecache-buffer-size": "1M",
    "performance-schema": "OFF",
    "max-connections": "300",
}
"""What a power cut would cost does not matter here. The character set is left at the server's own default (latin1)."""


class MariaDB:
    """One server; `folder` must be short enough for a socket's path, and is made if it is missing."""

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        """`options` are the server's own, without the leading dashes; they win over the quick ones."""
        self.socket = folder / "sock"
        self.log = folder / "log"
        self._folder = folder
        self._options = {**_QUICK, **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> None:
        """Make the data folder if there is none, start the server and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "data").exists():
            self._install()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_unprivileged(), _program("mariadbd"), "--no-defaults", *self._arguments()], stdout=log, stderr=log
            )
        eventually(self._answers, what="MariaDB answers", seconds=_SECONDS_TO_START)

    def stop(self) -> None:
        """Shut down and wait for it; nothing happens if it does not run."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """SIGKILL, and collect it."""
        self._end(subprocess.Popen.kill)

    def new_database(self) -> str:
        """Make an empty database; its SQLAlchemy URL."""
        name = f"jobs_{next(self._numbers)}"
        with pymysql.connect(unix_socket=str(self.socket), user="root") as connection:
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        """Of a database on this server."""
        url = URL.create("mariadb+pymysql", "root", database=database, query={"unix_socket": str(self.socket)})
        return url.render_as_string(hide_password=False)

    def _install(self) -> None:
        """As the user that the server will be: everything in the folder is that user's."""
        if _unprivileged():
            owner = pwd.getpwnam(_USER)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        made = subprocess.run(
            [
                *_unprivileged(),
                _program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self._folder}/data",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout.decode() + made.stderr.decode()

    def _arguments(self) -> list[str]:
        own = {
            "datadir": f"{self._folder}/data",
            "tmpdir": str(self._folder),
            "socket": str(self.socket),
            "pid-file": f"{self._folder}/pid",
        }
        return ["--skip-networking", *(f"--{name}={value}" for name, value in {**self._options, **own}.items())]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"MariaDB did not start:\n{self.log.read_text()}"
        with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL leaks the one with which it cannot connect
            if probe.connect_ex(str(self.socket)):
                return False
        pymysql.connect(unix_socket=str(self.socket), user="root").close()
        return True

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is not None:
            how(self._process)
            self._process.wait()
            self._process = None


class ForeignMariaDB:
    """The server behind the variable; its databases are dropped at exit."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._made: list[str] = []
        self.log: Path | None = None

    def new_database(self) -> str:
        """Make an empty database; its SQLAlchemy URL."""
        name = f"jobwarden_test_{uuid.uuid4().hex}"
        self._run(f"CREATE DATABASE {name}")
        self._made.append(name)
        return self._url.set(drivername="mariadb+pymysql", database=name).render_as_string(hide_password=False)

    def drop_all(self) -> None:
        """Remove the databases that were made."""
        while self._made:
            self._run(f"DROP DATABASE {self._made.pop()}")

    def _run(self, statement: str) -> None:
        engine = create_engine(self._url.set(drivername="mariadb+pymysql"))
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()


def server() -> MariaDB | ForeignMariaDB:
    """The server of this test process. Skips the test where none is to be had, or fails it with CI set."""
    if not os.environ.get(VARIABLE) and _found("mariadbd") is None:
        if os.environ.get("CI"):
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    return _server(os.getpid())


@functools.cache
def _server(pid: int) -> MariaDB | ForeignMariaDB:
    """One for each process: a forked child neither uses nor ends its parent's."""
    if url := os.environ.get(VARIABLE):
        foreign = ForeignMariaDB(url)
        atexit.register(lambda: foreign.drop_all() if os.getpid() == pid else None)
        return foreign
    folder = Path(tempfile.mkdtemp(prefix="jw-maria-"))
    own = MariaDB(folder)
    atexit.register(lambda: _remove(own, folder) if os.getpid() == pid else None)
    own.start()
    return own


def _remove(own: MariaDB, folder: Path) -> None:
    own.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> list[str]:
    """MariaDB refuses to run as root. The kernel ends the server when the thread that started it is gone."""
    became = [f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig=KILL", *became, "--"] if became or shutil.which("setpriv") else []


def _found(name: str) -> str | None:
    """Debian keeps servers in /usr/sbin, which a user's PATH does not name."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/sbin")


def _program(name: str) -> str:
    found = _found(name)
    assert found is not None, _MISSING
    return found
