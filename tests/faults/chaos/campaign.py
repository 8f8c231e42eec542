"""One chaos run from the first daemon to the audit. Used by the command and by the short run of the suite."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.schema import job
from jobwarden.store.store import open_store
from tests.faults.chaos import moved
from tests.faults.chaos.arena import Arena
from tests.faults.chaos.audit import Audit
from tests.faults.chaos.faults import ProcessFaults
from tests.faults.chaos.fleet import HANDLERS, ROOT, Fleet, Member
from tests.faults.chaos.journals import Journals
from tests.faults.chaos.mixture import GROUPS
from tests.faults.chaos.postgresql_arena import PostgreSQLArena
from tests.faults.chaos.sqlite_arena import SQLiteArena
from tests.faults.chaos.storm import Storm
from tests.support.daemon import clean_environment

ARENAS: dict[str, Callable[..., Arena]] = {"postgresql": PostgreSQLArena, "sqlite": SQLiteArena}
_AHEAD_SECONDS = 7_200.0
"""At the end all clocks go forward, past every retry that a clock which was an hour ahead has planned."""
_START_SECONDS, _STOP_SECONDS = 30.0, 40.0
_EXTRA_SECONDS = 6.0
"""For kinds of faults that have found nothing to hit so far."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be run."""

    store: str = "sqlite"
    seconds: float = 600.0
    daemons: int = 3
    seed: int = 1
    rate: float = 60.0
    """Jobs per second."""
    pause_seconds: float = 1.2
    """Between two faults."""
    lease_seconds: float = 3.0
    workers: int = 3
    even: bool = False
    """Each kind of fault as often as any other."""
    only: str = ""
    """Part of the name of the faults that are wanted; empty for all."""
    drain_seconds: float = 120.0
    """How long the rest may take when all faults are over."""


