"""The end that the pool decides for a running attempt: at its limit, or because it is not wanted any more. Pure.

A part of the pool. A slot has one deadline (decision 004): while its job runs, the job's limit; while it is being
stopped softly, the end of the grace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor.slot import SlotState

if TYPE_CHECKING:
    from jobwarden.supervisor import inputs as seen
    from jobwarden.supervisor.roster import Roster
    from jobwarden.supervisor.slot import Slot

_MS_NS = 1_000_000


class Limits:
    """Deadlines of running attempts, and soft stops."""

    def __init__(self, roster: Roster) -> None:
        """Works on the pool's slots."""
        self._roster = roster

    def begin(self, slot: Slot, now: seen.Moment) -> None:
        """The first job of this slot runs from now on, as far as the pool can tell."""
        slot.head_since_ns = now.ns
        slot.progress = None
        if slot.state in {SlotState.READY, SlotState.STOPPING}:
            limit_ms = slot.in_flight[0].timeout_ms
            self._roster.set_until(slot, None if limit_ms is None else now.ns + limit_ms * _MS_NS)

    def overdue(self, slot: Slot, now: seen.Moment) -> None:
        """The slot's deadline has passed: the limit of its job, or the end of the grace."""
        if slot.state is SlotState.STOPPING and slot.why is not None:
            self._roster.kill(slot, dump=True)
        else:
            self.stop(slot, Outcome.TIMED_OUT, now)

    def stop(self, slot: Slot, why: Outcome, now: seen.Moment, *, grace_ns: int | None = None) -> None:
        """End the running attempt of this slot with this outcome: softly first where there is a grace."""
        job = slot.head
        if slot.state not in {SlotState.READY, SlotState.STOPPING} or job is None:
            return
        if slot.why is not None and slot.why_of == job.attempt and grace_ns != 0:
            return
        slot.why, slot.why_of = slot.why or why, job.attempt
        grace = self._roster.terms.kill_grace_ns if grace_ns is None else grace_ns
        if why is Outcome.TIMED_OUT:
            grace = 0 if job.force_kill_on_timeout else grace
            slot.kill_due_ns = slot.head_since_ns + (job.timeout_ms or 0) * _MS_NS + grace
        if grace == 0:
            self._roster.kill(slot, dump=True)
            return
        if slot.state is SlotState.READY:
            slot.move(SlotState.STOPPING)
            self._roster.out.append(do.TakeBack(slot.id))
        self._roster.set_until(slot, now.ns + grace)
        self._roster.out.append(
            do.StopSoftly(slot.id, job.attempt, "timeout" if why is Outcome.TIMED_OUT else "cancel")
        )
