"""A folder with a database on which a test runs daemons, and the invariants that must hold when they are gone."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from jobwarden.client import Client
from jobwarden.jobs import Attempt, JobRecord
from jobwarden.store import open_store
from tests.support import processes
from tests.support.daemon import HANDLERS, Daemon
from tests.support.gates import Gate
from tests.support.waiting import LIMIT_SECONDS, eventually

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
_LOST_ROWS = "SELECT id, node_id FROM job WHERE status = 'processing' AND node_id NOT IN (SELECT id FROM node)"
_DOUBLE_OUTCOMES = "SELECT job_id, fence, count(*) FROM attempts GROUP BY job_id, fence HAVING count(*) > 1"


class Site:
    """What one test needs. Made and checked by the fixture `site`."""

    def __init__(self, folder: Path, *, database_folder: Path | None = None, url: str | None = None) -> None:
        """Everything lives below `folder`; the database perhaps elsewhere, or on the server that `url` leads to."""
        self.folder = folder
        self.database = (database_folder or folder) / "jobs.db"
        """The file; there is none where the database is on a server."""
        self.place = folder / "place"
        self.place.mkdir()
        self.place.chmod(0o777)  # whoever the handlers run as
        self.url = url or f"sqlite:///{self.database}"
        if url is not None:
            open_store(url, migrate=True).close()
        self.client = Client(self.url)
        self.daemons: list[Daemon] = []
        self._gates: list[Gate] = []
        self._own_children = processes.children(os.getpid())

    # what tests use

    def start(
        self, *, state: str = "state", settled: bool = True, before: Sequence[str] = (), **flags: object
    ) -> Daemon:
        """Start a daemon; `settled` waits until all its workers are there. A flag that is None is left out.

        `before` is a command that is to become it.
        """
        flags = {
            "database_url": self.url,
            "handlers": HANDLERS,
            "state_dir": self.folder / state,
            "workers": 2,
            "log_format": "json",
            "log_lines_per_second": "none",
            "log_level": "debug",
            "kill_grace_seconds": 0.3,
        } | flags
        given = {name: value for name, value in flags.items() if value is not None}
        daemon = Daemon(self.folder, name=f"daemon {len(self.daemons) + 1}", flags=given, before=before)
        self.daemons.append(daemon)
        if settled and flags["workers"] is not None:
            daemon.await_workers(int(str(flags["workers"])))
        return daemon

    def gate(self) -> Gate:
        """A new gate, which is closed with the site."""
        gate = Gate(self.folder / f"gate{len(self._gates) + 1}")
        self._gates.append(gate)
        return gate

    def payload(self, gate: Gate | None = None, **more: JsonValue) -> dict[str, JsonValue]:
        """What the handlers of tests want to know."""
        return {"place": str(self.place), **({"gate": gate.path} if gate else {}), **more}

    def add(
        self, job_type: str, gate: Gate | None = None, *, extra: dict[str, JsonValue] | None = None, **options: Any
    ) -> int:
        """Add a job; `extra` goes into its payload."""
        return self.client.add_job(job_type, self.payload(gate, **(extra or {})), **options)

    def await_end(self, job_id: int, *, seconds: float = LIMIT_SECONDS) -> JobRecord:
        """The job once it has ended."""
        return self.client.wait(job_id, timeout=seconds)

    def job(self, job_id: int) -> JobRecord:
        """The job now."""
        record = self.client.get_job(job_id)
        assert record is not None
        return record

    def attempts(self, job_id: int) -> list[Attempt]:
        """Its ended attempts."""
        return self.client.get_job_attempts(job_id)

    def lines(self, name: str) -> list[str]:
        """The lines of a file that handlers wrote in their place."""
        path = self.place / name
        return path.read_text().splitlines() if path.exists() else []

    def node_of(self, job_id: int) -> str:
        """The id of the node under which the job is processing."""
        return str(dict(self.rows("SELECT id, node_id FROM job WHERE status = 'processing'"))[job_id])

    def await_beats(self, node_id: str, count: int) -> None:
        """The node, which must stay there, has renewed so many times from now on."""
        last = self._beat_of(node_id) + count
        eventually(lambda: self._beat_of(node_id) >= last, what=f"{count} renewals of {node_id}")

    def _beat_of(self, node_id: str) -> int:
        (beat,) = [node.beat for node in self.client.store.nodes() if node.node_id == node_id]
        return beat

    def spare(self, pid: int) -> None:
        """This child is the test's own, as those are that were there before: a server that was started anew."""
        self._own_children = {*self._own_children, pid}

    def is_held(self, job_id: int) -> bool:
        """Whether any process still holds the job's own lock: its handler or whatever that started."""
        with (self.place / f"{job_id}.lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    # the end

    def logs(self) -> str:
        """What all daemons said."""
        return "\n".join(f"--- {daemon.name}\n{daemon.shown_log()}" for daemon in self.daemons)

    def close(self) -> None:
        """End what still runs, then check the invariants."""
        for daemon in self.daemons:
            if daemon.running:
                daemon.wake()
                daemon.send(signal.SIGQUIT)
        try:
            for daemon in self.daemons:
                daemon.wait()
            self._await_no_process()
            self.check()
        finally:
            self._kill_the_rest()
            self.client.close()
            for gate in self._gates:
                gate.close()

    def check(self) -> None:
        """The invariants of design §1 that a store and its folder can show."""
        assert self.lines("overlaps") == [], "two attempts of one job ran at the same time"
        on_file = self.url.startswith("sqlite")
        if on_file and not self.database.exists():
            return
        assert self.rows(_LOST_ROWS) == [], "jobs are processing under a node that is not there"
        assert self.rows(_DOUBLE_OUTCOMES) == [], "an attempt has two outcomes"
        assert not on_file or self.rows("PRAGMA integrity_check") == [("ok",)]
        running = {row[0] for row in self.rows("SELECT id FROM job WHERE status = 'processing'")}
        locks = {int(path.stem) for path in self.place.glob("*.lock")}
        assert not [job_id for job_id in locks - running if self.is_held(job_id)], "somebody still holds a job's lock"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database answers, on a connection of its own that is not the store's."""
        url = make_url(self.url)
        engine = create_engine(url.set(drivername=_DRIVERS.get(url.drivername, url.drivername)), poolclass=NullPool)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    @property
    def processes_below(self) -> set[int]:
        """Every child of this process that was not there before: daemons, and orphans that came from them."""
        return processes.children(os.getpid()) - self._own_children

    def disregard(self, pid: int) -> None:
        """This child of the test is none of a daemon's: a server that was started meanwhile."""
        self._own_children.add(pid)

    def _await_no_process(self) -> None:
        """Every orphan is adopted by this process, so nothing is left when no child is."""
        eventually(self._nothing_left, what="the end of every process below the daemons", seconds=10)

    def _nothing_left(self) -> bool:
        processes.reap_orphans(self._own_children)
        return not self.processes_below

    def _kill_the_rest(self) -> None:
        while rest := self.processes_below:
            for pid in rest:
                processes.kill_quietly(pid)
            processes.reap_orphans(self._own_children)
