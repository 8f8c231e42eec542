"""How generations come and go: templates are started, adopted, replaced and tried again. Pure; a part of the pool.

A broken save never replaces code that works (P6). One template loads at a time; what is saved meanwhile is loaded after
it, so that not even saves without end keep all new code away. Where nothing works yet, a file that ends or hangs the
load is left out of the next one: it costs only itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.scouting import Scouting
from jobwarden.supervisor.terms import SECOND_NS

if TYPE_CHECKING:
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.intake import Intake
    from jobwarden.supervisor.leaving import Leaving
    from jobwarden.supervisor.quickness import Quickness
    from jobwarden.supervisor.scouting import Trial
    from jobwarden.supervisor.workers import Workers

LOAD = -4
"""The deadline key for 'load again'."""
LOAD_OVER = -5
"""The deadline key for 'the load takes too long'."""
OVERTAKEN = -8
"""The deadline key for 'the load has had its time although newer code waits'."""
FIRST_OVERTAKING_NS = SECOND_NS // 2
"""So long may a load go on when newer code is there; each one that is ended so gives the next twice the time."""


class Reloading:
    """Says which template is to be started, and what follows when one has loaded or has not."""

    def __init__(
        self,
        *,
        out: list[do.Effect],
        generations: Generations,
        workers: Workers,
        intake: Intake,
        quickness: Quickness,
        leaving: Leaving,
    ) -> None:
        """Nothing is loading."""
        self._owed = False
        """A reload was asked for while nothing may be started."""
        self._waiting: seen.ReloadAsked | None = None
        """What is to be loaded after the load that is under way."""
        self._tried: str | None = None
        """The hash of the code that was read from the disk last, for better or worse; None: not known."""
        self._afresh = False
        """Whether what is being loaded replaces all workers, even if it is what they run."""
        self._overtaken = 0
        """Loads in a row that were ended for newer code."""
        self._left_out: dict[str, str] = {}
        """Files that are left out of the load, and why."""
        self._served_without: dict[str, str] = {}
        """And out of what is served."""
        self._restoring = False
        self.scouting = Scouting(workers.births, adopt=self._proved, refuse=self._not_proved)
        self._out = out
        self._generations = generations
        self._workers = workers
        self._roster = workers.roster
        self._intake = intake
        self._quickness = quickness
        self._leaving = leaving

    def asked(self, fact: seen.ReloadAsked, now: seen.Moment) -> None:
        """Load the handlers again: always if people ask, else if it is other code than the last time."""
        if self._leaving.urgency or (self._roster.terms.errand is not None and self._generations.last):
            return  # an errand ends on the code with which it began
        self._owed = self._roster.closed
        if self._owed:
            return
        if fact.content_hash is not None and fact.content_hash == self._tried:
            self._wait_no_more()
        elif self._generations.loading is not None and fact.content_hash is not None:
            self._wait(fact, now)
        else:
            self._begin(fact, now)

    def _wait_no_more(self) -> None:
        """What is being loaded, or was, is what is there."""
        self._waiting = None
        self._roster.deadlines.set(OVERTAKEN, None)

    def _wait(self, fact: seen.ReloadAsked, now: seen.Moment) -> None:
        if self._waiting is None:
            time_ns = min(FIRST_OVERTAKING_NS << self._overtaken, self._roster.terms.load_ns)
            self._roster.deadlines.set(OVERTAKEN, now.ns + time_ns)
        self._waiting = fact

    def _begin(self, fact: seen.ReloadAsked, now: seen.Moment) -> None:
        """Ends the load that is under way, if any."""
        self.scouting.call_off()
        if self._generations.loading is not None:
            self._out.append(do.EndTemplate(self._generations.loading))
        self._tried, self._afresh = fact.content_hash, fact.content_hash is None
        self._waiting = None
        self._left_out = {}
        self._load(now, restore=False)

    def _load(self, now: seen.Moment, *, restore: bool) -> None:
        self._restoring = restore
        without = tuple(self._left_out)
        self._out.append(do.StartTemplate(self._generations.begin(), restore, self._roster.terms.name, without))
        self._roster.deadlines.set(LOAD_OVER, now.ns + self._roster.terms.load_ns)
        self._roster.deadlines.set(OVERTAKEN, None)

    def began(self, fact: seen.TemplateBegan, _now: seen.Moment) -> None:
        """The template that loads has read its code."""
        if fact.generation != self._generations.loading or self._restoring:
            return
        self._tried = fact.content_hash
        if self._waiting is not None and self._waiting.content_hash == self._tried:
            self._wait_no_more()

    def overtaken(self, now: seen.Moment) -> None:
        """Newer code has waited long enough."""
        if self._waiting is not None:
            self._overtaken += 1
            self._begin(self._waiting, now)

    def overdue(self, _now: seen.Moment) -> None:
        """The load takes too long: it is ended, and TemplateFailed says where it was."""
        loading = self._generations.loading
        if loading is not None:
            seconds = self._roster.terms.load_ns / SECOND_NS
            self._out.append(do.EndTemplate(loading, f"it did not load within {seconds:g} s"))

    def ready(self, fact: seen.TemplateReady, now: seen.Moment) -> None:
        """A template has loaded: it serves from now on, unless it is broken where something worked."""
        if self._leaving.urgency or fact.generation != self._generations.loading:
            self._out.append(do.EndTemplate(fact.generation))
            return
        self._has_ended()
        problems = (*fact.problems, *self._left_out.values())
        for problem in fact.problems:
            self._roster.alert(problem)
        if not self._restoring and self._generations.would_break(fact, left_out=self._left_out):
            # P6: a broken save never replaces code that works.
            self._out.append(do.EndTemplate(fact.generation))
            self._refused(fact.generation, problems, now)
        elif fact.starts and self._replaces_what_works(fact):
            if not self._roster.closed:
                self.scouting.begin(fact, problems, now)
                return
            # Nobody may be born to prove it: it is loaded again once the node may work.
            self._out.append(do.EndTemplate(fact.generation))
            self._generations.loading, self._owed = None, True
        else:
            self._adopt(fact, problems, now)
        self._go_on(now)

    def _replaces_what_works(self, fact: seen.TemplateReady) -> bool:
        return bool(self._generations.types) and (self._afresh or fact.content_hash != self._generations.content_hash)

    def _proved(self, trial: Trial, now: seen.Moment) -> None:
        """The first worker of the new code is ready."""
        self._workers.idle[trial.slot.id] = trial.slot  # also where workers of the old code are busy in all places
        self._adopt(trial.ready, trial.problems, now)
        self._go_on(now)

    def _not_proved(self, trial: Trial, why: str, now: seen.Moment) -> None:
        """It is tried again after a pause: what its hooks need may only be away."""
        self._out.append(do.EndTemplate(trial.ready.generation))
        if not self._leaving.urgency:
            self._refused(trial.ready.generation, (why, *trial.problems), now)
            self._owed = True
            self._roster.deadlines.set(LOAD, now.ns + self._generations.pause(now.ns))
            self._go_on(now)

    def _adopt(self, fact: seen.TemplateReady, problems: tuple[str, ...], now: seen.Moment) -> None:
        if fact.content_hash != self._generations.content_hash:
            self._quickness.forget()
            self._workers.births.forgive()
        broken = frozenset((*fact.broken, *self._left_out))
        replaced = self._generations.adopt(
            fact.generation, fact.content_hash, fact.handlers, broken=broken, afresh=self._afresh
        )
        self._generations.problems = problems
        self._served_without = self._left_out
        types = tuple(sorted(each.job_type for each in fact.handlers))
        self._out.append(do.NoteServed(fact.generation, fact.content_hash, types, self._roster.terms.name))
        if replaced is not None:
            self._out.append(do.EndTemplate(replaced))
        if self._restoring and self._owed:
            self._roster.deadlines.set(LOAD, now.ns + self._generations.pause(now.ns))
        self._intake.ring()
        self._workers.retire_old_code(now)
        self._workers.fill(now)

    def failed(self, fact: seen.TemplateFailed, now: seen.Moment) -> None:
        """A template could not load, or is gone."""
        if fact.generation not in {self._generations.loading, self._generations.template}:
            return
        was_loading = fact.generation == self._generations.loading
        if was_loading:
            self._has_ended()
        if was_loading and fact.file is not None and self._may_leave_out(fact.file):
            self._roster.alert(f"generation {fact.generation} is loaded again without {fact.file}: {fact.why}")
            self._left_out = {**self._left_out, fact.file: fact.why}
            self._load(now, restore=self._restoring)
            return
        self._refused(fact.generation, (fact.why,), now)
        if not was_loading:
            return
        if fact.again and self._generations.template is not None:
            self._owed = True
            self._roster.deadlines.set(LOAD, now.ns + self._generations.pause(now.ns))
        self._go_on(now)

    def _may_leave_out(self, file: str) -> bool:
        """Where it serves nothing anyway, and no newer code waits."""
        return self._waiting is None and file not in self._left_out and self._generations.may_lack(file)

    def _refused(self, generation: int, problems: tuple[str, ...], now: seen.Moment) -> None:
        self._roster.alert(f"generation {generation} is not served: {problems[0]}")
        pause_ns = self._generations.fail(generation, problems, now_ns=now.ns)
        if pause_ns is not None:
            self._roster.deadlines.set(LOAD, now.ns + pause_ns)

    def _has_ended(self) -> None:
        """The load came to an end by itself."""
        self._overtaken = 0
        self._roster.deadlines.set(LOAD_OVER, None)
        self._roster.deadlines.set(OVERTAKEN, None)

    def _go_on(self, now: seen.Moment) -> None:
        """With what came meanwhile, unless that is what was loaded."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and self._generations.loading is None and not self._leaving.urgency:
            self.asked(waiting, now)

    def gone(self, fact: seen.TemplateGone, now: seen.Moment) -> None:
        """A template that had loaded died."""
        trial = self.scouting.trial
        if trial is not None and fact.generation == trial.ready.generation:
            self.scouting.call_off()
            self._not_proved(trial, "its template process died", now)
        if fact.generation == self._generations.template and not self._leaving.urgency:
            self.failed(seen.TemplateFailed(fact.generation, "its template process died"), now)
            if self._generations.loading is None:
                self._roster.deadlines.set(LOAD, now.ns)

    def again(self, now: seen.Moment) -> None:
        """After a pause: what is served is loaded again, from memory."""
        if self._roster.closed or self._leaving.urgency:
            return  # what is started now would be killed; it is loaded once the node may work again
        bare = self._generations.template is None and self._generations.loading is None
        serves = self._generations.serving is not None
        if self._owed and not (bare and serves):  # what works comes first: what is owed may never be fit to serve
            self.asked(seen.ReloadAsked(), now)
        elif bare:
            if serves:
                self._left_out, self._afresh = self._served_without, False
            self._load(now, restore=serves)
