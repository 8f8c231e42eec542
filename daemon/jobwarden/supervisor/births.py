"""The births of workers: how many are missing, and what happens when one does not come. Pure; a part of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do
from jobwarden.supervisor.patience import Patience
from jobwarden.supervisor.slot import SlotState
from jobwarden.supervisor.terms import MOST_BIRTHS, SECOND_NS

if TYPE_CHECKING:
    from jobwarden.supervisor import inputs as seen
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.roster import Roster
    from jobwarden.supervisor.slot import Slot

_FIRST_RESPAWN_PAUSE_NS, _LONGEST_RESPAWN_PAUSE_NS = 100_000_000, 5_000_000_000
RESPAWN = -1
"""The deadline key for 'try to fork again'; slots use their own (positive) ids."""


class Births:
    """Asks for workers and minds their births."""

    def __init__(self, roster: Roster, *, generations: Generations) -> None:
        """No worker yet; `fill` asks for them once a generation can be forked."""
        self._roster = roster
        self._generations = generations
        self._let_go: set[int] = set()
        self.problem: str | None = None
        """Why the last worker did not become one; None once one did."""
        self._patience = Patience(first_ns=_FIRST_RESPAWN_PAUSE_NS, longest_ns=_LONGEST_RESPAWN_PAUSE_NS)

    def fill(self, now: seen.Moment) -> None:
        """Ask for as many workers as are missing, unless the last ones died at birth just now."""
        roster = self._roster
        if roster.stopping or roster.closed or (template := self._generations.template) is None:
            return
        missing = roster.terms.workers - roster.places_taken()
        if missing > 0 and now.ns < self._patience.not_before_ns:
            roster.deadlines.set(RESPAWN, self._patience.not_before_ns)
            return
        births = sum(slot.state is SlotState.SPAWNING for slot in roster.slots.values())
        for _ in range(min(missing, MOST_BIRTHS - births)):
            self._fork(template, now)

    def _fork(self, template: int, now: seen.Moment) -> Slot:
        slot = self._roster.add(generation=template, now_ns=now.ns)
        self._roster.set_until(slot, now.ns + self._roster.terms.spawn_ns)
        self._roster.out.append(do.ForkWorker(slot.id, template))
        return slot

    def scout(self, template: int, now: seen.Moment) -> Slot:
        """One more than wanted, of code that is not served yet; what becomes of it is not judged here."""
        slot = self._fork(template, now)
        slot.scout = True
        return slot

    def let_go(self, slot: Slot) -> None:
        """Nobody waits for this scout any more; one that is not born yet goes when it is."""
        if slot.born:
            self._roster.kill(slot)
        else:
            self._let_go.add(slot.id)

    def is_there(self, slot: Slot) -> bool:
        """Whether it has not been removed."""
        return slot.id in self._roster.slots

    def born(self, fact: seen.Born, _now: seen.Moment) -> None:
        """The worker exists; if it was given up meanwhile, it is killed."""
        slot = self._roster.slots.get(fact.slot)
        if slot is None:
            return
        slot.born, slot.pid = True, fact.pid
        unwanted = self._roster.stopping or self._roster.closed or slot.id in self._let_go
        self._let_go.discard(slot.id)
        if unwanted and slot.state is SlotState.SPAWNING:
            self._roster.kill(slot)

    def unborn(self, fact: seen.Unborn, now: seen.Moment) -> None:
        """There is no worker; try again, more slowly each time."""
        slot = self._roster.slots.get(fact.slot)
        if slot is not None and slot.state is SlotState.SPAWNING and not slot.born:
            if not slot.scout:
                self._roster.alert(f"no worker was born: {fact.why}")
                self.failed(now)
            self._roster.remove(slot)
            self.fill(now)

    def unready(self, fact: seen.Unready, now: seen.Moment) -> None:
        """A hook of its start has failed: it goes, and the next one comes later."""
        slot = self._roster.slots.get(fact.slot)
        if slot is None or slot.state is not SlotState.SPAWNING:
            return
        if not slot.scout:
            self._tell(fact.why)
            self.failed(now)
        self._roster.kill(slot)

    def _tell(self, problem: str) -> None:
        """Once, however often it happens; `status` shows it as long as it is so."""
        if problem != self.problem:
            self.problem = problem
            self._roster.alert(f"no worker can begin: {problem}")

    def overdue(self, slot: Slot, now: seen.Moment) -> None:
        """It did not say Hello in time."""
        if not slot.scout:
            self.failed(now)
            seconds = self._roster.terms.spawn_ns / SECOND_NS
            self.problem = f"a worker was not ready within {seconds:g} s, on_worker_start included"
            self._roster.alert(f"{self.problem} (slot {slot.id}, process {slot.pid})")
        if slot.born:
            self._roster.kill(slot)
        else:
            self._roster.out.append(do.EndTemplate(slot.generation))

    def failed(self, now: seen.Moment) -> None:
        """A worker that never did anything is gone: the next one comes later."""
        self._patience.fail(now.ns)

    def forgive(self) -> None:
        """Other code is served now: what the old one could not do says nothing about it."""
        self._patience.forget()

    def succeeded(self) -> None:
        """A worker has done its first work."""
        self._patience.succeed()
