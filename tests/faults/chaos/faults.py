"""What a fault is, and those that hit processes: killed, stopped, told to leave, reloaded, their clocks moved.

A fault is begun by the storm. One that lasts says for how long and how it is undone; one that finds nothing to hit
raises NothingToHitError and is not counted.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults.chaos import moved
from tests.faults.chaos.fleet import Fleet, Member
from tests.support import processes

_GENERATION = "LOADED = {number}\n"
_BROKEN = "def broken(:\n"
_HOUR = 3_600.0


class NothingToHitError(Exception):
    """Not now."""


class Lasting(NamedTuple):
    """A fault that goes on: `undo` is called after so many seconds, or earlier at the end of the storm."""

    seconds: float
    undo: Callable[[], None]


class Fault(NamedTuple):
    """`weight`: how often it comes in one round of the storm."""

    name: str
    begin: Callable[[], Lasting | None]
    weight: int = 1


class ProcessFaults:
    """Faults for any store. `whole_tree_seconds`: how long a whole daemon may be stopped without breaking a promise."""

    def __init__(
        self,
        fleet: Fleet,
        random_: random.Random,
        *,
        handlers: Path,
        lease_seconds: float,
        whole_tree_seconds: float,
        one_host: bool,
    ) -> None:
        """`one_host`: who takes over can end what a daemon left; else each one plays a host that fails as a whole."""
        self._fleet = fleet
        self._random = random_
        self._handlers = handlers
        self._lease = lease_seconds
        self._whole_tree_seconds = whole_tree_seconds
        self._one_host = one_host
        self._reloads = 0
        self.killed_workers: set[int] = set()
        """The pids of workers that were killed: only for these may a job be told that its worker crashed."""

    def all(self) -> list[Fault]:
        """Each kind once."""
        both = Fault("keeper and supervisor killed together", self._kill_both)
        host = Fault("host lost (a daemon killed with all below it)", self._kill_tree)
        return [
            both if self._one_host else host,
            Fault("worker killed", self._kill_worker, 3),
            Fault("template killed", self._kill_template, 2),
            Fault("supervisor killed", self._kill_supervisor, 2),
            Fault("keeper killed", self._kill_keeper),
            Fault("supervisor stopped for longer than the lease", self._stop_supervisor),
            Fault("whole daemon stopped for a while", self._stop_tree),
            Fault("deploy (SIGTERM, started again)", self._deploy, 2),
            Fault("reload (SIGHUP), code changed", self._reload, 2),
            Fault("reload (SIGHUP), code broken", self._reload_broken),
            Fault("wall clock moved by an hour", self._move_clock, 2),
        ]

    def _member(self) -> Member:
        running = [member for member in self._fleet.members if member.running and member.supervisor]
        if not running:
            raise NothingToHitError
        return self._random.choice(running)

    def _one_of(self, pids: list[int]) -> int:
        if not pids:
            raise NothingToHitError
        return self._random.choice(pids)

    def _kill_worker(self) -> None:
        pid = self._one_of(self._member().workers)
        self.killed_workers.add(pid)
        _send(pid, signal.SIGKILL)

    def _kill_template(self) -> None:
        _send(self._one_of(self._member().templates), signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        _send(self._member().supervisor, signal.SIGKILL)

    def _kill_keeper(self) -> None:
        _send(self._member().keeper_pid, signal.SIGKILL)

    def _kill_both(self) -> None:
        member = self._member()
        supervisor = member.supervisor
        _send(member.keeper_pid, signal.SIGSTOP)
        _send(supervisor, signal.SIGKILL)
        _send(member.keeper_pid, signal.SIGKILL)

    def _kill_tree(self) -> None:
        tree = self._member().tree
        for pid in tree:
            _send(pid, signal.SIGSTOP)
        for pid in tree:
            _send(pid, signal.SIGKILL)

    def _stop_supervisor(self) -> Lasting:
        supervisor = self._member().supervisor
        _send(supervisor, signal.SIGSTOP)
        return Lasting(self._random.uniform(1.2, 2.5) * self._lease, lambda: _send(supervisor, signal.SIGCONT))

    def _stop_tree(self) -> Lasting:
        tree = self._member().tree
        for pid in tree:
            _send(pid, signal.SIGSTOP)

        def wake() -> None:
            for pid in reversed(tree):
                _send(pid, signal.SIGCONT)

        return Lasting(self._random.uniform(0.3, 1) * self._whole_tree_seconds, wake)

    def _deploy(self) -> None:
        _send(self._member().keeper_pid, signal.SIGTERM)

    def _reload(self) -> None:
        member = self._member()
        self._reloads += 1
        (self._handlers / "generation.py").write_text(_GENERATION.format(number=self._reloads))
        _send(member.keeper_pid, signal.SIGHUP)

    def _reload_broken(self) -> Lasting:
        member = self._member()
        file = self._handlers / "generation.py"
        file.write_text(_BROKEN)
        _send(member.keeper_pid, signal.SIGHUP)

        def mend() -> None:
            file.write_text(_GENERATION.format(number=0))
            if member.running and member.supervisor:
                _send(member.keeper_pid, signal.SIGHUP)

        return Lasting(self._random.uniform(0.5, 2), mend)

    def _move_clock(self) -> Lasting:
        clock = self._member().clock
        moved.move(clock, seconds=self._random.choice((-1, 1)) * _HOUR)
        return Lasting(self._random.uniform(0.5, 5), lambda: moved.move(clock, seconds=0))


def _send(pid: int | None, number: signal.Signals) -> None:
    """It may have ended meanwhile."""
    if pid is not None and processes.lives(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
