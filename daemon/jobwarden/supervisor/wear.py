"""How long a worker serves: it is replaced after so many jobs, or when its memory has grown by so much. Pure.

Nobody is ever in the way of a job for that: a worn worker gets no further one, gives back what it has not begun, and
goes when it is idle. A part of the pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do
from jobwarden.supervisor.slot import UNWORN

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.supervisor.roster import Roster
    from jobwarden.supervisor.slot import Slot
    from jobwarden.wire.messages import Done

_LEFT_BY_OTHERS = 4
"""A worker that kept a quarter of the memory limit after its jobs is no fair start for the next one."""


class Wear:
    """Judges each worker at its birth and after each job."""

    def __init__(self, roster: Roster, *, jitter: Callable[[], float]) -> None:
        """`jitter` draws a number in [0.5, 1]."""
        self._roster = roster
        self._jitter = jitter

    def begin(self, slot: Slot, *, memory_kb: int, processes: int) -> None:
        """A worker was born with this much memory, most of it shared with its template; its hooks may have children."""
        slot.use.born_kb, slot.use.helpers = memory_kb, processes - 1
        most = self._roster.terms.worker_max_jobs
        if most is not None:  # from 90 to 110 % of it, so that not all go at once
            slot.may_take = max(1, round(most * (0.7 + 0.4 * self._jitter())))

    def note(self, slot: Slot, done: Done) -> None:
        """A job has ended, and the worker says what it has in memory now: somebody wants to know."""
        slot.use.left_kb = max(0, done.memory_kb - slot.use.born_kb)
        if not self._has_grown(slot.use.left_kb):
            return
        slot.may_take = -UNWORN
        if len(slot.in_flight) > 1:
            self._roster.out.append(do.TakeBack(slot.id))

    def _has_grown(self, grown_kb: int) -> bool:
        terms = self._roster.terms
        if terms.worker_max_growth_kb is not None and grown_kb > terms.worker_max_growth_kb:
            return True
        return terms.memory_limit_kb is not None and grown_kb * _LEFT_BY_OTHERS > terms.memory_limit_kb
