"""What the service manager is told of this node, and when: ready, reloading, stopping, alive, and how it is.

READY=1 follows when the first load of each pool has come to an end and one serves; the node has joined the store long
before. WATCHDOG=1 follows a turn of the loop while all threads are alive, and never needs an answer of the database: a
store that is away must not get the daemon killed. Lives in the loop's thread, decides nothing; `reporting` calls it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jobwarden import events
from jobwarden.clock import SECOND_NS, SECOND_US
from jobwarden.supervisor.depth import MOST, Depth
from jobwarden.supervisor.office import hindrance_of
from jobwarden.supervisor.status_line import status_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobwarden.clock import Clock
    from jobwarden.store import Store
    from jobwarden.supervisor.inputs import Moment
    from jobwarden.supervisor.pools import Pools
    from jobwarden.supervisor.signs import Vigil
    from jobwarden.supervisor.systemd import Notifier

_FEEDS_PER_WATCHDOG = 4
_EXTENSION_USEC = 15 * SECOND_US
"""Asked for once a second, as long as there is a reason."""
_NUMBERS_EVERY_NS = 5 * SECOND_NS
"""A status in which nothing else has changed is told this often at most."""
_NUMBERS = re.compile(r"\d+ of \d+ workers? busy|\d+ jobs?( or more)? waits?")
"""How much there is to do."""


class Announcing:
    """One per supervisor."""

    def __init__(
        self,
        pools: Pools,
        notifier: Notifier,
        *,
        watchdog_usec: int | None,
        all_well: Callable[[int], bool],
        depth: Callable[[], int | None],
        clock: Clock,
    ) -> None:
        """`all_well` says of a moment (CLOCK_MONOTONIC, ns) whether the other threads are alive.

        `depth` says how many jobs wait in the store, if that is known.
        """
        self._pools = pools
        self._notifier = notifier
        self._feed_every_ns = None if watchdog_usec is None else watchdog_usec * 1_000 // _FEEDS_PER_WATCHDOG
        self._feed_at_ns = 0
        self._all_well = all_well
        self._depth = depth
        self._clock = clock
        self._ready = False
        self._stopping = False
        self._reloads: dict[str, int] = {}
        """Pool -> its last generation before a reload whose outcome is awaited."""
        self._store_problem: str | None = None
        self._status = ""
        self._told_ns = 0

    def hear(self, fact: events.Fact) -> None:
        """Any fact, from any thread: whether the store answers."""
        if isinstance(fact, events.StoreAway):
            self._store_problem = fact.problem
        elif isinstance(fact, events.StoreBack):
            self._store_problem = None

    def reload_began(self, pool: str | None) -> None:
        """People asked for a reload of this pool, or of all; before it begins."""
        if not self._notifier.listens or not self._ready or self._stopping:
            return
        names = list(self._pools.by_name) if pool is None else [pool]
        self._reloads |= {name: self._pools.by_name[name].generations.last for name in names}
        # In one message: systemd compares the time with that of its signal (systemd.service(5), notify-reload).
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={self._clock.monotonic_ns() // 1_000}")

    def look(self, now: Moment) -> bool:
        """After each turn of the loop: whether there is something that the service manager waits for."""
        if not self._notifier.listens:
            return False
        self._feed(now)
        if self._stopping or self._pools.all[0].stopping:
            return not self._stopping
        return self._first_loads_are_over() if not self._ready else bool(self._reloads) and self._reload_is_over()

    def tell(self, report: Mapping[str, Any], now: Moment) -> None:
        """Once a second, and whenever `look` says so; `report` is what people see of this node."""
        if not self._notifier.listens:
            return
        news = self._news()
        told = [*news, *self._status_of(report, now, urgent=bool(news)), *self._extension()]
        if told:
            self._notifier.tell(*told)
        else:
            self._notifier.flush()

    def _feed(self, now: Moment) -> None:
        if self._feed_every_ns is not None and now.ns >= self._feed_at_ns:
            self._feed_at_ns = now.ns + self._feed_every_ns
            if self._all_well(now.ns):
                self._notifier.tell("WATCHDOG=1")

    def _news(self) -> list[str]:
        if self._pools.all[0].stopping:
            is_news, self._stopping = not self._stopping, True
            return ["STOPPING=1"] if is_news else []
        if (not self._ready and self._first_loads_are_over()) or (self._reloads and self._reload_is_over()):
            self._ready = True
            self._reloads.clear()
            return ["READY=1"]
        return []

    def _status_of(self, report: Mapping[str, Any], now: Moment, *, urgent: bool) -> list[str]:
        status = status_line(report, depth=self._depth(), most=MOST, store_problem=self._store_problem)
        only_numbers = _NUMBERS.sub("", status) == _NUMBERS.sub("", self._status)
        if not urgent and (status == self._status or (only_numbers and now.ns < self._told_ns + _NUMBERS_EVERY_NS)):
            return []
        self._status, self._told_ns = status, now.ns
        return [f"STATUS={status}"]

    def _extension(self) -> list[str]:
        """A load and a drain have limits of their own, which nobody else should cut short."""
        if self._stopping:
            slots = (slot for pool in self._pools.all for slot in pool.workers.slots.values())
            wanted = any(slot.head and not slot.stuck for slot in slots)
        else:
            wanted = not self._ready and any(pool.generations.loading is not None for pool in self._pools.all)
        return [f"EXTEND_TIMEOUT_USEC={_EXTENSION_USEC}"] if wanted else []

    def _first_loads_are_over(self) -> bool:
        generations = [pool.generations for pool in self._pools.all]
        over = all(each.last and each.loading is None for each in generations)
        return over and any(each.serving is not None for each in generations)

    def _reload_is_over(self) -> bool:
        if hindrance_of(self._pools.all[0]) is not None:
            return True  # nothing is loaded now, which the status tells
        generations = [(self._pools.by_name[name].generations, last) for name, last in self._reloads.items()]
        return all(each.last > last and each.loading is None for each, last in generations)


def open_announcing(
    pools: Pools,
    notifier: Notifier,
    store: Store,
    *,
    vigil: Vigil,
    watchdog_usec: int | None,
    commits: Callable[[], int],
    clock: Clock,
) -> Announcing:
    """With a thread that counts what waits, if there is anybody to be told; `commits`: see `Depth`."""
    depth = Depth(store, types=lambda: {each.job_type for each in pools.handlers}, commits=commits, clock=clock)
    announcing = Announcing(
        pools,
        notifier,
        watchdog_usec=watchdog_usec,
        all_well=vigil.all_well,
        depth=lambda: depth.number,
        clock=clock,
    )
    if notifier.listens:
        events.listen(announcing.hear)
        depth.start()
    return announcing
