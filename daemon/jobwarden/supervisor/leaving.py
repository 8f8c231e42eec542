"""The pool's way out: drain, interrupt, leave when nobody is left. Pure; a part of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do

if TYPE_CHECKING:
    from jobwarden.supervisor import inputs as seen
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.intake import Intake
    from jobwarden.supervisor.workers import Workers

DRAIN_OVER = -2
"""The deadline key for 'what still runs is interrupted'."""
_DRAINING, _FAST, _NOW = 1, 2, 3


class Leaving:
    """How urgently the pool is to leave, and whether it has."""

    def __init__(self, *, out: list[do.Effect], workers: Workers, intake: Intake, generations: Generations) -> None:
        """Nobody has asked for it."""
        self.urgency = 0
        """0 serving, 1 draining, 2 fast, 3 now."""
        self._left = False
        self._out = out
        self._workers = workers
        self._intake = intake
        self._generations = generations

    def asked(self, fact: seen.StopAsked, now: seen.Moment) -> None:
        """Leave; each further time more urgently."""
        self.urgency = _NOW if fact.now else min(self.urgency + 1, _FAST)
        self._workers.roster.stopping = True
        self.give_back_backlog()
        if self.urgency == _DRAINING:
            self._drain(now)
        else:
            self.interrupt_all(now, grace_ns=0 if self.urgency == _NOW else None)

    def _drain(self, now: seen.Moment) -> None:
        roster = self._workers.roster
        roster.deadlines.set(DRAIN_OVER, now.ns + roster.terms.drain_ns)
        for slot in list(roster.slots.values()):
            if slot.head is None:
                roster.dismiss(slot, now_ns=now.ns)
            elif len(slot.in_flight) > 1:
                self._out.append(do.TakeBack(slot.id))

    def interrupt_all(self, now: seen.Moment, *, grace_ns: int | None) -> None:
        """End every worker; running attempts are given back."""
        for slot in list(self._workers.slots.values()):
            if slot.head is None:
                self._workers.kill(slot)
            else:
                self._workers.stop(slot, Outcome.INTERRUPTED, now, grace_ns=grace_ns)

    def give_back_backlog(self) -> None:
        """What was claimed and not sent to anybody is free again."""
        self._out.extend(do.GiveBackJob(job.id, job.fence) for job in self._intake.backlog)
        self._intake.backlog.clear()

    def leave_if_empty(self) -> None:
        """Once no worker and no claim is left."""
        if self._left or self._workers.slots or self._intake.claiming:
            return
        self._left = True
        for template in (self._generations.template, self._generations.loading):
            if template is not None:
                self._out.append(do.EndTemplate(template))
        self._out.append(do.Leave())
