"""The pool: all decisions about slots, jobs, deadlines and generations. Pure.

`handle(fact, now)` takes one fact and returns what is to be done, in order. It reads no clock, touches no
descriptor and holds no lock; the loop is its only caller. It must never record the end of a killed attempt before
the attempt's whole tree is known to be gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobwarden.jobs.ending import end_attempt
from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.births import RESPAWN
from jobwarden.supervisor.deadlines import Deadlines
from jobwarden.supervisor.dispatching import Dispatching
from jobwarden.supervisor.errand import STALLED, ErrandRun
from jobwarden.supervisor.generations import Generations
from jobwarden.supervisor.intake import Intake
from jobwarden.supervisor.leaving import DRAIN_OVER, Leaving
from jobwarden.supervisor.limits import capped
from jobwarden.supervisor.progress import ProgressNotes
from jobwarden.supervisor.quickness import Quickness
from jobwarden.supervisor.reloading import LOAD, LOAD_OVER, OVERTAKEN, Reloading
from jobwarden.supervisor.standing import Standing
from jobwarden.supervisor.usage import MEASURE
from jobwarden.supervisor.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.supervisor.slot import Slot
    from jobwarden.supervisor.terms import PoolTerms
    from jobwarden.wire.messages import HandlerInfo

_TEND = -3
_TEND_EVERY_NS = 50_000_000

_WISHES = {"cancel": Outcome.CANCELLED, "requeue": Outcome.INTERRUPTED}
"""What a client may ask of a running job, and how that ends the attempt."""


class Pool:
    """Feed it facts, perform its effects."""

    def __init__(self, terms: PoolTerms, *, jitter: Callable[[], float], first: int = 1, step: int = 1) -> None:
        """`jitter` draws a number in [0.5, 1]. Slots and generations are numbered first, first + step, and so on."""
        self.terms = terms
        self.name = terms.name
        self.deadlines = Deadlines()
        self.generations = Generations(default_timeout_ms=terms.default_timeout_ms, first=first, step=step)
        self.intake = Intake(patient=terms.errand is not None)
        self._jitter = jitter
        self._out: list[do.Effect] = []
        self._quickness = Quickness()
        self._tending = False
        self.workers = Workers(
            terms,
            out=self._out,
            deadlines=self.deadlines,
            generations=self.generations,
            intake=self.intake,
            quickness=self._quickness,
            jitter=jitter,
            first=first,
            step=step,
        )
        self._dispatching = Dispatching(
            out=self._out,
            workers=self.workers,
            intake=self.intake,
            generations=self.generations,
            quickness=self._quickness,
        )
        self.errand = self._errand_of(terms)
        self._leaving = Leaving(out=self._out, workers=self.workers, intake=self.intake, generations=self.generations)
        self._reloading = Reloading(
            out=self._out,
            generations=self.generations,
            workers=self.workers,
            intake=self.intake,
            quickness=self._quickness,
            leaving=self._leaving,
        )
        self.standing = Standing(
            out=self._out, workers=self.workers, intake=self.intake, leaving=self._leaving, reloading=self._reloading
        )
        self._progress = ProgressNotes(out=self._out, slots=self.workers.slots)
        self._table: dict[type, Callable[[Any, seen.Moment], None]] = {
            seen.Claimed: self._claimed,
            seen.ClaimFailed: lambda _fact, _now: self.intake.fail(),
            seen.Rang: lambda _fact, _now: self.intake.ring(),
            seen.TemplateBegan: self._reloading.began,
            seen.TemplateReady: self._reloading.ready,
            seen.TemplateFailed: self._reloading.failed,
            seen.TemplateGone: self._reloading.gone,
            seen.Born: self.workers.births.born,
            seen.Unborn: self.workers.births.unborn,
            seen.Ready: self.workers.ready,
            seen.Unready: self.workers.births.unready,
            seen.Reported: self.workers.reported,
            seen.ProgressMade: self._progressed,
            seen.Beaten: self.workers.limits.sign_of_life,
            seen.ProlongAsked: self.workers.limits.prolong,
            seen.Measured: self.workers.usage.measured,
            seen.Asked: self.workers.asked,
            seen.TookBack: self.workers.took_back,
            seen.Died: self.workers.died,
            seen.Cleared: self.workers.cleared,
            seen.Stuck: self.workers.stuck,
            seen.Wished: self._wished,
            seen.LeaseLost: self._lease_lost,
            seen.Processing: self._processing,
            seen.TrustLost: self.standing.trust_lost,
            seen.TrustBack: self.standing.trust_back,
            seen.NodeGone: self.standing.node_gone,
            seen.Rejoined: self.standing.rejoined,
            seen.ReloadAsked: self._reloading.asked,
            seen.TermsChanged: self._terms_changed,
            seen.StopAsked: self._leaving.asked,
            seen.Ticked: self._ticked,
        }

    def handle(self, fact: seen.Input, now: seen.Moment) -> list[do.Effect]:
        """What follows from this fact."""
        self._table[type(fact)](fact, now)
        if self._reloading.scouting.trial is not None:
            self._reloading.scouting.mind(fact, now)
        if self.errand is not None and not self._leaving.urgency:
            self._mind_errand(self.errand, fact, now)
        if self._leaving.urgency:
            self._leaving.leave_if_empty()
        elif self.standing.good:
            self._dispatching.hand_out(now)
            (self.errand or self._dispatching).ask(now)
        else:
            self.standing.hold()
        if self.intake.backlog or not self._tending:
            self._plan_tending(now)
        effects = self._out[:]
        self._out.clear()
        if self.errand is not None:
            self.errand.count(effects)
        return effects

    def next_ns(self) -> int | None:
        """When Ticked should come at the latest (CLOCK_MONOTONIC), or None."""
        return self.deadlines.next_ns()

    def has_loaded(self) -> None:
        """What it loads is there and waits for another pool: the load cannot take too long any more."""
        self.deadlines.set(LOAD_OVER, None)

    @property
    def on_trial(self) -> tuple[HandlerInfo, ...]:
        """What it will serve if the first worker of the new code is ready."""
        trial = self._reloading.scouting.trial
        return () if trial is None else trial.ready.handlers

    @property
    def stopping(self) -> bool:
        """Whether it was asked to leave."""
        return self._leaving.urgency > 0

    # processing by hand

    def _errand_of(self, terms: PoolTerms) -> ErrandRun | None:
        if terms.errand is None:
            return None
        return ErrandRun(
            terms,
            terms.errand,
            out=self._out,
            dispatching=self._dispatching,
            workers=self.workers,
            intake=self.intake,
            generations=self.generations,
        )

    def _mind_errand(self, errand: ErrandRun, fact: seen.Input, now: seen.Moment) -> None:
        """One that is over leaves as after a first TERM; there is nothing to drain then."""
        errand.follow(fact, now)
        if errand.over:
            self._leaving.asked(seen.StopAsked(now=False), now)

    # the store

    def _claimed(self, fact: seen.Claimed, now: seen.Moment) -> None:
        self.intake.receive(capped(fact.jobs, self.terms.max_timeout_ms), now_ns=now.ns)
        if self._leaving.urgency:
            self._leaving.give_back_backlog()

    def _wished(self, fact: seen.Wished, now: seen.Moment) -> None:
        why = _WISHES.get(fact.wish)
        if why is None:  # of a newer version's client: nothing that we can do
            return
        slot = self._running(fact.job_id, fact.fence)
        if slot is not None:
            if slot.why is None:
                slot.told = fact.reason
            self.workers.stop(slot, why, now)
            return
        job = self.intake.drop((fact.job_id, fact.fence))
        if job is None:
            return
        if why is Outcome.INTERRUPTED:
            self._out.append(do.GiveBackJob(job.id, job.fence))
            return
        error = fact.reason or "cancelled before it was started"
        ending = end_attempt(job, why, error=error, now_us=now.us, jitter=self._jitter())
        self._out.append(do.Record(ending, job.job_type))

    def _lease_lost(self, fact: seen.LeaseLost, _now: seen.Moment) -> None:
        slot = self._running(fact.job_id, fact.fence)
        if slot is not None:
            slot.forgotten = True
            if slot.why is None:
                # Not for itself, but so that a successor which it has already begun is not taken for a crash.
                slot.why, slot.why_of = Outcome.INTERRUPTED, (fact.job_id, fact.fence)
            self.workers.kill(slot)
        self.intake.drop((fact.job_id, fact.fence))

    def _progressed(self, fact: seen.ProgressMade, now: seen.Moment) -> None:
        self._progress.progressed(fact, now)
        self.workers.limits.sign_of_life(fact, now)

    def _running(self, job_id: int, fence: int) -> Slot | None:
        for slot in self.workers.slots.values():
            if slot.head is not None and (slot.head.id, slot.head.fence) == (job_id, fence):
                return slot
        return None

    def _processing(self, fact: seen.Processing, _now: seen.Moment) -> None:
        known = self.known()
        self._out.extend(do.GiveBackJob(*row) for row in fact.rows if tuple(row) not in known)

    def known(self) -> set[tuple[int, int]]:
        """Every attempt (job id, fence) that this pool has in hand."""
        known = {(job.id, job.fence) for job in self.intake.backlog}
        for slot in self.workers.slots.values():
            known.update((job.id, job.fence) for job in slot.in_flight)
        return known

    # generations

    def _terms_changed(self, fact: seen.TermsChanged, now: seen.Moment) -> None:
        if self.errand is not None:
            return
        self.terms = fact.terms
        self.generations.change_default_timeout(fact.terms.default_timeout_ms)
        self.workers.change_terms(fact.terms, now)

    # time

    def _ticked(self, _fact: seen.Ticked, now: seen.Moment) -> None:
        for key in self.deadlines.due(now.ns):
            if key > 0:
                self.workers.overdue(key, now)
            elif key == RESPAWN:
                self.workers.fill(now)
            elif key == DRAIN_OVER:
                self._leaving.interrupt_all(now, grace_ns=None)
            elif key == LOAD:
                self._reloading.again(now)
            elif key == LOAD_OVER:
                self._reloading.overdue(now)
            elif key == OVERTAKEN:
                self._reloading.overtaken(now)
            elif key == MEASURE:
                self.workers.usage.look(now)
            elif key == STALLED and self.errand is not None:
                self.errand.stalled()
            else:
                self._tend(now)

    def _tend(self, now: seen.Moment) -> None:
        self._tending = False
        self._progress.flush(now)
        self._dispatching.rebalance(now)
        if self.intake.is_stale(now.ns):
            self._leaving.give_back_backlog()

    def _plan_tending(self, now: seen.Moment) -> None:
        if not self._tending and (self.intake.backlog or self._busy()):
            self._tending = True
            self.deadlines.set(_TEND, now.ns + _TEND_EVERY_NS)

    def _busy(self) -> bool:
        return any(len(slot.in_flight) > 1 or slot.progress is not None for slot in self.workers.slots.values())
