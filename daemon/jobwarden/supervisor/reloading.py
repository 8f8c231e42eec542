"""How generations come and go: templates are started, adopted, replaced and tried again. Pure; a part of the pool.

A broken save never replaces code that works (P6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.terms import SECOND_NS

if TYPE_CHECKING:
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.intake import Intake
    from jobwarden.supervisor.leaving import Leaving
    from jobwarden.supervisor.quickness import Quickness
    from jobwarden.supervisor.workers import Workers

LOAD = -4
"""The deadline key for 'load again'."""
LOAD_OVER = -5
"""The deadline key for 'the load takes too long'."""


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
        self._out = out
        self._generations = generations
        self._workers = workers
        self._roster = workers.roster
        self._intake = intake
        self._quickness = quickness
        self._leaving = leaving

    def asked(self, _fact: seen.ReloadAsked, now: seen.Moment) -> None:
        """Load the handlers again."""
        if self._leaving.urgency or (self._roster.terms.errand is not None and self._generations.last):
            return  # an errand ends on the code with which it began
        self._owed = self._roster.closed
        if self._owed:
            return
        if self._generations.loading is not None:
            self._out.append(do.EndTemplate(self._generations.loading))
        self._load(now, restore=False)

    def _load(self, now: seen.Moment, *, restore: bool) -> None:
        self._out.append(do.StartTemplate(self._generations.begin(), restore, self._roster.terms.name))
        self._roster.deadlines.set(LOAD_OVER, now.ns + self._roster.terms.load_ns)

    def overdue(self, now: seen.Moment) -> None:
        """The load takes too long."""
        loading = self._generations.loading
        if loading is not None:
            self._out.append(do.EndTemplate(loading))
            seconds = self._roster.terms.load_ns / SECOND_NS
            self.failed(seen.TemplateFailed(loading, f"it did not load within {seconds:g} s"), now)

    def ready(self, fact: seen.TemplateReady, now: seen.Moment) -> None:
        """A template has loaded: it serves from now on, unless it is broken where something worked."""
        if self._leaving.urgency or fact.generation != self._generations.loading:
            self._out.append(do.EndTemplate(fact.generation))
            return
        self._roster.deadlines.set(LOAD_OVER, None)
        if fact.problems:
            self._out.extend(do.Alert(problem) for problem in fact.problems)
        if fact.problems and self._generations.content_hash not in {None, fact.content_hash}:
            # P6: a broken save never replaces code that works.
            self._out.append(do.EndTemplate(fact.generation))
            self.failed(seen.TemplateFailed(fact.generation, fact.problems[0]), now)
            self._generations.problems = fact.problems
            return
        if fact.content_hash != self._generations.content_hash:
            self._quickness.forget()
        replaced = self._generations.adopt(fact.generation, fact.content_hash, fact.handlers)
        self._generations.problems = fact.problems
        types = tuple(sorted(each.job_type for each in fact.handlers))
        self._out.append(do.NoteServed(fact.generation, fact.content_hash, types, self._roster.terms.name))
        if replaced is not None:
            self._out.append(do.EndTemplate(replaced))
        self._intake.ring()
        self._workers.retire_old_code(now)
        self._workers.fill(now)

    def failed(self, fact: seen.TemplateFailed, now: seen.Moment) -> None:
        """A template could not load, or is gone."""
        if fact.generation not in {self._generations.loading, self._generations.template}:
            return
        self._out.append(do.Alert(f"generation {fact.generation} is not served: {fact.why}"))
        pause_ns = self._generations.fail(fact.generation, fact.why, now_ns=now.ns)
        if pause_ns is not None:
            self._roster.deadlines.set(LOAD, now.ns + pause_ns)

    def gone(self, fact: seen.TemplateGone, now: seen.Moment) -> None:
        """A template that had loaded died."""
        if fact.generation == self._generations.template and not self._leaving.urgency:
            self.failed(seen.TemplateFailed(fact.generation, "its template process died"), now)
            if self._generations.loading is None:
                self._roster.deadlines.set(LOAD, now.ns)

    def again(self, now: seen.Moment) -> None:
        """After a pause: what is served is loaded again, from memory."""
        if self._roster.closed or self._leaving.urgency:
            return  # what is started now would be killed; it is loaded once the node may work again
        if self._owed:
            self.asked(seen.ReloadAsked(), now)
            return
        if self._generations.template is None and self._generations.loading is None:
            self._load(now, restore=self._generations.serving is not None)
