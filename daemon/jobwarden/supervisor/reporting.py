"""What people see of this node in `status`: made once a second, written with each beat, and at once when it is news.

Lives in the loop's thread; other threads read `text` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jobwarden.clock import MILLISECOND_NS, SECOND_NS
from jobwarden.supervisor.cgroup import TREE
from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.report import report_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.clock import Clock
    from jobwarden.supervisor.announcing import Announcing
    from jobwarden.supervisor.inputs import Moment
    from jobwarden.supervisor.ledger import Ledger
    from jobwarden.supervisor.pools import Pools

_EVERY_NS = SECOND_NS


class Reporting:
    """The report of one supervisor."""

    def __init__(self, pools: Pools, ledger: Ledger, *, clock: Clock, connection_mode: Callable[[], str]) -> None:
        """`connection_mode` says how the store tells of news, for people."""
        self.text = "{}"
        """The last one, as JSON."""
        self.busy_ns = 0
        """CPU time of the loop's thread, for the benchmark."""
        self.remarks: Callable[[], list[str]] = list
        """What else people are told as long as it is so."""
        self.kill_level = TREE
        self.kill_level_of: Callable[[int], str] = lambda _slot: TREE
        """How far a kill reaches: of this node, and of the worker of each slot."""
        self.announcing: Announcing | None = None
        """What the service manager is told of it; set by the composition root."""
        self._pools = pools
        self._ledger = ledger
        self._clock = clock
        self._connection_mode = connection_mode
        self._due_ns = 0
        self._is_news = False

    def reload_began(self, pool: str | None) -> None:
        """People asked for a reload of this pool, or of all."""
        if self.announcing is not None:
            self.announcing.reload_began(pool)

    def hurry(self) -> None:
        """People who have just reloaded look at once; the next beat may be seconds away."""
        self._due_ns, self._is_news = 0, True

    def note(self) -> None:
        """There is something to tell of; within a second is soon enough."""
        self._is_news = True

    def tend(self, now: Moment, *, recorded: int) -> None:
        """Once in each turn of the loop, which has handed so many ends of attempts to the ledger."""
        is_awaited = self.announcing is not None and self.announcing.look(now)
        if now.ns < self._due_ns and not is_awaited:
            return
        self._due_ns = now.ns + _EVERY_NS
        self.busy_ns = self._clock.thread_ns()
        report = self._make(now, recorded=recorded)
        self.text = msgspec.json.encode(report).decode()
        if self.announcing is not None:
            self.announcing.tell(report, now)
        if self._is_news:
            self._is_news = False
            self._ledger.submit(Entries(report=self.text))

    def _make(self, now: Moment, *, recorded: int) -> dict[str, object]:
        return {
            **report_of(self._pools, now, kill_level_of=self.kill_level_of),
            "kill_level": self.kill_level,
            "connection": self._connection_mode(),
            "recorded": recorded,
            "loop_cpu_ms": self.busy_ns // MILLISECOND_NS,
            "ledger_cpu_ms": self._ledger.busy_ns // MILLISECOND_NS,
            "commits": self._ledger.commits,
            "maintenance": self._ledger.maintained,
            "problems": self.remarks(),
        }
