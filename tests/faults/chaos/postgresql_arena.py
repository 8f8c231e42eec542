"""Chaos on PostgreSQL: a server of its own, reached by every daemon and by the adder through a proxy of its own.

Faults: connections terminated by an administrator, the server killed, stopped at once or restarted, the network of one
daemon silent (shorter or longer than the lease) or refusing, a COMMIT whose answer is lost or that never arrives.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from jobwarden.store import open_store
from tests.faults.chaos.faults import Fault, Lasting, NothingToHitError
from tests.support.postgresql import PostgreSQL
from tests.support.proxy import Cut, Proxy

_WITHIN = (b"", b"insert into job", b"update job", b"insert into event", b"insert into node", b"delete from node")
"""What the transaction contains whose commit is lost; the empty one takes any."""
_ANSWER, _REQUEST = "answer to a COMMIT lost", "COMMIT lost on its way"


class PostgreSQLArena:
    """See `Arena`. Each daemon is a host of its own as far as clocks and network go."""

    def __init__(self, folder: Path, random_: random.Random, *, lease_seconds: float) -> None:
        self.left_out: list[str] = []
        self.one_host = False
        self.whole_tree_seconds = 0.4 * lease_seconds
        """A daemon that is frozen with its keeper and its workers must be back before the others take it for dead."""
        self._folder = folder
        self._random = random_
        self._lease = lease_seconds
        # A commit that was answered must survive the SIGKILL of all server processes; a power cut is not played.
        self._server = PostgreSQL(folder, {"synchronous_commit": "on"})
        self._proxies: list[Proxy] = []
        self._is_down = False
        self._cuts: dict[str, list[Cut]] = {_ANSWER: [], _REQUEST: []}
        self._url = ""

    def open(self) -> None:
        """Server, database, tables."""
        self._url = self._server.start().new_database()
        open_store(self._url, migrate=True).close()

    def url(self, daemon: int) -> str:
        """By way of a proxy of its own; 0 is the adder's."""
        while len(self._proxies) <= daemon:
            self._proxies.append(Proxy(f"{self._server.socket_dir}/.s.PGSQL.{self._server.port}"))
        return self._proxies[daemon].url(self._url)

    @property
    def adder_url(self) -> str:
        """By way of a proxy of its own."""
        return self.url(0)

    @property
    def true_url(self) -> str:
        """The server's socket."""
        return self._url

    def clock(self, daemon: int) -> Path:
        """Each host has its own."""
        return self._folder / f"clock {daemon}"

    def faults(self) -> list[Fault]:
        """All are possible everywhere."""
        return [
            Fault("backends terminated", self._terminate, 2),
            Fault("server killed (SIGKILL) and started again", self._kill_server),
            Fault("server stopped at once (SIGQUIT) and started again", lambda: self._stop_server(signal.SIGQUIT)),
            Fault("server restarted (SIGINT)", lambda: self._stop_server(signal.SIGINT)),
            Fault("network silent for less than the trust window", lambda: self._silence(0.1, 0.5)),
            Fault("network silent for longer than the lease", lambda: self._silence(1.2, 2.5)),
            Fault("connections refused for a while", self._refuse),
            Fault("connections reset", self._drop, 2),
            Fault(_ANSWER, lambda: self._lose(_ANSWER), 4),
            Fault(_REQUEST, lambda: self._lose(_REQUEST), 2),
        ]

    def own_children(self) -> set[int]:
        """The server, while it runs."""
        return set() if self._is_down or not self._url else {self._server.pid}

    def numbers(self) -> dict[str, int]:
        """A commit that is to be lost has to come first; how many did."""
        return {f"{which}: these came": sum(cut.happened for cut in cuts) for which, cuts in self._cuts.items()}

    def leftovers(self) -> list[str]:
        """There is no folder beside this store."""
        return []

    def close(self) -> None:
        """Proxies and server."""
        for proxy in self._proxies:
            proxy.close()
        self._server.close()

    def _up(self) -> PostgreSQL:
        if self._is_down:
            raise NothingToHitError
        return self._server

    def _terminate(self) -> None:
        share = self._random.choice((0.2, 0.5, 1.0))
        name = make_url(self._url).database
        try:
            self._up().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608 - our own numbers
                f"WHERE datname = '{name}' AND random() <= {share}"
            )
        except psycopg.Error:
            raise NothingToHitError from None

    def _kill_server(self) -> Lasting:
        self._up().kill()
        return self._down()

    def _stop_server(self, number: signal.Signals) -> Lasting:
        server = self._up()
        os.kill(server.pid, number)
        server.stop()
        return self._down()

    def _down(self) -> Lasting:
        self._is_down = True
        return Lasting(self._random.choice((0.1, 0.5, 1.5)) * self._lease, self._start_server)

    def _start_server(self) -> None:
        self._server.start()
        self._is_down = False

    def _silence(self, shortest: float, longest: float) -> Lasting:
        proxy = self._random.choice(self._proxies[1:])
        proxy.cut()
        return Lasting(self._random.uniform(shortest, longest) * self._lease, proxy.resume)

    def _refuse(self) -> Lasting:
        proxy = self._random.choice(self._proxies[1:])
        proxy.refuse()
        return Lasting(self._random.uniform(0.1, 2) * self._lease, proxy.resume)

    def _drop(self) -> None:
        self._random.choice(self._proxies).drop()

    def _lose(self, which: str) -> None:
        proxy = self._random.choice(self._proxies)
        lose: Callable[..., Cut] = proxy.lose_answer if which == _ANSWER else proxy.lose_request
        self._cuts[which].append(lose(b"commit", within=self._random.choice(_WITHIN)))
