"""A real PgBouncer between the tests and a PostgreSQL server, as a process of our own with an unprivileged user.

    with PgBouncer(server, pool_mode="transaction") as bouncer:
        url = bouncer.url(database_url)

Where it is not installed, tests that need it are skipped with a sentence, or fail when CI=true.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest
from sqlalchemy import make_url

from tests.support import launched
from tests.support.postgresql import PostgreSQL, servant
from tests.support.waiting import LIMIT_SECONDS, eventually

_PORT = 6432


def require() -> None:
    """Skip the test, or fail it in CI, where there is no PgBouncer."""
    if _program() is None:
        problem = "NOT TESTED: there is no pgbouncer here; install Debian's package pgbouncer"
        assert os.environ.get("CI") != "true", problem
        pytest.skip(problem)


class PgBouncer:
    """Listens on a Unix socket of its own as soon as it is made; `settings` are those of its section [pgbouncer]."""

    def __init__(self, server: PostgreSQL, *, pool_mode: str, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jwpb-"))
        self.folder.chmod(0o755)
        given = {
            "pool_mode": pool_mode,
            "listen_addr": "",
            "listen_port": str(_PORT),
            "unix_socket_dir": str(self.folder),
            "auth_type": "trust",
            "auth_file": str(self.folder / "users"),
            "default_pool_size": "4",
            **settings,
        }
        lines = ["[databases]", f"* = host={server.socket_dir} port={server.port}", "[pgbouncer]"]
        (self.folder / "pgbouncer.ini").write_text("\n".join([*lines, *(f"{k} = {v}" for k, v in given.items())]))
        (self.folder / "users").write_text('"postgres" ""\n')
        uid, gid = servant()
        os.chown(self.folder, uid, gid)
        self._process = self._start(uid, gid)

    def url(self, url: str) -> str:
        """The same database by way of it."""
        query = {"host": str(self.folder), "port": str(_PORT)}
        return make_url(url).set(query=query).render_as_string(hide_password=False)

    def close(self) -> None:
        """End it and remove its folder."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(LIMIT_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, uid: int, gid: int) -> subprocess.Popen[bytes]:
        told = map(str, (os.getpid(), uid, gid, int(signal.SIGTERM)))
        command = [str(_program()), str(self.folder / "pgbouncer.ini")]
        log = self.folder / "log"
        with log.open("ab") as file:
            started = subprocess.Popen(
                [sys.executable, "-I", "-S", launched.__file__, *told, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.folder,
            )
        eventually(lambda: self._is_ready(started, log), what="PgBouncer takes connections")
        return started

    def _is_ready(self, started: subprocess.Popen[bytes], log: Path) -> bool:
        assert started.poll() is None, f"PgBouncer does not start:\n{log.read_text()}"
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host=str(self.folder), port=_PORT, user="postgres", dbname="postgres").close()
            return True
        return False


def _program() -> str | None:
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