@dataclass
class Report:
    """What became of it; `findings` are violations."""

    faults: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    exits: Counter[int] = field(default_factory=Counter)
    numbers: dict[str, int | str] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Campaign:
    """Everything lies below `folder`. The calling process must be a subreaper."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._random = random.Random(plan.seed)
        self._place = folder / "place"
        for name in ("locks", "groups"):
            (self._place / name).mkdir(parents=True)
        self._handlers = folder / "handlers"
        shutil.copytree(HANDLERS, self._handlers, ignore=shutil.ignore_patterns("__pycache__"))
        self._arena = ARENAS[plan.store](folder, self._random, lease_seconds=plan.lease_seconds)
        self._adder: subprocess.Popen[bytes] | None = None
        self._fleet: Fleet | None = None
        self.report = Report()

    def run(self) -> Report:
        """All of it; everything that was started has ended then."""
        try:
            self._arena.open()
            self._set_limits()
            fleet = self._fleet = self._assemble()
            fleet.start()
            self._tended(fleet, lambda: all(member.workers for member in fleet.members), seconds=_START_SECONDS)
            self._adder = self._start_adder()
            self._rage(fleet)
            self._end_adder(fleet)
            self._drain(fleet)
            self._disband(fleet)
            self.report.findings += self._arena.leftovers()
        finally:
            self._end_everything()
        return self.report

    def _set_limits(self) -> None:
        store = open_store(self._arena.true_url)
        try:
            for name, limit in GROUPS.items():
                store.controls.set_limit("group", name, max_running=limit, now_us=SYSTEM_CLOCK.now_us())
        finally:
            store.close()

    def _assemble(self) -> Fleet:
        flags: dict[str, object] = {
            "workers": self._plan.workers,
            "lease_seconds": self._plan.lease_seconds,
            "hung_seconds": 1.8 * self._plan.lease_seconds,
            "kill_grace_seconds": 0.3,
            "drain_seconds": 1,
        }
        members = []
        for number in range(1, self._plan.daemons + 1):
            clock = self._arena.clock(number)
            moved.move(clock, seconds=0)
            url = self._arena.url(number)
            members.append(Member(self._folder, number, url=url, handlers=self._handlers, clock=clock, flags=flags))
        return Fleet(members, own=self._own_children)

    def _own_children(self) -> set[int]:
        adder = {self._adder.pid} if self._adder is not None else set()
        return self._arena.own_children() | adder

    def _start_adder(self) -> subprocess.Popen[bytes]:
        arguments = [self._arena.adder_url, str(self._place), str(self._plan.seed), str(self._plan.rate)]
        package = clean_environment()["PYTHONPATH"]
        with (self._folder / "adder.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.faults.chaos.adder", *arguments],
                env={**clean_environment(), "PYTHONPATH": f"{package}:{ROOT}"},
                stdout=log,
                stderr=log,
            )

    def _rage(self, fleet: Fleet) -> None:
        faults = ProcessFaults(
            fleet,
            self._random,
            handlers=self._handlers,
            lease_seconds=self._plan.lease_seconds,
            whole_tree_seconds=self._arena.whole_tree_seconds,
            one_host=self._arena.one_host,
        )
        self._killed_workers = faults.killed_workers
        wanted = [each for each in (*faults.all(), *self._arena.faults()) if self._plan.only in each.name]
        if self._plan.even:
            wanted = [each._replace(weight=1) for each in wanted]
        storm = Storm(fleet, wanted, self._random, pause_seconds=self._plan.pause_seconds)
        self.report.faults, self.report.left_out = storm.happened, self._arena.left_out
        try:
            storm.run(seconds=self._plan.seconds, longest_seconds=self._plan.seconds + _EXTRA_SECONDS)
        finally:
            storm.calm()

    def _end_adder(self, fleet: Fleet) -> None:
        adder = self._adder
        assert adder is not None
        adder.send_signal(signal.SIGTERM)
        if not self._tended(fleet, lambda: adder.poll() is not None, seconds=60):
            self.report.findings.append("the adder did not get its last jobs accepted within 60 s")
        elif adder.returncode:
            log = (self._folder / "adder.log").read_text()
            self.report.findings.append(f"the adder ended with {adder.returncode}: {log}")

    def _drain(self, fleet: Fleet) -> None:
        """What is left to do is done by daemons whom nobody disturbs."""
        for member in fleet.members:
            moved.move(member.clock, seconds=_AHEAD_SECONDS)
        began_ns = SYSTEM_CLOCK.monotonic_ns()
        engine = dialect_for(self._arena.true_url, StoreOptions()).engine
        living = select(func.count()).select_from(job).where(job.c.ended_at.is_(None))

        def is_done() -> bool:
            with engine.connect() as connection:
                return connection.execute(living).scalar_one() == 0

        self._tended(fleet, is_done, seconds=self._plan.drain_seconds)
        engine.dispose()
        self.report.numbers["ms from the last fault to the last end"] = (
            SYSTEM_CLOCK.monotonic_ns() - began_ns
        ) // 1_000_000

    def _disband(self, fleet: Fleet) -> None:
        self._tended(fleet, lambda: all(member.supervisor for member in fleet.members), seconds=20)
        codes = fleet.stop(seconds=_STOP_SECONDS)
        self.report.exits = fleet.exits
        if codes != [0] * len(fleet.members):
            self.report.findings.append(f"the last daemons ended with {codes}")
        left = fleet.left_over()
        if left:
            shown = [Path(f"/proc/{pid}/stat").read_text().split(" ")[:3] for pid in left]
            self.report.findings.append(f"processes were left: {shown}")
        self.report.numbers["processes left"] = len(left)
        self._audit()

    def _audit(self) -> None:
        journals = Journals(self._place)
        engine = dialect_for(self._arena.true_url, StoreOptions()).engine
        with engine.connect() as connection:
            audit = Audit(connection, journals, killed_workers=self._killed_workers)
            audit.run()
            (self._folder / "histories").write_text(audit.histories())
        engine.dispose()
        report = self.report
        report.numbers = {**audit.numbers, **report.numbers, **self._arena.numbers()}
        report.numbers |= {f"adds {word}": number for word, number in journals.trouble.items()}
        report.numbers |= {"overlaps": len(journals.overlaps), "groups over their limit": len(journals.crowds)}
        report.outcomes = audit.outcomes
        report.findings += audit.findings

    def _tended(self, fleet: Fleet, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Whether it came true, while daemons that ended are started again."""
        until_ns = SYSTEM_CLOCK.monotonic_ns() + int(seconds * SECOND_NS)
        while not condition():
            if SYSTEM_CLOCK.monotonic_ns() > until_ns:
                return False
            fleet.tend()
            threading.Event().wait(0.05)
        return True

    def _end_everything(self) -> None:
        if self._adder is not None and self._adder.poll() is None:
            self._adder.kill()
            self._adder.wait()
        if self._fleet is not None:
            self._fleet.kill_the_rest()
        self._arena.close()
