"""All pools of one node: each fact goes to the pool that it is about, or to all of them. Pure.

A pool knows nothing of the others. What only the node as a whole may do (leave, join again under a new name) is done
once all of them want it, and what the store says about the node is compared with what all of them have in hand. Slots
and generations of pool number i (from 0) of n are i+1, i+1+n, i+1+2n, and so on; so the number says whose it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.pool import Pool
from jobwarden.supervisor.territory import Territory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.supervisor.errand import ErrandRun
    from jobwarden.supervisor.terms import PoolTerms
    from jobwarden.wire.messages import HandlerInfo

_TOGETHER = (do.Leave, do.Rejoin)
"""What the node does only when every pool wants it."""
_OF_LOADS = (
    seen.TemplateReady,
    seen.TemplateFailed,
    seen.TemplateGone,
    seen.Ready,
    seen.Unready,
    seen.Unborn,
    seen.Cleared,
    seen.ReloadAsked,
    seen.Ticked,
)
"""With what a load can come to an end, a trial of its workers included."""


class Pools:
    """Feed it facts, perform its effects; the loop's only partner."""

    def __init__(self, terms: Sequence[PoolTerms], *, jitter: Callable[[], float]) -> None:
        """At least one pool; `jitter` draws a number in [0.5, 1]."""
        step = len(terms)
        self.all = [Pool(each, jitter=jitter, first=place, step=step) for place, each in enumerate(terms, start=1)]
        self.by_name = {pool.name: pool for pool in self.all}
        self._territory = Territory(self.all)
        self._agreed: dict[type, set[str]] = {kind: set() for kind in _TOGETHER}
        self._table: dict[type, Callable[[Any, seen.Moment], list[do.Effect]]] = {
            **dict.fromkeys((seen.Claimed, seen.ClaimFailed), self._by_pool),
            **dict.fromkeys((seen.TemplateBegan, seen.TemplateFailed), self._by_generation),
            seen.TemplateReady: self._template_ready,
            seen.TemplateGone: self._template_gone,
            **dict.fromkeys(
                (seen.Rang, seen.Wished, seen.LeaseLost, seen.TrustLost, seen.TrustBack, seen.NodeGone, seen.StopAsked),
                self._to_all,
            ),
            seen.Ticked: self._to_all,
            seen.Rejoined: self._rejoined,
            seen.Processing: self._processing,
            seen.ReloadAsked: self._reload_asked,
            seen.TermsChanged: self._terms_changed,
        }

    def handle(self, fact: seen.Input, now: seen.Moment) -> list[do.Effect]:
        """What follows from this fact, in order."""
        effects = self._table.get(type(fact), self._by_slot)(fact, now)
        if len(self.all) > 1 and type(fact) in _OF_LOADS:
            effects.extend(self._share_out(now))
        return effects

    def next_ns(self) -> int | None:
        """When Ticked should come at the latest (CLOCK_MONOTONIC), or None."""
        return min((at for pool in self.all if (at := pool.next_ns()) is not None), default=None)

    @property
    def trusted(self) -> bool:
        """Whether the node is within its trust window, as far as it was told."""
        return self.all[0].standing.trusted

    @property
    def errand(self) -> ErrandRun | None:
        """An errand is run by one pool alone."""
        return self.all[0].errand

    @property
    def handlers(self) -> tuple[HandlerInfo, ...]:
        """Of all pools."""
        return tuple(info for pool in self.all for info in pool.generations.handlers)

    def job_of(self, slot: int) -> ClaimedJob | None:
        """What this slot runs."""
        runs = self.all[(slot - 1) % len(self.all)].workers.slots.get(slot)
        return None if runs is None else runs.head

    # to whom

    def _by_slot(self, fact: Any, now: seen.Moment) -> list[do.Effect]:
        return self._ask(self.all[(fact.slot - 1) % len(self.all)], fact, now)

    def _by_generation(self, fact: Any, now: seen.Moment) -> list[do.Effect]:
        return self._ask(self._pool_of(fact.generation), fact, now)

    def _by_pool(self, fact: Any, now: seen.Moment) -> list[do.Effect]:
        return self._ask(self.by_name[fact.pool], fact, now)

    def _to_all(self, fact: seen.Input, now: seen.Moment) -> list[do.Effect]:
        effects = [effect for pool in self.all for effect in self._ask(pool, fact, now)]
        alerts: set[do.Effect] = set()  # what is so for the node is told once
        return [
            effect
            for effect in effects
            if not isinstance(effect, do.Alert) or not (effect in alerts or alerts.add(effect))  # type: ignore[func-returns-value]
        ]

    def _pool_of(self, generation: int) -> Pool:
        return self.all[(generation - 1) % len(self.all)]

    def _ask(self, pool: Pool, fact: seen.Input, now: seen.Moment) -> list[do.Effect]:
        effects = pool.handle(fact, now)
        if len(self.all) == 1 or not any(isinstance(each, _TOGETHER) for each in effects):
            return effects
        return [each for each in effects if not isinstance(each, _TOGETHER) or self._all_want(type(each), pool)]

    def _all_want(self, kind: type, pool: Pool) -> bool:
        self._agreed[kind].add(pool.name)
        return len(self._agreed[kind]) == len(self.all)

    # what is about several

    def _rejoined(self, fact: seen.Rejoined, now: seen.Moment) -> list[do.Effect]:
        self._agreed[do.Rejoin].clear()
        return self._to_all(fact, now)

    def _processing(self, fact: seen.Processing, now: seen.Moment) -> list[do.Effect]:
        """Rows that no pool knows were never started; one of them gives them back."""
        others = set().union(*(pool.known() for pool in self.all[1:]))
        rows = [row for row in fact.rows if tuple(row) not in others]
        return [
            *self._ask(self.all[0], seen.Processing(rows), now),
            *(effect for pool in self.all[1:] for effect in self._ask(pool, seen.Processing([]), now)),
        ]

    def _reload_asked(self, fact: seen.ReloadAsked, now: seen.Moment) -> list[do.Effect]:
        if fact.pool is None:
            return self._to_all(fact, now)
        return self._by_pool(fact, now) if fact.pool in self.by_name else []

    def _terms_changed(self, fact: seen.TermsChanged, now: seen.Moment) -> list[do.Effect]:
        pool = self.by_name.get(fact.terms.name)  # a new one needs a restart; whoever read the settings says so
        return [] if pool is None else self._ask(pool, fact, now)

    # what belongs to whom

    def _template_ready(self, fact: seen.TemplateReady, now: seen.Moment) -> list[do.Effect]:
        pool = self._pool_of(fact.generation)
        if fact.generation == pool.generations.loading and self._territory.hold(pool, fact):
            pool.has_loaded()
            return []
        return self._ask(pool, self._territory.judge(pool, fact), now)

    def _template_gone(self, fact: seen.TemplateGone, now: seen.Moment) -> list[do.Effect]:
        pool = self._pool_of(fact.generation)
        if self._territory.end(pool, fact.generation):
            return self._ask(pool, seen.TemplateFailed(fact.generation, "its template process died", again=True), now)
        return self._ask(pool, fact, now)

    def _share_out(self, now: seen.Moment) -> Iterator[do.Effect]:
        """After a load that may have changed who claims what."""
        while due := next(self._territory.due(), None):
            pool, fact = due
            yield from self._ask(pool, self._territory.judge(pool, fact), now)
        for pool in self._territory.freed():
            yield from self._ask(pool, seen.ReloadAsked(pool.name), now)
