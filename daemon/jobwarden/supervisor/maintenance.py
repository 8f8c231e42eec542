"""This node's part in maintenance: asks for the round, does what it won in slices between the ledger's commits.

A slice is one batch. As many jobs as end may be removed without a pause, so that retention keeps up with any rate;
after any other batch comes a pause twice as long as it took, so that a backlog leaves most of the store to claims.
Nothing that fails here may harm what the ledger is there for: it is told to people and comes again with the next
round. Called by the ledger, in its thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.clock import SECOND_NS, SECOND_US
from jobwarden.errors import CommitUnknownError, StoreError, StoreUnavailableError
from jobwarden.store.keeping.rounds import Rounds, Step

if TYPE_CHECKING:
    from jobwarden.clock import Clock
    from jobwarden.store.keeping.rounds import Rules
    from jobwarden.store.writer import Writer

_PAUSES_PER_BATCH = 2
_MOST_CREDIT = 100_000
"""What ended while another node did the rounds, or while nothing was old enough, is not made up for all at once."""


class Maintenance:
    """One per ledger."""

    def __init__(
        self, rules: Rules, *, period_seconds: float, clock: Clock, quiet_seconds: float | None = None
    ) -> None:
        """All nodes of a store together do one round per period.

        With `quiet_seconds`, only while something happens there (`stir`), else only so often: where each question is
        a round trip, an idle daemon asks little.
        """
        self._rounds = Rounds(rules)
        self._period_us = int(period_seconds * SECOND_US)
        self._period_ns = int(period_seconds * SECOND_NS)
        self._quiet_ns = 0 if quiet_seconds is None else int(quiet_seconds * SECOND_NS)
        self._stirred = True
        self._clock = clock
        self._next_ns = clock.monotonic_ns()
        self._asked_ns = self._next_ns
        self._credit = 0
        self._problems: dict[str, str] = {}
        """What failed in the last round: it is told once."""
        self._failed: dict[str, str] = {}
        self.summary: dict[str, object] | None = None
        """For people: `at_us` of this node's last round, and what the last one did that found anything to do."""

    def change(self, rules: Rules) -> None:
        """From now on; may be called from any thread."""
        self._rounds.rules = rules

    def stir(self) -> None:
        """Something has happened in the store, or runs, or is due."""
        self._stirred = True

    def ended(self, number: int) -> None:
        """So many attempts have just been written."""
        self._stirred |= number > 0
        self._credit = min(self._credit + number, _MOST_CREDIT)

    def idle_seconds(self) -> float:
        """How long nothing is to be done here."""
        return max(0.0, (self._wanted_ns() - self._clock.monotonic_ns()) / SECOND_NS)

    def turn(self, writer: Writer) -> bool:
        """Do one batch if its time has come; whether jobs have ended, or become ready, by it."""
        if self._clock.monotonic_ns() < self._wanted_ns():
            return False
        try:
            return self._work(writer)
        except StoreError:  # the ledger says so, with its own next write
            self._stirred = True
            self._rounds.abandon()
            self._rest_until_asked_again()
            return False

    def _wanted_ns(self) -> int:
        """When the next batch, or the next question for a round, is due."""
        if self._stirred or not self._rounds.is_over():
            return self._next_ns
        return max(self._next_ns, self._asked_ns + self._quiet_ns)

    def _work(self, writer: Writer) -> bool:
        if self._rounds.is_over():
            self._ask(writer)
            return False
        began_ns = self._clock.monotonic_ns()
        step = self._step(writer)
        now_ns = self._clock.monotonic_ns()
        self._next_ns = now_ns + (0 if self._pays(step.number) else _PAUSES_PER_BATCH * (now_ns - began_ns))
        if self._rounds.is_over() or now_ns >= self._asked_ns + self._period_ns:
            self._close()
        return step.moved

    def _pays(self, number: int) -> bool:
        paid = 0 < number <= self._credit
        if paid:
            self._credit -= number
        return paid

    def _ask(self, writer: Writer) -> None:
        self._asked_ns, self._stirred = self._clock.monotonic_ns(), False
        if writer.win_round(period_us=self._period_us, now_us=self._clock.now_us()):
            self._rounds.begin()
        else:
            self._rest_until_asked_again()

    def _step(self, writer: Writer) -> Step:
        try:
            return writer.step_round(self._rounds, now_us=self._clock.now_us())
        except (StoreUnavailableError, CommitUnknownError):
            raise
        except Exception as error:  # noqa: BLE001 - one odd row must not cost the outcomes of all other jobs
            self._complain(self._rounds.skip(), f"{type(error).__name__}: {error}")
            return Step(0, moved=False)

    def _complain(self, duty: str, problem: str) -> None:
        self._failed[duty] = problem
        if self._problems.get(duty) != problem:
            events.emit(events.Alerted(text=f"maintenance could not see to what is {duty}, it tries again: {problem}"))

    def _close(self) -> None:
        """Of a round that has taken its period, the rest comes with the next one, whose first duties are due."""
        now_us, done = self._clock.now_us(), self._rounds.done
        self._stirred |= bool(done or self._failed) or not self._rounds.is_over()
        self._rounds.abandon()
        self._problems, self._failed = self._failed, {}
        if done or self.summary is None:
            self.summary = {"done": done, "done_at_us": now_us}
        self.summary = {**self.summary, "at_us": now_us}
        if done:
            events.emit(events.Maintained(done=done))
        self._rest_until_asked_again()

    def _rest_until_asked_again(self) -> None:
        self._next_ns = max(self._next_ns, self._asked_ns + self._period_ns)
