"""What running jobs use of the machine, and the end of those that use more than they may. Pure; a part of the pool.

A pool without such limits never asks. One with limits asks from time to time about the jobs that have been running
for a while, so that tiny jobs cost nothing: what one process allocates at a stroke the kernel refuses by itself
(`worker/bounds.py`). Memory and processes beyond the limit are killed at once, since each moment of grace may cost a
neighbour its life; CPU time is a limit like the run time, with its grace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor.limits import SERVING

if TYPE_CHECKING:
    from jobwarden.supervisor import inputs as seen
    from jobwarden.supervisor.limits import Limits
    from jobwarden.supervisor.roster import Roster
    from jobwarden.supervisor.slot import Slot

MEASURE = -7
"""The deadline key for the next look."""
_SELDOM_NS, _OFTEN_NS = 100_000_000, 25_000_000
"""Between two looks; often while a job has more than half of the memory that it may have."""
_MOST_PROCESSES = 512
"""Of one job, each of which costs a read: what a job with more of them uses is measured by these."""
_KB_PER_MB = 1024


class Usage:
    """Asks for measurements and judges them."""

    def __init__(self, roster: Roster, limits: Limits) -> None:
        """Works on the pool's slots; ends attempts through `limits`."""
        self._roster = roster
        self._limits = limits

    def begin(self, now: seen.Moment) -> None:
        """A job begins, in a pool that has limits: it is looked at if it runs for a while."""
        if not self._roster.deadlines.is_set(MEASURE):
            self._roster.deadlines.set(MEASURE, now.ns + _SELDOM_NS)

    def look(self, now: seen.Moment) -> None:
        """Ask about every job that has been running for a while; again after a while, as long as any runs."""
        roster = self._roster
        busy = [slot for slot in roster.slots.values() if slot.in_flight and slot.state in SERVING]
        if not busy or not roster.terms.measures:
            return
        for slot in busy:
            if now.ns - slot.head_since_ns >= _OFTEN_NS:
                roster.out.append(self._wish(slot))
        roster.deadlines.set(MEASURE, now.ns + _SELDOM_NS)

    def _wish(self, slot: Slot) -> do.Measure:
        terms = self._roster.terms
        return do.Measure(
            slot.id,
            slot.in_flight[0].attempt,
            slot.pid or 0,
            born_kb=slot.use.born_kb + slot.use.left_kb,
            # Of a worker from before there was a limit nobody knows what it had at its birth.
            enough_kb=terms.memory_limit_kb if slot.use.born_kb else None,
            cpu=terms.cpu_limit_ms is not None,
            most=max(_MOST_PROCESSES, (terms.max_processes or 0) + slot.use.helpers + 1),
        )

    def measured(self, fact: seen.Measured, now: seen.Moment) -> None:
        """What was found out about an attempt; of no interest if that has ended or is being killed."""
        slot = self._roster.slots.get(fact.slot)
        if slot is None or slot.state not in SERVING or slot.head is None or slot.head.attempt != fact.attempt:
            return
        self._judge_memory(slot, fact, now)
        self._judge_processes(slot, fact, now)
        self._judge_cpu(slot, fact, now)

    def _judge_memory(self, slot: Slot, fact: seen.Measured, now: seen.Moment) -> None:
        limit_kb = self._roster.terms.memory_limit_kb
        if limit_kb is None:
            return
        if fact.memory_kb * 2 > limit_kb:
            self._roster.deadlines.set(MEASURE, now.ns + _OFTEN_NS)
        if fact.memory_kb > limit_kb:
            used_mb, limit_mb = -(-fact.memory_kb // _KB_PER_MB), limit_kb // _KB_PER_MB
            told = f"used {used_mb} MiB of memory; memory_limit_mb allows {limit_mb}"
            self._limits.exceed(slot, Outcome.MEMORY_EXCEEDED, told, now, grace_ns=0)

    def _judge_processes(self, slot: Slot, fact: seen.Measured, now: seen.Moment) -> None:
        most = self._roster.terms.max_processes
        count = fact.processes - slot.use.helpers
        if most is not None and count > most:
            told = f"had {count} processes; max_processes allows {most}"
            self._limits.exceed(slot, Outcome.CRASHED, told, now, grace_ns=0)

    def _judge_cpu(self, slot: Slot, fact: seen.Measured, now: seen.Moment) -> None:
        """From the first look at the attempt on: what its worker had used before is not known to the millisecond."""
        limit_ms = self._roster.terms.cpu_limit_ms
        if limit_ms is None:
            return
        if slot.use.cpu_from is None or slot.use.cpu_from[0] != fact.attempt:
            slot.use.cpu_from = (fact.attempt, fact.cpu_ms)
        used_ms = fact.cpu_ms - slot.use.cpu_from[1]
        if used_ms > limit_ms:
            told = f"used {used_ms / 1000:.1f} s of CPU time; cpu_limit_seconds allows {limit_ms / 1000:g}"
            self._limits.exceed(slot, Outcome.TIMED_OUT, told, now, grace_ns=None)
