"""The first worker of new code proves it, before it replaces code that works (P6, decision 023). Pure; of the pool.

Only for code with hooks at the start of its workers, and only where something is served: importing a file says nothing
about what it does there. The scout is one worker more than is wanted; until it is ready, the old code serves on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.slot import Slot, SlotState

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.supervisor.births import Births

_DIED = "the first worker of the new code died before it was ready, perhaps in an on_worker_start"
_LATE = "the first worker of the new code was not ready in time, on_worker_start included"


class Trial(NamedTuple):
    """A generation that has loaded, and the worker that is to prove it."""

    ready: seen.TemplateReady
    problems: tuple[str, ...]
    slot: Slot


class Scouting:
    """At most one trial at a time."""

    def __init__(self, births: Births, *, adopt: Callable[..., None], refuse: Callable[..., None]) -> None:
        """One of them is called with the trial (and the reason) and the moment, when it is over."""
        self.trial: Trial | None = None
        self._births = births
        self._adopt = adopt
        self._refuse = refuse
        self._why: str | None = None

    def begin(self, ready: seen.TemplateReady, problems: tuple[str, ...], now: seen.Moment) -> None:
        """Have the scout born."""
        self._why = None
        self.trial = Trial(ready, problems, self._births.scout(ready.generation, now))

    def call_off(self) -> None:
        """Something else is to be loaded instead, or nothing any more: the scout goes."""
        trial, self.trial = self.trial, None
        if trial is not None:
            self._births.let_go(trial.slot)

    def mind(self, fact: seen.Input, now: seen.Moment) -> None:
        """After each fact, as long as there is a trial: whether it is over."""
        trial = self.trial
        if trial is None:
            return
        slot = trial.slot
        if isinstance(fact, seen.Unready | seen.Unborn) and fact.slot == slot.id:
            self._why = fact.why
        if slot.state is SlotState.READY:
            self.trial, slot.scout = None, False
            self._adopt(trial, now)
        elif slot.state is not SlotState.SPAWNING or not self._births.is_there(slot):
            self.trial = None
            late = slot.state is SlotState.KILLING and self._why is None
            self._refuse(trial, self._why or (_LATE if late else _DIED), now)
