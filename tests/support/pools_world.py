"""Several pools of one node in one played world: a part for each pool, one store, one clock. See `pool_world`.

Each part sees what its own pool was told and wanted, so the rules of `pool_watch` hold in it as if it were alone; what
holds between pools is looked at here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.pool import Pool
from jobwarden.supervisor.pools import Pools
from jobwarden.supervisor.terms import SECOND_NS, PoolTerms
from tests.support.pool_watch import Key, PoolWatch
from tests.support.pool_world import TERMS, Row, World

_OWN = (seen.Claimed, seen.ClaimFailed, seen.ReloadAsked)
_OF_THE_NODE = (do.Leave, do.Rejoin)


def named(name: str, **changes: object) -> PoolTerms:
    """The usual terms, for a pool of this name."""
    return msgspec.structs.replace(TERMS, name=name, **changes)


class PoolsWorld:
    """What the pools share."""

    def __init__(self, *terms: PoolTerms) -> None:
        """Pools that were just asked to load the handlers."""
        self.ns = 1_000 * SECOND_NS
        self.rows: dict[int, Row] = {}
        self.page_trusted = True
        self.row_gone = False
        self.left = False
        self.facts: deque[seen.Input] = deque()
        self.effects: list[do.Effect] = []
        """Of the last step."""
        self.pools = Pools(terms, jitter=lambda: 1.0)
        self._handled: list[tuple[Part, seen.Input, list[do.Effect]]] = []
        self.parts = {pool.name: Part(self, pool) for pool in self.pools.all}
        self.tell(seen.ReloadAsked())

    def note(self, part: Part, fact: seen.Input, effects: list[do.Effect]) -> None:
        """A pool was told this and wanted that."""
        self._handled.append((part, fact, list(effects)))

    def tell(self, *facts: seen.Input) -> list[do.Effect]:
        """Let the pools handle facts and what follows from their effects."""
        self.facts.extend(facts)
        made: list[do.Effect] = []
        while self.facts:
            fact = self.facts.popleft()
            effects = self.pools.handle(fact, next(iter(self.parts.values())).moment)
            self._look(effects)
            made += effects
        self.effects = made
        for part in self.parts.values():
            part.last_effects = made
        return made

    def _look(self, effects: list[do.Effect]) -> None:
        handled, self._handled = self._handled, []
        for part, fact, own in handled:
            part.see(fact, own, effects)
        served = [job_type for pool in self.pools.all for job_type in pool.generations.types]
        assert len(served) == len(set(served)), "two pools serve one job type"
        ids = [slot for pool in self.pools.all for slot in pool.workers.slots]
        assert len(ids) == len(set(ids)), "two pools have a slot of one number"

    def reconcile(self) -> None:
        """The ledger commits, then reads what the store holds under this node."""
        for part in self.parts.values():
            part.commit()
            part.mail()  # what was claimed is told before
        self.tell(seen.Processing([row.job.attempt for row in self.rows.values() if row.status == "processing"]))

    def lose_row(self) -> None:
        """Somebody takes the node for dead; not twice before it has joined again, which nobody would tell it here."""
        if any(pool.standing.gone for pool in self.pools.all):
            return
        self.row_gone = True
        for row in self.rows.values():
            if row.status == "processing":
                for part in self.parts.values():
                    part.watch.taken_away(row.job.attempt)
                self.parts[self.pools.all[0].name]._free(*row.job.attempt)  # noqa: SLF001 - the store is one
        self.tell(seen.NodeGone())

    def run_on(self, *, until: Callable[[], bool]) -> bool:
        """Everybody does what is expected of them until something holds; False if it never does."""
        for _ in range(300):
            self.reconcile()
            while any(part.busy for part in self.parts.values()) and not until():
                for part in self.parts.values():
                    part.live()
            if until():
                return True
            due = self.pools.next_ns()
            if due is not None:
                self.ns = max(self.ns, due)
                self.tell(seen.Ticked())
        return False

    @property
    def ended(self) -> bool:
        """Whether every job has ended, or belongs to somebody else."""
        return all(row.status in {"ended", "elsewhere"} for row in self.rows.values())


class Part(World):
    """One pool's templates and workers; its job types end with the pool's name."""

    def __init__(self, whole: PoolsWorld, pool: Pool) -> None:
        """`pool` is one of the whole's."""
        self._whole = whole
        self._founded = False
        super().__init__(terms=pool.terms)
        self.pool = pool
        self.watch = PoolWatch(pool, now=lambda: whole.ns)
        self.rows = whole.rows
        self._facts = whole.facts
        self._founded = True
        handle = pool.handle

        def note_and_handle(fact: seen.Input, now: seen.Moment) -> list[do.Effect]:
            effects = handle(fact, now)
            whole.note(self, fact, effects)
            return effects

        pool.handle = note_and_handle  # type: ignore[method-assign]

    # what is the whole's

    @property
    def ns(self) -> int:
        """The clock."""
        return self._whole.ns

    @ns.setter
    def ns(self, ns: int) -> None:
        if self._founded_yet:
            self._whole.ns = ns

    @property
    def _founded_yet(self) -> bool:
        return getattr(self, "_founded", False)

    @property
    def page_trusted(self) -> bool:
        """Whether workers may begin a job."""
        return self._whole.page_trusted

    @page_trusted.setter
    def page_trusted(self, trusted: bool) -> None:
        self._whole.page_trusted = trusted

    @property
    def row_gone(self) -> bool:
        """Whether the node has no row."""
        return self._whole.row_gone

    @row_gone.setter
    def row_gone(self, gone: bool) -> None:
        self._whole.row_gone = gone

    @property
    def left(self) -> bool:
        """Whether the node has left."""
        return self._whole.left

    @left.setter
    def left(self, left: bool) -> None:
        self._whole.left = left

    def tell(self, *facts: seen.Input) -> list[do.Effect]:
        """By way of the whole; what names no pool is about this one."""
        if not self._founded:
            return []
        return self._whole.tell(*(self._own(fact) for fact in facts))

    def _own(self, fact: seen.Input) -> seen.Input:
        if isinstance(fact, seen.TermsChanged):
            return seen.TermsChanged(msgspec.structs.replace(fact.terms, name=self.pool.name))
        return msgspec.structs.replace(fact, pool=self.pool.name) if isinstance(fact, _OWN) else fact

    def see(self, fact: seen.Input, own: list[do.Effect], allowed: list[do.Effect]) -> None:
        """What this pool wanted; of the node as a whole only what all want is done."""
        self.watch.before(fact)
        for effect in own:
            self.watch.see(effect, fact)
            if isinstance(effect, do.GiveBackJob) and isinstance(fact, seen.Processing):
                assert not self._held_elsewhere(effect), "another pool holds this attempt"
            if not isinstance(effect, _OF_THE_NODE) or any(each is effect for each in allowed):
                self._perform(effect)
        self.watch.after()

    def _held_elsewhere(self, effect: do.GiveBackJob) -> bool:
        others = [part.pool for part in self._whole.parts.values() if part is not self]
        return any((effect.job_id, effect.fence) in pool.known() for pool in others)

    def reconcile(self) -> None:
        """Of the whole."""
        self._whole.reconcile()

    def lose_row(self) -> None:
        """Of the whole."""
        self._whole.lose_row()

    def someone_else_takes(self, key: Key) -> None:
        """Whichever pool has the job."""
        for part in self._whole.parts.values():
            if self.rows[key[0]].status == "processing":
                part.watch.taken_away(key)
        super().someone_else_takes(key)

    # what is its own

    def add(self, job_type: str = "quick", *, timeout_ms: int | None = None, **options: object) -> int:
        """A job of one of this pool's types."""
        return super().add(self.type(job_type), timeout_ms=timeout_ms, **options)

    def type(self, job_type: str) -> str:
        """The name that this type has here."""
        return f"{job_type}-{self.pool.name}"

    def loaded(
        self,
        generation: int,
        *,
        code: str = "a",
        types: tuple[str, ...] = ("quick", "slow"),
        problem: str = "",
        broken: tuple[str, ...] = (),
    ) -> None:
        """A loading template has loaded this code; a type with a dash in it is somebody's already."""
        mine = tuple(each if "-" in each else self.type(each) for each in types)
        super().loaded(generation, code=code, types=mine, problem=problem, broken=broken)

    @property
    def busy(self) -> bool:
        """Whether somebody here has something to do."""
        return self._busy

    def live(self) -> None:
        """Everybody here does what is expected of them."""
        self.sync()
        self.settle_births()
        for slot in list(self.workers):
            if slot in self.workers:
                self._live_on(slot)

    @property
    def settled(self) -> bool:
        """Whether all its workers are there and wait."""
        return len(self.pool.workers.idle) == self.pool.terms.workers
