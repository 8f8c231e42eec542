"""An errand (`run --once`, `run --burst`): claims within its bounds, says when it is done. Pure; a part of the pool.

`--once` is one claim; what became ready meanwhile waits for the next call. `--burst` is done when a claim that was
made with empty hands brings nothing. Neither waits for anything that is due later. It must never claim again after
it has given up or is done, and it must never wait for ever for a worker or for code that does not come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.intake import LARGEST_CLAIM
from jobwarden.supervisor.slot import SlotState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobwarden.jobs.claim import TypeTerms
    from jobwarden.supervisor.dispatching import Dispatching
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.intake import Intake
    from jobwarden.supervisor.terms import Errand, PoolTerms
    from jobwarden.supervisor.workers import Workers

STALLED = -6
"""The deadline key for 'no worker came'."""
MOST_AT_ONCE = 100
"""How many jobs `--once` claims where no limit is given."""
_FAILED, _WRONG_USE = 1, 2
_MOST_NAMED = 8
_SERVING = {SlotState.READY, SlotState.STOPPING}


class ErrandRun:
    """How far the errand is. Asked instead of `Dispatching` when to claim."""

    def __init__(
        self,
        terms: PoolTerms,
        errand: Errand,
        *,
        out: list[do.Effect],
        dispatching: Dispatching,
        workers: Workers,
        intake: Intake,
        generations: Generations,
    ) -> None:
        """Nothing was claimed; the code is not loaded yet."""
        self.begun = False
        """Whether the handlers were loaded, so that a number of processed jobs has a meaning."""
        self.over = False
        """Nothing is left to be done: the pool is to leave."""
        self.processed = 0
        """Attempts of this errand that came to an end, whichever; one that was given back is none."""
        self.problem: str | None = None
        """Why it gave up."""
        self.exit_code = 0
        self._errand = errand
        self._patience_ns = terms.load_ns + 2 * terms.spawn_ns
        self._out = out
        self._dispatching = dispatching
        self._workers = workers
        self._intake = intake
        self._generations = generations
        self._offers: tuple[TypeTerms, ...] = ()
        self._left = errand.limit if errand.limit is not None or errand.burst else MOST_AT_ONCE
        self._asked_with_empty_hands = False
        self._in_doubt = False
        """Nobody knows what a claim has taken; what it took is given back before the next one."""
        self._closed = False
        """Nothing further is claimed."""

    def follow(self, fact: seen.Input, now: seen.Moment) -> None:
        """After the pool has handled a fact: what it means for the errand."""
        if isinstance(fact, seen.TemplateReady) and not self.begun:
            self._begin()
        elif isinstance(fact, seen.Claimed):
            self._received(len(fact.jobs))
        elif isinstance(fact, seen.ClaimFailed | seen.Processing):
            self._in_doubt = isinstance(fact, seen.ClaimFailed)
        elif not self.begun and self._generations.last and self._generations.loading is None:
            self._give_up(f"the handlers could not be loaded: {self._generations.problem}", exit_code=_FAILED)
        if self._closed and self._hands_are_empty:
            self.over = True
        self._watch_for_workers(now)

    def ask(self, now: seen.Moment) -> None:
        """Claim what the errand may have; the counterpart of `Dispatching.ask`."""
        if self._closed or self._in_doubt or self._intake.claiming or not self._offers:
            return
        room = self._room(now)
        if room > 0:
            self._asked_with_empty_hands = self._hands_are_empty
            self._intake.ask(room, now_ns=now.ns)
            self._out.append(do.AskClaim(room, self._offers, self._workers.roster.terms.name))

    def count(self, effects: Iterable[do.Effect]) -> None:
        """Look at everything that the pool lets out."""
        for effect in effects:
            if isinstance(effect, do.Record) and effect.ending.outcome is not Outcome.INTERRUPTED:
                self.processed += 1

    def stalled(self) -> None:
        """The deadline has passed: there was no worker for too long."""
        self._give_up(f"no worker could be started within {self._patience_ns / 1e9:g} s", exit_code=_FAILED)

    # its course

    def _begin(self) -> None:
        wanted = self._errand.types
        offers = tuple(each for each in self._generations.terms if not wanted or each.job_type in wanted)
        unknown = sorted(set(wanted) - {each.job_type for each in offers})
        problems = "".join(f"; {each}" for each in self._generations.problems)
        if unknown:
            sentence = f"--type: no handler here serves {_some(unknown)}; there are handlers for {self._served()}"
            self._give_up(sentence + problems, exit_code=_FAILED if problems else _WRONG_USE)
        elif not offers:
            self._give_up(f"there is no handler that could run a job; see --handlers{problems}", exit_code=_FAILED)
        else:
            self.begun, self._offers = True, offers

    def _served(self) -> str:
        return _some(sorted(self._generations.types)) or "nothing"

    def _received(self, count: int) -> None:
        if self._left is not None:
            self._left -= count
        nothing_left = self._asked_with_empty_hands and not count
        self._closed |= not self._errand.burst or nothing_left or self._left == 0

    def _room(self, now: seen.Moment) -> int:
        if not self._errand.burst:
            return self._left or 0 if self._workers.idle else 0  # at once, but not before somebody can begin
        if not (self._intake.maybe_more or self._hands_are_empty):
            return 0
        room = min(self._dispatching.room(now), LARGEST_CLAIM)
        return room if self._left is None else min(room, self._left)

    @property
    def _hands_are_empty(self) -> bool:
        return not self._intake.backlog and not any(slot.in_flight for slot in self._workers.slots.values())

    def _watch_for_workers(self, now: seen.Moment) -> None:
        deadlines = self._workers.roster.deadlines
        if self.over or any(slot.state in _SERVING for slot in self._workers.slots.values()):
            deadlines.set(STALLED, None)
        elif not deadlines.is_set(STALLED):
            deadlines.set(STALLED, now.ns + self._patience_ns)

    def _give_up(self, problem: str, *, exit_code: int) -> None:
        if not self.over:
            self.problem, self.exit_code = problem, exit_code
            self._closed = self.over = True


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
