"""The end that the pool decides for a running attempt: at its limit, after a silence, or because it is not wanted.

Pure; a part of the pool. A slot has one deadline (decision 004): while its job runs, the earlier of the job's limit
and the end of its patience with silence; while it is being stopped softly, the end of the grace. A sign of life moves
no deadline; what is overdue is looked at again. Nothing here ends a job: what is ordered here is recorded when the
tree is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor.slot import SlotState

if TYPE_CHECKING:
    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.supervisor import inputs as seen
    from jobwarden.supervisor.roster import Roster
    from jobwarden.supervisor.slot import Slot

_MS_NS = 1_000_000
_NOTE_EVERY_NS = 250_000_000
"""Prolongs of one attempt that are written as events: four a second at most, as for progress."""
SERVING = frozenset({SlotState.READY, SlotState.STOPPING})
"""States in which an attempt may be running that nobody has killed yet."""


class Limits:
    """Deadlines of running attempts, and soft stops."""

    def __init__(self, roster: Roster) -> None:
        """Works on the pool's slots."""
        self._roster = roster

    def begin(self, slot: Slot, now: seen.Moment) -> None:
        """The first job of this slot runs from now on, as far as the pool can tell."""
        slot.head_since_ns = slot.sign_ns = now.ns
        slot.progress = None
        slot.stalled_ns = 0
        slot.told = None
        slot.prolonged = slot.final = slot.use.spent = False
        slot.ceiling_ms = self._roster.terms.max_timeout_ms
        limit_ms = slot.in_flight[0].timeout_ms
        slot.limit_ns = None if limit_ms is None else now.ns + limit_ms * _MS_NS
        if slot.state in SERVING:
            self._roster.set_until(slot, _due_ns(slot))

    def sign_of_life(self, fact: seen.Beaten | seen.ProgressMade, now: seen.Moment) -> None:
        """The running attempt has been heard of. On the path of every heartbeat: no deadline is set."""
        slot = self._roster.slots.get(fact.slot)
        if slot is not None and slot.head is not None and slot.head.fence == fact.fence:
            slot.sign_ns = now.ns

    def overdue(self, slot: Slot, now: seen.Moment) -> None:
        """The slot's deadline has passed: of its job, unless that has given signs of life, or of the grace."""
        if slot.state is SlotState.STOPPING and slot.why is not None:
            self._roster.kill(slot, dump=True)
            return
        if slot.head is None:
            return
        due_ns = _due_ns(slot)
        if due_ns is None or due_ns > now.ns:
            self._roster.set_until(slot, due_ns)
            return
        slot.stalled_ns = 0 if due_ns == slot.limit_ns else due_ns
        self.stop(slot, Outcome.TIMED_OUT, now)

    def stop(self, slot: Slot, why: Outcome, now: seen.Moment, *, grace_ns: int | None = None) -> None:
        """End the running attempt of this slot with this outcome: softly first where there is a grace."""
        job = slot.head
        if slot.state not in SERVING or job is None:
            return
        slot.final = slot.final or why is not Outcome.TIMED_OUT
        if slot.why is not None and slot.why_of == job.attempt and grace_ns != 0:
            return
        slot.why, slot.why_of = slot.why or why, job.attempt
        grace = self._roster.terms.kill_grace_ns if grace_ns is None else grace_ns
        if why is Outcome.TIMED_OUT:
            grace = 0 if job.force_kill_on_timeout else grace
            slot.kill_due_ns = (slot.stalled_ns or (None if slot.use.spent else slot.limit_ns) or now.ns) + grace
        if grace == 0:
            self._roster.kill(slot, dump=True)
            return
        if slot.state is SlotState.READY:
            slot.move(SlotState.STOPPING)
            self._roster.out.append(do.TakeBack(slot.id))
        self._roster.set_until(slot, now.ns + grace)
        self._roster.out.append(do.StopSoftly(slot.id, job.attempt, _spoken(why, slot)))

    def exceed(self, slot: Slot, why: Outcome, told: str, now: seen.Moment, *, grace_ns: int | None) -> None:
        """The running attempt uses more than it may: `told` says what; no prolong helps."""
        if slot.why is None:
            slot.told, slot.use.spent = told, True
        self.stop(slot, why, now, grace_ns=grace_ns)
        slot.final = True

    def prolong(self, fact: seen.ProlongAsked, now: seen.Moment) -> None:
        """The running attempt asks for more time: granted until it is killed hard, or has to end for another reason."""
        slot = self._roster.slots.get(fact.slot)
        granted = slot is not None and _may_prolong(slot, fact.attempt) and _below_the_ceiling(slot, fact.ms, now)
        if slot is not None and granted:
            self._move_limit(slot, fact.ms, now)
        self._roster.out.append(do.AnswerProlong(fact.slot, fact.attempt, granted))

    def _move_limit(self, slot: Slot, ms: int | None, now: seen.Moment) -> None:
        job = slot.in_flight[0]
        slot.sign_ns = now.ns
        if job.timeout_ms is not None:
            ms = job.timeout_ms if ms is None else ms
            until_ns, ceiling_ns = now.ns + ms * _MS_NS, _ceiling_ns(slot)
            slot.limit_ns = until_ns if ceiling_ns is None else min(until_ns, ceiling_ns)
            slot.prolonged = True
            self._note(slot, (slot.limit_ns - now.ns) // _MS_NS, now)
        if slot.why is Outcome.TIMED_OUT:
            # It goes on, on its own: this slot stays `stopping`, so that no further job comes to it (R9).
            slot.why = slot.why_of = None
            slot.stalled_ns = slot.kill_due_ns = 0
        self._roster.set_until(slot, _due_ns(slot))

    def _note(self, slot: Slot, ms: int, now: seen.Moment) -> None:
        if now.ns - slot.prolonged_noted_ns >= _NOTE_EVERY_NS or slot.why is not None:
            slot.prolonged_noted_ns = now.ns
            self._roster.out.append(do.NoteProlonged(*slot.in_flight[0].attempt, ms))


def capped(jobs: list[ClaimedJob], ceiling_ms: int | None) -> list[ClaimedJob]:
    """The same jobs, none of which may run longer than the operator allows, whatever it, its handler or nobody says."""
    if ceiling_ms is None:
        return jobs
    return [msgspec.structs.replace(job, timeout_ms=min(job.timeout_ms or ceiling_ms, ceiling_ms)) for job in jobs]


def _ceiling_ns(slot: Slot) -> int | None:
    """When the running attempt has to end, however often it is prolonged."""
    return None if slot.ceiling_ms is None else slot.head_since_ns + slot.ceiling_ms * _MS_NS


def _below_the_ceiling(slot: Slot, ms: int | None, now: seen.Moment) -> bool:
    """A prolong is cut at the ceiling; before a hard kill it is refused, as its worker has to know the moment."""
    ceiling_ns, job = _ceiling_ns(slot), slot.in_flight[0]
    if ceiling_ns is None:
        return True
    if not job.force_kill_on_timeout:
        return now.ns < ceiling_ns
    return now.ns + (ms or job.timeout_ms or 0) * _MS_NS <= ceiling_ns


def _due_ns(slot: Slot) -> int | None:
    """When the running attempt is to be stopped, as things stand."""
    silence_ms = slot.in_flight[0].heartbeat_timeout_ms
    if silence_ms is None:
        return slot.limit_ns
    silent_ns = slot.sign_ns + silence_ms * _MS_NS
    return silent_ns if slot.limit_ns is None else min(slot.limit_ns, silent_ns)


def _may_prolong(slot: Slot, attempt: tuple[int, int]) -> bool:
    if slot.state not in SERVING or slot.final:
        return False
    return slot.head is not None and slot.head.attempt == attempt


def _spoken(why: Outcome, slot: Slot) -> str:
    if why is not Outcome.TIMED_OUT:
        return "cancel"
    return "stalled" if slot.stalled_ns else "timeout"
