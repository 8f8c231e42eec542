"""The lives of the workers: greeting, service, death, replacement. Pure; a part of the pool.

The order of a kill is law (design §8): decide, kill, see it dead and cleared, and only then record. So the Ending
of an attempt whose worker has to die is made in `cleared`, never before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do
from jobwarden.supervisor.births import Births
from jobwarden.supervisor.limits import Limits
from jobwarden.supervisor.roster import Roster
from jobwarden.supervisor.slot import Slot, SlotState
from jobwarden.supervisor.usage import Usage
from jobwarden.supervisor.verdict import judge_end, judge_report
from jobwarden.supervisor.wear import Wear

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.jobs.ending import Ending
    from jobwarden.jobs.outcome import Outcome
    from jobwarden.supervisor import inputs as seen
    from jobwarden.supervisor.deadlines import Deadlines
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.intake import Intake
    from jobwarden.supervisor.quickness import Quickness
    from jobwarden.supervisor.terms import PoolTerms

_MS_NS = 1_000_000


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
        first: int = 1,
        step: int = 1,
    ) -> None:
        """No worker yet; `fill` asks for them once a generation can be forked."""
        self.roster = Roster(terms, out=out, deadlines=deadlines, first=first, step=step)
        self.slots, self.idle = self.roster.slots, self.roster.idle
        self.births = Births(self.roster, generations=generations)
        self.limits = Limits(self.roster)
        self.usage = Usage(self.roster, self.limits)
        self._wear = Wear(self.roster, jitter=jitter)
        self._measures = terms.measures
        self.fill, self.kill = self.births.fill, self.roster.kill
        self._out = out
        self._generations = generations
        self._intake = intake
        self._quickness = quickness
        self._jitter = jitter

    # service

    def change_terms(self, terms: PoolTerms, now: seen.Moment) -> None:
        """The configuration wants more or fewer: fork at once, or end idle ones, then others as they become idle."""
        roster = self.roster
        roster.terms, self._measures = terms, terms.measures
        for slot in list(self.idle.values())[: roster.excess()]:
            roster.dismiss(slot, now_ns=now.ns)
        roster.shrinking = roster.excess() > 0
        self.fill(now)

    def ready(self, fact: seen.Ready, now: seen.Moment) -> None:
        """The worker said Hello and waits for a job."""
        slot = self.slots.get(fact.slot)
        if slot is None or slot.state is not SlotState.SPAWNING:
            return
        slot.move(SlotState.READY)
        slot.takes_leave = fact.takes_leave
        self.births.problem = self.births.problem if slot.scout else None
        self._wear.begin(slot, memory_kb=fact.memory_kb, processes=fact.processes)
        self.roster.set_until(slot, None)
        if not slot.scout:
            self._rest(slot, now)
            self.fill(now)

    def start(self, slot: Slot, job: ClaimedJob, now: seen.Moment) -> None:
        """Send this job to this worker."""
        slot.in_flight.append(job)
        slot.may_take -= 1
        if len(slot.in_flight) == 1:
            self.idle.pop(slot.id, None)
            self.limits.begin(slot, now)
            if self._measures:
                self.usage.begin(now)
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
        if done.memory_kb:
            self._wear.note(slot, done)
        self._finish_head(slot, judge_report(job, done, slot, now=now, jitter=self._jitter()), now)
        self._quickness.note(job.job_type, done.ended_ns - done.started_ns)

    def asked(self, fact: seen.Asked, _now: seen.Moment) -> None:
        """A job asks the store for something: done only for the attempt that runs."""
        slot = self.slots.get(fact.slot)
        if slot is None:
            return
        runs = slot.head is not None and slot.head.fence == fact.fence
        if runs and slot.state in {SlotState.READY, SlotState.STOPPING}:
            self._out.append(do.AskStore(slot.id, fact.number, fact.verb, fact.arguments))
        else:
            self._out.append(do.RefuseAsk(slot.id, fact.number))

    def _finish_head(self, slot: Slot, ending: Ending, now: seen.Moment) -> None:
        job = slot.in_flight.popleft()
        slot.served, slot.captured = True, None
        self.births.succeeded()
        self._intake.finished(now.ns)
        if not slot.forgotten:
            self._out.append(do.Record(ending, job.job_type))
        slot.absolve_successor_of(job)
        slot.forgotten = False
        if slot.in_flight:
            self.limits.begin(slot, now)
            if self._measures:
                self.usage.begin(now)
        elif slot.state is SlotState.READY:
            self.roster.set_until(slot, None)
            self._rest(slot, now)

    def _rest(self, slot: Slot, now: seen.Moment) -> None:
        roster = self.roster
        unwanted = slot.worn or roster.stopping or roster.closed or roster.excess()
        if unwanted or not self._generations.is_current(slot.generation):
            roster.dismiss(slot, now_ns=now.ns)
            self.roster.shrinking = self.roster.excess() > 0
        else:
            self.idle[slot.id] = slot

    def took_back(self, fact: seen.TookBack, now: seen.Moment) -> None:
        """Jobs that the worker never got wait for another one."""
        slot = self.slots.get(fact.slot)
        if slot is None or not fact.attempts:
            return
        head = slot.head
        back = [job for job in slot.in_flight if job.attempt in fact.attempts]
        for job in back:
            slot.in_flight.remove(job)
        slot.may_take += len(back)
        if slot.forgotten:  # it is somebody else's: nobody here is to run it, nor to give it back
            back = [job for job in back if job is not head]
        if self.roster.stopping:
            self._out.extend(do.GiveBackJob(job.id, job.fence) for job in back)
        else:
            self._intake.put_back(back, now_ns=now.ns)
        if slot.idle:
            self.roster.set_until(slot, None)
            self._rest(slot, now)

    # the end

    def stop(self, slot: Slot, why: Outcome, now: seen.Moment, *, grace_ns: int | None = None) -> None:
        """End the running attempt of this slot with this outcome: softly first where there is a grace."""
        self.limits.stop(slot, why, now, grace_ns=grace_ns)

    def died(self, fact: seen.Died, now: seen.Moment) -> None:
        """The worker is reaped; what it left is removed before anything is recorded."""
        slot = self.slots.get(fact.slot)
        if slot is None:
            return
        self.idle.pop(slot.id, None)
        self.roster.set_until(slot, None)
        if slot.state is not SlotState.KILLING:
            self._out.append(do.SweepTree(slot.id))
            retired = slot.state is SlotState.RETIRING
            if not slot.served and not slot.scout and not retired and not slot.in_flight and not fact.fenced:
                self.births.failed(now)
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
            self._out.append(do.Record(ending, job.job_type))
        self._out.extend(do.GiveBackJob(other.id, other.fence) for other in list(slot.in_flight)[1:])
        if slot.in_flight:
            late_ms = (now.ns - slot.kill_due_ns) / _MS_NS if slot.kill_due_ns else None
            self._out.append(do.NoteCleared(slot.id, slot.pid or 0, job.id if job else None, late_ms))
        slot.move(SlotState.GONE)
        self.roster.remove(slot)
        self.fill(now)

    def overdue(self, slot_id: int, now: seen.Moment) -> None:
        """This slot's deadline has passed."""
        slot = self.slots.get(slot_id)
        if slot is None:
            return
        if slot.state is SlotState.SPAWNING:
            self.births.overdue(slot, now)
        elif slot.state is SlotState.RETIRING:
            self._out.append(do.Alert(f"on_worker_stop of worker {slot.pid} takes too long; it is killed"))
            self.kill(slot)
        else:
            self.limits.overdue(slot, now)

    def retire_old_code(self, now: seen.Moment) -> None:
        """New code is served: workers of other code end their job and get no further one."""
        for slot in list(self.slots.values()):
            if self._generations.is_current(slot.generation):
                continue
            if slot.idle:
                self.roster.dismiss(slot, now_ns=now.ns)
            elif slot.state is SlotState.READY and len(slot.in_flight) > 1:
                self._out.append(do.TakeBack(slot.id))
