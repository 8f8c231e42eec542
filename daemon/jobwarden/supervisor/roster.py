"""Who is there: all slots, the idle ones among them, and how one is told to go. Pure; a part of the pool.

Everything that decides about a slot (births, limits, the workers' lives) works on the one roster; it holds no rule
about jobs. The order of a kill is law (design §8): what is ordered here is recorded only in `Workers.cleared`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do
from jobwarden.supervisor.slot import Slot, SlotState

if TYPE_CHECKING:
    from jobwarden.supervisor.deadlines import Deadlines
    from jobwarden.supervisor.terms import PoolTerms

_MAY_BE_KILLED = frozenset({SlotState.SPAWNING, SlotState.READY, SlotState.STOPPING, SlotState.RETIRING})


class Roster:
    """The pool's slots by their ids. Methods append to `out` what the loop has to do."""

    def __init__(
        self, terms: PoolTerms, *, out: list[do.Effect], deadlines: Deadlines, first: int = 1, step: int = 1
    ) -> None:
        """Nobody is there; slots get the ids first, first + step, and so on."""
        self.terms = terms
        self.slots: dict[int, Slot] = {}
        self.idle: dict[int, Slot] = {}
        """Slots that wait for a job, in the order in which they became idle."""
        self.stopping = False
        self.closed = False
        """The node may not work now (see `Standing`): nobody is born, and whoever is goes."""
        self.shrinking = False
        """There are more workers than the configuration wants now: none gets a job behind another one."""
        self.out = out
        self.deadlines = deadlines
        self._last_slot, self._step = first - step, step

    def add(self, *, generation: int, now_ns: int) -> Slot:
        """A new slot, whose worker is to be born."""
        self._last_slot += self._step
        slot = self.slots[self._last_slot] = Slot(self._last_slot, generation=generation, now_ns=now_ns)
        return slot

    def excess(self) -> int:
        """How many workers there will be more than wanted once those that are told to go have gone; never negative."""
        return max(0, sum(slot.lives and not slot.scout for slot in self.slots.values()) - self.terms.workers)

    def dismiss(self, slot: Slot, *, now_ns: int) -> None:
        """It is not needed any more and has no job: left the grace to end by itself where it has hooks to call."""
        leaving = sum(each.state is SlotState.RETIRING for each in self.slots.values())
        unhurried = slot.takes_leave and slot.idle and self.terms.kill_grace_ns and leaving < self.terms.workers
        if not unhurried:
            self.kill(slot)
            return
        self.idle.pop(slot.id, None)
        slot.move(SlotState.RETIRING)
        self.set_until(slot, now_ns + self.terms.kill_grace_ns)
        self.out.append(do.Retire(slot.id))

    def places_taken(self) -> int:
        """How many of the wanted workers there are, or will be soon; one that retires leaves its place at once."""
        there = [slot for slot in self.slots.values() if not slot.stuck and not slot.scout]
        return sum(slot.state is not SlotState.RETIRING for slot in there)

    def kill(self, slot: Slot, *, dump: bool = False) -> None:
        """Order the death of the worker and its tree."""
        if slot.state not in _MAY_BE_KILLED:
            return
        if not slot.born:
            return  # `born` comes back to it, `unborn` removes it, or its spawn deadline ends the template
        self.idle.pop(slot.id, None)
        self.set_until(slot, None)
        if slot.in_flight:
            self.out.append(do.TakeBack(slot.id))
        slot.move(SlotState.KILLING)
        self.out.append(do.KillTree(slot.id, dump and slot.done is None))

    def alert(self, text: str) -> None:
        """Tell the operator something about this pool."""
        self.out.append(do.Alert(text, self.terms.name))

    def set_until(self, slot: Slot, at_ns: int | None) -> None:
        """The slot's one deadline (decision 004) is at this moment; None: it has none."""
        if at_ns is not None or slot.until_ns is not None:
            slot.until_ns = at_ns
            self.deadlines.set(slot.id, at_ns)

    def remove(self, slot: Slot) -> None:
        """Nothing of it is left."""
        self.deadlines.set(slot.id, None)
        del self.slots[slot.id]
