"""Which worker gets which job, and how many jobs to claim. Pure; a part of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do
from jobwarden.supervisor.intake import DEPTH, LARGEST_CLAIM
from jobwarden.supervisor.slot import Slot, SlotState

if TYPE_CHECKING:
    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.inputs import Moment
    from jobwarden.supervisor.intake import Intake
    from jobwarden.supervisor.quickness import Quickness
    from jobwarden.supervisor.workers import Workers

LARGEST_QUEUED_BEHIND = 4_096
"""Characters of payload above which a job waits for an idle worker: the queue's socket buffer is small."""

_IDLE_PATIENCE_NS = 100_000_000
"""How long a job waits behind a running one while another worker is idle."""
_BUSY_PATIENCE_NS = 1_000_000_000


class Dispatching:
    """Hands the backlog to the workers and says when to claim more."""

    def __init__(
        self,
        *,
        out: list[do.Effect],
        workers: Workers,
        intake: Intake,
        generations: Generations,
        quickness: Quickness,
    ) -> None:
        """Compose the parts of the pool."""
        self._out = out
        self._workers = workers
        self._intake = intake
        self._generations = generations
        self._quickness = quickness
        self._last_was_quick = False

    def hand_out(self, now: Moment) -> None:
        """Send as much of the backlog as the workers can hold, in order."""
        backlog, idle = self._intake.backlog, self._workers.idle
        while backlog:
            job = backlog[0]
            if job.job_type not in self._generations.types:
                # Claimed for code that is gone; a worker would have to fail it as "no handler".
                backlog.popleft()
                self._out.append(do.GiveBackJob(job.id, job.fence))
                continue
            quick = self._may_queue(job)
            self._last_was_quick = quick
            if idle:
                slot: Slot | None = idle[next(iter(idle))]
            else:
                slot = self._least_loaded(now) if quick else None
            if slot is None:
                return
            backlog.popleft()
            self._intake.last_dispatch_ns = now.ns
            self._workers.start(slot, job, now)

    def _may_queue(self, job: ClaimedJob) -> bool:
        return (
            self._quickness.is_quick(job.job_type)
            and job.lost_in_row == 0
            and len(job.payload) <= LARGEST_QUEUED_BEHIND
        )

    def _least_loaded(self, now: Moment) -> Slot | None:
        best, least = None, 0 if self._workers.roster.shrinking else DEPTH
        for slot in self._workers.slots.values():
            load = len(slot.in_flight)
            if load < least and slot.state is SlotState.READY and self._takes_more(slot, now):
                best, least = slot, load
        return best

    def _takes_more(self, slot: Slot, now: Moment) -> bool:
        """Not behind a slow job, not on old code, and not behind a large one, which travels on another socket."""
        head = slot.in_flight[0]
        return (
            self._quickness.is_quick(head.job_type)
            and now.ns - slot.head_since_ns <= _IDLE_PATIENCE_NS
            and len(head.payload) <= LARGEST_QUEUED_BEHIND
            and self._generations.is_current(slot.generation)
            and slot.may_take > 0
        )

    def rebalance(self, now: Moment) -> None:
        """Take jobs back from behind one that turned out slow."""
        patience_ns = _IDLE_PATIENCE_NS if self._workers.idle else _BUSY_PATIENCE_NS
        for slot in self._workers.slots.values():
            behind = slot.state is SlotState.READY and len(slot.in_flight) > 1
            if behind and now.ns - slot.head_since_ns > patience_ns:
                self._out.append(do.TakeBack(slot.id))

    def ask(self, now: Moment) -> None:
        """Claim what the workers can take beyond the backlog, if the store may have it."""
        intake = self._intake
        if intake.claiming or not intake.maybe_more or not self._generations.terms:
            return
        room = min(self.room(now), LARGEST_CLAIM)
        if room > 0:
            intake.ask(room, now_ns=now.ns)
            self._out.append(do.AskClaim(room, self._generations.terms, self._workers.roster.terms.name))

    def room(self, now: Moment) -> int:
        """How many jobs the workers can take beyond the backlog."""
        if not self._last_was_quick:
            return len(self._workers.idle) - len(self._intake.backlog)
        held = wanted = 0
        for slot in self._workers.slots.values():
            if slot.idle or (slot.state is SlotState.READY and self._takes_more(slot, now)):
                held += len(slot.in_flight)
                wanted += DEPTH if slot.may_take >= DEPTH else min(DEPTH, len(slot.in_flight) + slot.may_take)
        if not wanted:
            return 0  # what nobody can begin would be claimed and given back again each second
        room = wanted + self._intake.ahead() - held - len(self._intake.backlog)
        # Under load, many small claims cost more than few large ones; an idle worker never waits for that.
        return room if self._workers.idle or 4 * room >= wanted + self._intake.ahead() else 0
