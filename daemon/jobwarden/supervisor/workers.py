"""The lives of the workers: fork, serve, stop, kill, death, replacement. Pure; a part of the pool.

The order of a kill is law (design §8): decide, kill, see it dead and cleared, and only then record. So the Ending
of an attempt whose worker has to die is made in `cleared`, never before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.patience import Patience
from jobwarden.supervisor.slot import Slot, SlotState
from jobwarden.supervisor.terms import MOST_BIRTHS
from jobwarden.supervisor.verdict import judge_end, judge_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.jobs.ending import Ending
    from jobwarden.supervisor.deadlines import Deadlines
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.intake import Intake
    from jobwarden.supervisor.quickness import Quickness
    from jobwarden.supervisor.terms import PoolTerms

_MS_NS = 1_000_000
_FIRST_RESPAWN_PAUSE_NS, _LONGEST_RESPAWN_PAUSE_NS = 100_000_000, 5_000_000_000
RESPAWN = -1
"""The deadline key for 'try to fork again'; slots use their own (positive) ids."""


class Workers:
    """All slots. Methods append to `out` what the loop has to do."""

    def __init__(
        self,
        terms: PoolTerms,
        *,
        out: list[do.Effect],
        deadlines: Deadlines,
        generations: Generations,
        intake: Intake,
        quickness: Quickness,
        jitter: Callable[[], float],
    ) -> None:
        """No worker yet; `fill` asks for them once a generation can be forked."""
        self.terms = terms
        self.slots: dict[int, Slot] = {}
        self.idle: dict[int, Slot] = {}
        """Slots that wait for a job, in the order in which they became idle."""
        self.stopping = False
        self.shrinking = False
        """There are more workers than the configuration wants now: none gets a job behind another one."""
        self._out = out
        self._deadlines = deadlines
        self._generations = generations
        self._intake = intake
        self._quickness = quickness
        self._jitter = jitter
        self._last_slot = 0
        self._births = Patience(first_ns=_FIRST_RESPAWN_PAUSE_NS, longest_ns=_LONGEST_RESPAWN_PAUSE_NS)

    # birth

    def fill(self, now: seen.Moment) -> None:
        """Ask for as many workers as are missing, unless the last ones died at birth just now."""
        if self.stopping or (template := self._generations.template) is None:
            return
        missing = self.terms.workers - sum(1 for slot in self.slots.values() if not slot.stuck)
        if missing > 0 and now.ns < self._births.not_before_ns:
            self._deadlines.set(RESPAWN, self._births.not_before_ns)
            return
        births = sum(slot.state is SlotState.SPAWNING for slot in self.slots.values())
        for _ in range(min(missing, MOST_BIRTHS - births)):
            self._fork(template, now)

    def change_terms(self, terms: PoolTerms, now: seen.Moment) -> None:
        """The configuration wants more or fewer: fork at once, or end idle ones, then others as they become idle."""
        self.terms = terms
        for slot in list(self.idle.values())[: self.excess()]:
            self.kill(slot)
        self.shrinking = self.excess() > 0
        self.fill(now)

    def excess(self) -> int:
        """How many workers there will be more than wanted once those that are told to go have gone; never negative."""
        return max(0, sum(1 for slot in self.slots.values() if slot.lives) - self.terms.workers)

    def _fork(self, template: int, now: seen.Moment) -> None:
        self._last_slot += 1
        slot = Slot(self._last_slot, generation=template, now_ns=now.ns)
        self.slots[slot.id] = slot
        self._set_until(slot, now.ns + self.terms.spawn_ns)
        self._out.append(do.ForkWorker(slot.id, template))

    def born(self, fact: seen.Born, _now: seen.Moment) -> None:
        """The worker exists; if it was given up meanwhile, it is killed."""
        slot = self.slots.get(fact.slot)
        if slot is None:
            return
        slot.born, slot.pid = True, fact.pid
        if self.stopping and slot.state is SlotState.SPAWNING:
            self.kill(slot)

    def unborn(self, fact: seen.Unborn, now: seen.Moment) -> None:
        """There is no worker; try again, more slowly each time."""
        slot = self.slots.get(fact.slot)
        if slot is not None and slot.state is SlotState.SPAWNING and not slot.born:
            self._out.append(do.Alert(f"no worker was born: {fact.why}"))
            self._births.fail(now.ns)
            self._remove(slot)
            self.fill(now)

    def ready(self, fact: seen.Ready, now: seen.Moment) -> None:
        """The worker said Hello and waits for a job."""
        slot = self.slots.get(fact.slot)
        if slot is None or slot.state is not SlotState.SPAWNING:
            return
        slot.move(SlotState.READY)
        self._set_until(slot, None)
        self._rest(slot)
        self.fill(now)

    # service

    def start(self, slot: Slot, job: ClaimedJob, now: seen.Moment) -> None:
        """Send this job to this worker."""
        slot.in_flight.append(job)
        if len(slot.in_flight) == 1:
            self.idle.pop(slot.id, None)
            self._begin_head(slot, now)
        self._out.append(do.Dispatch(slot.id, job))

    def reported(self, fact: seen.Reported, now: seen.Moment) -> None:
        """The worker's first job has ended: record it, or hold the report until the tree is gone."""
        slot = self.slots.get(fact.slot)
        if slot is None:
            return
        job, done = slot.head, fact.done
        if job is None or (job.id, job.fence) != (done.job_id, done.fence):
            self._out.append(do.Alert(f"worker {slot.pid} reported job {done.job_id}, which it was not given"))
            self.kill(slot)
            return
        slot.captured = fact.captured
        last_words = done.retire or bool(done.left_behind)
        if last_words or (len(slot.in_flight) == 1 and slot.state is not SlotState.READY):
            slot.done = done
            self.kill(slot)
            return
        self._finish_head(slot, judge_report(job, done, slot, now=now, jitter=self._jitter()), now)
        self._quickness.note(job.job_type, done.ended_ns - done.started_ns)

    def _finish_head(self, slot: Slot, ending: Ending, now: seen.Moment) -> None:
        job = slot.in_flight.popleft()
        slot.served, slot.captured = True, None
        self._births.succeed()
        self._intake.finished(now.ns)
        if not slot.forgotten:
            self._out.append(do.Record(ending))
        slot.absolve_successor_of(job)
        slot.forgotten = False
        if slot.in_flight:
            self._begin_head(slot, now)
        elif slot.state is SlotState.READY:
            self._set_until(slot, None)
            self._rest(slot)

    def _rest(self, slot: Slot) -> None:
        if self.stopping or self.excess() or not self._generations.is_current(slot.generation):
            self.kill(slot)
            self.shrinking = self.excess() > 0
        else:
            self.idle[slot.id] = slot

    def _begin_head(self, slot: Slot, now: seen.Moment) -> None:
        slot.head_since_ns = now.ns
        slot.progress = None
        if slot.state in {SlotState.READY, SlotState.STOPPING}:
            limit_ms = slot.in_flight[0].timeout_ms
            self._set_until(slot, None if limit_ms is None else now.ns + limit_ms * _MS_NS)

    def took_back(self, fact: seen.TookBack, now: seen.Moment) -> None:
        """Jobs that the worker never got wait for another one."""
        slot = self.slots.get(fact.slot)
        if slot is None or not fact.attempts:
            return
        head = slot.head
        back = [job for job in slot.in_flight if job.attempt in fact.attempts]
        for job in back:
            slot.in_flight.remove(job)
        if slot.forgotten:  # it is somebody else's: nobody here is to run it, nor to give it back
            back = [job for job in back if job is not head]
        if self.stopping:
            self._out.extend(do.GiveBackJob(job.id, job.fence) for job in back)
        else:
            self._intake.put_back(back, now_ns=now.ns)
        if slot.idle:
            self._set_until(slot, None)
            self._rest(slot)

    # the end

    def stop(self, slot: Slot, why: Outcome, now: seen.Moment, *, grace_ns: int | None = None) -> None:
        """End the running attempt of this slot with this outcome: softly first where there is a grace."""
        job = slot.head
        if slot.state not in {SlotState.READY, SlotState.STOPPING} or job is None:
            return
        if slot.why is not None and slot.why_of == job.attempt and grace_ns != 0:
            return
        slot.why, slot.why_of = slot.why or why, job.attempt
        grace = self.terms.kill_grace_ns if grace_ns is None else grace_ns
        if why is Outcome.TIMED_OUT:
            grace = 0 if job.force_kill_on_timeout else grace
            slot.kill_due_ns = slot.head_since_ns + (job.timeout_ms or 0) * _MS_NS + grace
        if grace == 0:
            self.kill(slot, dump=True)
            return
        if slot.state is SlotState.READY:
            slot.move(SlotState.STOPPING)
            self._out.append(do.TakeBack(slot.id))
        self._set_until(slot, now.ns + grace)
        self._out.append(do.StopSoftly(slot.id, job.attempt, "timeout" if why is Outcome.TIMED_OUT else "cancel"))

    def kill(self, slot: Slot, *, dump: bool = False) -> None:
        """Order the death of the worker and its tree."""
        if slot.state not in {SlotState.SPAWNING, SlotState.READY, SlotState.STOPPING}:
            return
        if not slot.born:
            return  # `born` comes back to it, `unborn` removes it, or its spawn deadline ends the template
        self.idle.pop(slot.id, None)
        self._set_until(slot, None)
        if slot.in_flight:
            self._out.append(do.TakeBack(slot.id))
        slot.move(SlotState.KILLING)
        self._out.append(do.KillTree(slot.id, dump and slot.done is None))

    def died(self, fact: seen.Died, now: seen.Moment) -> None:
        """The worker is reaped; what it left is removed before anything is recorded."""
        slot = self.slots.get(fact.slot)
        if slot is None:
            return
        self.idle.pop(slot.id, None)
        self._set_until(slot, None)
        if slot.state is not SlotState.KILLING:
            self._out.append(do.SweepTree(slot.id))
            if not slot.served and not slot.in_flight:
                self._births.fail(now.ns)
        slot.move(SlotState.CLEARING)
        slot.died = fact
        slot.captured = slot.captured if slot.done is not None else fact.captured

    def stuck(self, fact: seen.Stuck, now: seen.Moment) -> None:
        """It does not die: its job stays processing, its place is taken by another worker."""
        slot = self.slots.get(fact.slot)
        if slot is not None and not slot.stuck:
            slot.stuck = True
            self._out.append(do.Alert(f"worker {slot.pid} or a process of its tree does not die"))
            self.fill(now)

    def cleared(self, fact: seen.Cleared, now: seen.Moment) -> None:
        """Nothing of the tree is left: the one place where killed and crashed attempts are recorded."""
        slot = self.slots.get(fact.slot)
        if slot is None:
            return
        job = slot.head
        if job is not None and not slot.forgotten:
            ending = judge_end(job, slot, stack_dump=fact.stack_dump, now=now, jitter=self._jitter())
            self._out.append(do.Record(ending))
        self._out.extend(do.GiveBackJob(other.id, other.fence) for other in list(slot.in_flight)[1:])
        if slot.in_flight:
            late_ms = (now.ns - slot.kill_due_ns) / _MS_NS if slot.kill_due_ns else None
            self._out.append(do.NoteCleared(slot.id, slot.pid or 0, job.id if job else None, late_ms))
        slot.move(SlotState.GONE)
        self._remove(slot)
        self.fill(now)

    def overdue(self, slot_id: int, now: seen.Moment) -> None:
        """This slot's deadline has passed."""
        slot = self.slots.get(slot_id)
        if slot is None:
            return
        if slot.state is SlotState.SPAWNING:
            self._spawn_overdue(slot, now)
        elif slot.state is SlotState.STOPPING and slot.why is not None:
            self.kill(slot, dump=True)
        else:
            self.stop(slot, Outcome.TIMED_OUT, now)

    def _spawn_overdue(self, slot: Slot, now: seen.Moment) -> None:
        self._births.fail(now.ns)
        self._out.append(do.Alert(f"the worker of slot {slot.id} did not report in time"))
        if slot.born:
            self.kill(slot)
        else:
            self._out.append(do.EndTemplate(slot.generation))

    def retire_old_code(self) -> None:
        """New code is served: workers of other code end their job and get no further one."""
        for slot in list(self.slots.values()):
            if self._generations.is_current(slot.generation):
                continue
            if slot.idle:
                self.kill(slot)
            elif slot.state is SlotState.READY and len(slot.in_flight) > 1:
                self._out.append(do.TakeBack(slot.id))

    def _remove(self, slot: Slot) -> None:
        self._deadlines.set(slot.id, None)
        del self.slots[slot.id]

    def _set_until(self, slot: Slot, at_ns: int | None) -> None:
        if at_ns is not None or slot.until_ns is not None:
            slot.until_ns = at_ns
            self._deadlines.set(slot.id, at_ns)
