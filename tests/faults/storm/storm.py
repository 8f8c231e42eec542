"""One storm: a daemon, jobs without a pause, saves without mercy; now and then a look whether the right code is served.

The saves and their manners come from the seed; how far the daemon got in between does not. So what is checked at a
checkpoint waits for the daemon, and everything else is checked at the end, in `audit`.
"""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jobwarden.clock import SYSTEM_CLOCK
from tests.faults.storm.load import Load
from tests.faults.storm.manners import Disk
from tests.faults.storm.saves import HELPER, LATE, SERVED, Save, Saves
from tests.faults.storm.state import State, state_of
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.waiting import eventually

_SERVED_SECONDS = 60
"""A generous limit for good code to be served."""
_REST_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is wanted. `pause_seconds`: between two saves, in the mean."""

    saves: int = 1_000
    share_broken: float = 1 / 3
    pause_seconds: float = 0.4
    checkpoint_every: int = 25
    rate: float = 50
    workers: int = 4
    load_seconds: float = 2
    seed: int = 1
    hup: bool = False
    """Reload by SIGHUP after each save, with `watch = "off"`; else the watcher has to notice them."""


@dataclass(slots=True)
class Report:
    """What happened."""

    saves: Counter[str] = field(default_factory=Counter)
    manners: Counter[str] = field(default_factory=Counter)
    may_be_served: set[int] = field(default_factory=set)
    """Versions that were good, or neither good nor bad."""
    passing: set[int] = field(default_factory=set)
    """Those that were neither: the next save does not build on them, so what follows may be older."""
    served_ms: list[float] = field(default_factory=list)
    """At checkpoints: from the save until a job returned its version."""
    states: list[State] = field(default_factory=list)
    """The supervisor before, at each checkpoint, and after."""
    accepted: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


class Storm:
    """Made with a site that has no daemon yet; `run` leaves the daemon running, with nothing to do."""

    def __init__(self, plan: Plan, site: Site) -> None:
        self.report = Report(may_be_served={0})
        self._plan = plan
        self._site = site
        self._random = random.Random(plan.seed)
        self._saves = Saves(self._random)
        # Who asks for a reload gets what is there at that moment; only the watcher waits for the end of a save.
        self._disk = Disk(site.folder, self._saves.good_tree, self._random, whole=plan.hup)
        self.daemon = self._start()

    def _start(self) -> Daemon:
        plan = self._plan
        return self._site.start(
            handlers=self._disk.link,
            workers=plan.workers,
            load_seconds=plan.load_seconds,
            watch="off" if plan.hup else "auto",
        )

    def run(self) -> Report:
        """All saves, then calm."""
        self._await_code(self._saves.good_tree)
        self._note_state()
        load = Load(self._site.client, rate=self._plan.rate, seed=self._plan.seed)
        load.start()
        for count in range(1, self._plan.saves + 1):
            if count % self._plan.checkpoint_every == 0 or count == self._plan.saves:
                self._checkpoint()
            else:
                self._save(self._saves.draw(share_broken=self._plan.share_broken))
                self._pause()
        self.report.accepted = load.end()
        for job_id in self.report.accepted:
            self._site.await_end(job_id)
        self._settle()
        return self.report

    def _save(self, save: Save) -> int:
        """Returns the position in the log before it."""
        if save.good is not False:
            self.report.may_be_served.add(save.number)
        if save.good is None:
            self.report.passing.add(save.number)
        self.report.saves[("good: " if save.good else "broken: ") + save.kind] += 1
        position = self.daemon.position
        self.report.manners[self._disk.save(save.tree)] += 1
        if self._plan.hup:
            self.daemon.send(signal.SIGHUP)
        return position

    def _pause(self) -> None:
        """Now long enough for a load, now far too short."""
        threading.Event().wait(self._random.expovariate(1 / self._plan.pause_seconds))

    # checkpoints

    def _checkpoint(self) -> None:
        """Good code is served; a broken save is refused, with a sentence, while jobs run on the good code."""
        began_ns = SYSTEM_CLOCK.monotonic_ns()
        self._save(self._saves.good())
        self._await_code(self._saves.good_tree)
        self.report.served_ms.append((SYSTEM_CLOCK.monotonic_ns() - began_ns) / 1e6)
        broken = self._saves.broken()
        while broken.good is None:
            broken = self._saves.broken()
        position = self._save(broken)
        self._expect(self._saves.good_tree, f"while {broken.kind} was loaded")
        self._await_refusal(position, broken)
        self._expect(self._saves.good_tree, f"after {broken.kind} was refused")
        self._note_state()

    def _await_refusal(self, position: int, broken: Save) -> None:
        def refused() -> bool:
            return any("is not served" in str(event.get("text")) for event in self.daemon.log[position:])

        eventually(refused, what=f"the refusal of {broken.kind}", seconds=_SERVED_SECONDS)

    def _await_code(self, tree: dict[str, str]) -> None:
        """Until a job is run by this code."""
        wanted = _versions(tree)
        eventually(lambda: self._run_one() == wanted, what=f"{wanted} is served", seconds=_SERVED_SECONDS)

    def _expect(self, tree: dict[str, str], when: str) -> None:
        found = self._run_one()
        if found != _versions(tree):
            self.report.findings.append(f"{when}, {found} was served instead of {_versions(tree)}")

    def _run_one(self) -> Any:
        job_id = self._site.client.add_job("lasting", {"seconds": 0}, max_attempts=1)
        self.report.accepted.append(job_id)
        return self._site.await_end(job_id, seconds=_SERVED_SECONDS).output

    # the supervisor itself

    def _note_state(self) -> None:
        self.report.states.append(state_of(self.daemon.supervisor, self._site.folder / "state"))

    def _settle(self) -> None:
        """Until its processes are the template and the workers again."""
        self.daemon.await_workers(self._plan.workers)
        with suppress(AssertionError):  # what has grown is a finding of the audit
            eventually(self._is_at_rest, what="no more of anything than at the first checkpoint", seconds=_REST_SECONDS)
        self._note_state()

    def _is_at_rest(self) -> bool:
        # Not as before the first one: the code that was refused last is kept until something else is loaded.
        now, before = state_of(self.daemon.supervisor, self._site.folder / "state"), self.report.states[1]
        return now.children == before.children and now.descriptors <= before.descriptors


def _versions(tree: dict[str, str]) -> dict[str, int]:
    """What `lasting` returns under this code."""
    served, helper, late = (_version(tree[each]) for each in (SERVED, HELPER, LATE))
    return {"served": served, "helper": helper, "late": late, "began": served}


def _version(text: str) -> int:
    line = next(each for each in text.splitlines() if each.startswith("VERSION"))
    return int(line.rpartition(" ")[2])
