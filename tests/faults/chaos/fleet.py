"""The daemons of a chaos run, each started again when it ends, as a service manager would.

A daemon that has ended comes back in the same state directory or in its other one, in turn. Their logs go to files.
The process that has a fleet must be a subreaper: orphans of killed keepers come to it, and it reaps them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import jobwarden
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from tests.faults.chaos import moved
from tests.support import processes
from tests.support.daemon import clean_environment

ROOT = Path(__file__).parents[3]
HANDLERS = ROOT / "tests" / "support" / "handlers" / "chaos"
_PACKAGE_ROOT = Path(jobwarden.__file__).parents[1]
_PAUSE_NS = SECOND_NS // 3
"""Between an end and the next start."""


class Member:
    """One daemon over all its starts. `keeper` is the process of the latest."""

    def __init__(
        self, folder: Path, number: int, *, url: str, handlers: Path, clock: Path, flags: dict[str, object]
    ) -> None:
        self.name = f"daemon {number}"
        self.number = number
        self.url = url
        self.clock = clock
        """The file that moves its wall clock; it may belong to several."""
        self.starts = 0
        self._folder = folder
        self._flags = {
            "database_url": url,
            "handlers": handlers,
            "log_format": "json",
            "log_lines_per_second": "none",
            **flags,
        }
        self.keeper: subprocess.Popen[bytes] | None = None
        self.ended_ns = 0

    def start(self) -> None:
        """Start it, in one state directory twice, then in the other one twice."""
        state = self._folder / f"state {self.number}{'ab'[self.starts // 2 % 2]}"
        self.starts += 1
        options = {**self._flags, "state_dir": state}
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        with self.log.open("ab") as log:
            self.keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.chaos.launch", "run", *arguments],
                cwd=self._folder,
                env={
                    **clean_environment(),
                    "PYTHONPATH": f"{_PACKAGE_ROOT}:{ROOT}",
                    moved.VARIABLE: str(self.clock),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def log(self) -> Path:
        """What it said, over all its starts."""
        return self._folder / f"{self.name}.log"

    @property
    def supervisor(self) -> int | None:
        """Its pid, if there is one."""
        return next(iter(self._below(self.keeper_pid, "jobwarden: supervisor")), None)

    @property
    def keeper_pid(self) -> int:
        """The pid of the latest start."""
        assert self.keeper is not None
        return self.keeper.pid

    @property
    def templates(self) -> list[int]:
        """The pids of its templates."""
        supervisor = self.supervisor
        return self._below(supervisor, "jobwarden: template") if supervisor else []

    @property
    def workers(self) -> list[int]:
        """The pids of its workers."""
        supervisor = self.supervisor
        return self._below(supervisor, "jobwarden: worker") if supervisor else []

    @property
    def tree(self) -> list[int]:
        """Everything of it."""
        return [self.keeper_pid, *sorted(processes.descendants(self.keeper_pid))]

    @property
    def running(self) -> bool:
        """Whether its keeper lives."""
        return self.keeper is not None and self.keeper.poll() is None

    @staticmethod
    def _below(pid: int | None, title: str) -> list[int]:
        found = processes.children(pid) if pid else set()
        return sorted(each for each in found if processes.title(each).startswith(title))


class Fleet:
    """All members; `tend` is to be called often."""

    def __init__(self, members: Iterable[Member], *, own: Callable[[], set[int]]) -> None:
        """`own` names the children of this process for which somebody else waits."""
        self.members = list(members)
        self.exits: Counter[int] = Counter()
        """Exit codes of all that ended; negative for a signal."""
        self.reaped = 0
        """Orphans that came to this process."""
        self._own = own
        self._before = processes.children(os.getpid())

    def start(self) -> None:
        """Start all."""
        for member in self.members:
            member.start()

    def tend(self) -> None:
        """Reap what has ended, start again what should run."""
        now_ns = SYSTEM_CLOCK.monotonic_ns()
        for member in self.members:
            if self._has_ended(member, now_ns) and now_ns - member.ended_ns >= _PAUSE_NS:
                member.start()
        self._reap_orphans()

    def _has_ended(self, member: Member, now_ns: int) -> bool:
        if member.keeper is not None and member.keeper.poll() is not None:
            self.exits[member.keeper.returncode] += 1
            member.keeper = None
            member.ended_ns = now_ns
        return member.keeper is None

    def _reap_orphans(self) -> None:
        keepers = {member.keeper.pid for member in self.members if member.keeper is not None}
        self.reaped += len(processes.reap_orphans(self._others() | keepers))

    def stop(self, *, seconds: float) -> list[int]:
        """SIGTERM for all; the exit codes of those that ended in time."""
        for member in self.members:
            if member.keeper is not None:
                member.keeper.send_signal(signal.SIGTERM)
        codes = []
        for member in self.members:
            if member.keeper is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    codes.append(member.keeper.wait(seconds))
        return codes

    def left_over(self) -> set[int]:
        """Processes below this one that do not belong here, zombies included."""
        self._reap_orphans()
        return processes.children(os.getpid()) - self._others()

    def _others(self) -> set[int]:
        """Children of this process that are none of the fleet's business."""
        return self._own() | self._before

    def kill_the_rest(self) -> None:
        """At the very end, whatever happened."""
        while rest := self.left_over():
            for pid in rest:
                processes.kill_quietly(pid)
            for member in self.members:
                if member.keeper is not None and member.keeper.poll() is not None:
                    member.keeper = None
