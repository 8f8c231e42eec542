"""Looks at every effect of a pool in a played world and fails when one breaks a promise. See `pool_world`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from jobwarden.jobs.claim import ClaimedJob
from jobwarden.jobs.ending import Ending
from jobwarden.jobs.outcome import FailureReason, Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.intake import DEPTH
from jobwarden.supervisor.pool import Pool
from jobwarden.supervisor.slot import SlotState
from jobwarden.wire.messages import MEMORY, TIMEOUT, Done

Key = tuple[int, int]
"""(job id, fence)."""
MOST_RETIRING = 4
"""As many as the played worlds ever want workers."""
_MS_NS = 1_000_000
_SECOND_NS = 1_000_000_000


@dataclass
class Tried:
    """What is known of one claimed attempt."""

    job: ClaimedJob
    left: do.Effect | None = None
    told: bool = False
    """The pool knows of it."""
    taken_away: bool = False
    forgotten: bool = False
    """It was taken away while it ran or before it was sent: nothing is to be done or said any more."""
    slot: int | None = None
    """To whose queue it was sent."""
    received: bool = False
    done: Done | None = None
    heard: bool = False
    """The pool has been told of its Done."""
    head_since_ns: int = 0
    limit_ms: int | None = None
    """Its own, or the operator's ceiling if that is lower."""
    ceiling_ns: int | None = None
    """When it has run as long as any job may."""
    wishes: set[str] = field(default_factory=set)
    told_to_end: bool = False
    """A wish found it running."""
    prolonged_to_ns: int | None = None
    """Its limit, once it has moved that."""
    sign_ns: int = 0
    """Its last sign of life, its start included."""
    was_silent: bool = False
    """A look at the clock found it silent for too long."""
    found_over: set[Outcome] = field(default_factory=set)
    """A look at its processes found that it uses more than it may, which makes this outcome."""


@dataclass
class Held:
    """What a worker holds, and what is to become of it."""

    in_flight: list[Key] = field(default_factory=list)
    kill_meant_for: Key | None = None
    killed: bool = False
    fenced: bool = False
    broken: bool = False
    """It reported a job that it was not given."""
    given: int = 0
    """Jobs that it was sent and that were not taken back."""
    born_kb: int = 0
    grown: bool = False
    """After a job it had more memory than it may keep."""


class PoolWatch:
    """The invariants. Every method is called by the world when that thing happens."""

    def __init__(self, pool: Pool, *, now: Callable[[], int]) -> None:
        """`now` gives the world's monotonic time."""
        self._pool = pool
        self._now = now
        self.tried: dict[Key, Tried] = {}
        self.outcomes: dict[Key, list[Outcome]] = {}
        """What the store accepted."""
        self._held: dict[int, Held] = {}
        self._cleared: set[int] = set()
        self._trusted = True
        self._row_gone = False
        self._interrupting = False
        self._stopping = self._was_stopping = False
        self._leaves = 0

    # the world tells

    def before(self, fact: seen.Input) -> None:  # noqa: C901, PLR0912 - one flat match
        """A fact, before its effects are looked at."""
        self._was_stopping = self._stopping  # the fact that ends an errand may bring a worker, who is then let go
        self._stopping |= self._pool.errand is not None and self._pool.errand.over
        match fact:
            case seen.TrustLost():
                self._trusted, self._interrupting = False, True
            case seen.TrustBack():
                self._trusted = True
            case seen.NodeGone():
                self._row_gone = self._interrupting = True
            case seen.Rejoined():
                self._row_gone = False
            case seen.Claimed():
                for job in fact.jobs:
                    self.tried[job.attempt].told = True
                    self.tried[job.attempt].limit_ms = self._lowest(job.timeout_ms)
            case seen.StopAsked():
                self._stopping = self._was_stopping = self._interrupting = True
            case seen.Wished() if (fact.job_id, fact.fence) in self.tried:
                self._wish((fact.job_id, fact.fence), fact.wish)
            case seen.Beaten() | seen.ProgressMade() if fact.slot in self._held:
                self._give_sign(fact)
            case seen.Ticked():
                self._find_silent()
            case seen.Ready():
                self._held.setdefault(fact.slot, Held()).born_kb = fact.memory_kb
            case seen.Reported():
                self._heard(fact)
            case seen.Measured():
                self._measured(fact)
            case seen.LeaseLost():
                self._lost((fact.job_id, fact.fence))
            case seen.TookBack() if fact.slot in self._held:
                held = self._held[fact.slot]
                held.given -= sum(key in fact.attempts for key in held.in_flight)
                held.in_flight = [key for key in held.in_flight if key not in fact.attempts]
            case _:
                pass

    def _wish(self, key: Key, wish: str) -> None:
        """One that waits in a worker's queue is looked for again with the next wishes that the store tells."""
        self.tried[key].wishes.add(wish)
        if any(held.in_flight[:1] == [key] for held in self._held.values()):
            self.tried[key].told_to_end = True

    def _give_sign(self, fact: seen.Beaten | seen.ProgressMade) -> None:
        head = self._held[fact.slot].in_flight[:1]
        if head and head[0][1] == fact.fence:
            self.tried[head[0]].sign_ns = self._now()

    def _find_silent(self) -> None:
        for held in self._held.values():
            for tried in (self.tried[key] for key in held.in_flight[:1]):
                patience_ms = tried.job.heartbeat_timeout_ms
                silent = patience_ms is not None and self._now() - tried.sign_ns >= patience_ms * _MS_NS
                tried.was_silent = tried.was_silent or silent

    def _lost(self, key: Key) -> None:
        """Of what waits behind another job in a worker's queue the pool takes no notice: the fence will refuse it."""
        if (
            key in self.tried
            and self.tried[key].told
            and not any(key in held.in_flight[1:] for held in self._held.values())
        ):
            self.tried[key].forgotten = True

    def _heard(self, fact: seen.Reported) -> None:
        key, held = (fact.done.job_id, fact.done.fence), self._held[fact.slot]
        if held.in_flight[:1] != [key]:
            held.broken = True
            return
        self.tried[key].heard = True
        most_kb = self._pool.terms.worker_max_growth_kb
        held.grown |= most_kb is not None and fact.done.memory_kb - held.born_kb > most_kb
        held.in_flight.pop(0)
        if held.in_flight:
            self._begun(self.tried[held.in_flight[0]])

    def _measured(self, fact: seen.Measured) -> None:
        terms, tried = self._pool.terms, self.tried[fact.attempt]
        if terms.memory_limit_kb is not None and fact.memory_kb > terms.memory_limit_kb:
            tried.found_over.add(Outcome.MEMORY_EXCEEDED)
        if terms.cpu_limit_ms is not None and fact.cpu_ms > terms.cpu_limit_ms:
            tried.found_over.add(Outcome.TIMED_OUT)
        if terms.max_processes is not None and fact.processes > terms.max_processes:
            tried.found_over.add(Outcome.CRASHED)

    def _begun(self, tried: Tried) -> None:
        tried.head_since_ns = tried.sign_ns = self._now()
        ceiling_ms = self._pool.terms.max_timeout_ms
        tried.ceiling_ns = None if ceiling_ms is None else self._now() + ceiling_ms * _MS_NS

    def claimed(self, jobs: list[ClaimedJob]) -> None:
        """The pool will be told of these."""
        self.tried |= {job.attempt: Tried(job) for job in jobs}

    def received(self, key: Key, slot: int) -> None:
        """A worker has got this job from its queue."""
        assert self.tried[key].slot == slot, "taken back jobs stay away from their worker"
        self.tried[key].received = True

    def wrote(self, done: Done) -> None:
        """A worker has written Done."""
        self.tried[done.job_id, done.fence].done = done

    def died(self, slot: int, *, fenced: bool) -> None:
        """A worker's process has ended."""
        self._held.setdefault(slot, Held()).fenced = fenced

    def cleared(self, slot: int) -> None:
        """Nothing of a worker's tree is left."""
        self._cleared.add(slot)

    def taken_away(self, key: Key) -> None:
        """Somebody else owns the job."""
        if key in self.tried:
            self.tried[key].taken_away = True

    def written(self, ending: Ending) -> None:
        """The store accepted an end."""
        self.outcomes.setdefault((ending.job_id, ending.fence), []).append(ending.outcome)

    # the rules

    def see(self, effect: do.Effect, fact: seen.Input) -> None:  # noqa: C901 - one flat match
        """One effect, and the fact that it followed from."""
        assert not self._leaves or isinstance(effect, do.EndTemplate | do.Alert | do.GiveBackJob), "it had left"
        match effect:
            case do.Dispatch():
                self._see_dispatch(effect)
            case do.Record():
                self._see_record(effect)
            case do.GiveBackJob():
                self._see_give_back(effect, asked=isinstance(fact, seen.Processing))
            case do.Retire():
                slot = self._pool.workers.slots[effect.slot]
                assert not slot.in_flight, "a worker with a job is not sent away"
                assert slot.takes_leave, "nobody is given time who has no use for it"
                assert self._may_work, "past the trust window there is no time"
            case do.KillTree():
                held = self._held.setdefault(effect.slot, Held())
                assert not held.killed, "a tree is killed once"
                held.killed = True
                held.kill_meant_for = held.in_flight[0] if held.in_flight else None
            case do.AnswerProlong():
                self._see_prolong(effect, fact)
            case do.ForkWorker():
                self._see_birth(effect)
                assert not self._was_stopping, "nobody is born for the end"
                assert self._may_work, "whoever is born now would be killed"
            case do.StartTemplate():
                assert self._may_work, "what is started now would be killed"
            case do.Rejoin():
                running = [slot for slot in self._pool.workers.slots.values() if slot.in_flight and not slot.stuck]
                assert not running, "an end under the old name is still to come"
            case do.AskClaim():
                assert self._may_work, "nothing is claimed past the trust window, or without a row"
                assert not self._stopping, "nothing is claimed while it leaves"
            case do.Leave():
                self._leaves += 1
                assert self._stopping, "it was not asked to leave"
                assert self.not_left() == [], "it leaves with jobs in hand"
                assert not self._pool.workers.slots, "it leaves workers behind"
            case _:
                pass

    def _see_birth(self, effect: do.ForkWorker) -> None:
        there = [slot for slot in self._pool.workers.slots.values() if not slot.stuck]
        scouts = [slot.id for slot in there if slot.scout and slot.state is SlotState.SPAWNING]
        living = [slot for slot in there if slot.state is not SlotState.RETIRING and not slot.scout]
        assert len(scouts) <= 1, "one worker is enough to prove new code"
        assert scouts == [effect.slot] or len(living) <= self._pool.terms.workers, "never more workers than wanted"
        retiring = [slot for slot in there if slot.state is SlotState.RETIRING]
        assert len(retiring) <= MOST_RETIRING, "those that retire do not pile up"

    @property
    def _may_work(self) -> bool:
        return self._trusted and not self._row_gone

    def after(self) -> None:
        """What holds between two facts."""
        keys = [key for held in self._held.values() for key in held.in_flight]
        assert len(keys) == len(set(keys)), "two workers hold one attempt"
        backlog = {job.attempt for job in self._pool.intake.backlog}
        assert backlog.isdisjoint(keys), "what a worker holds is not handed out again"

    def _see_dispatch(self, effect: do.Dispatch) -> None:
        tried, slot = self.tried[effect.job.attempt], self._pool.workers.slots[effect.slot]
        held = self._held.setdefault(effect.slot, Held())
        assert self._may_work, "nothing is dispatched past the trust window, or without a row"
        assert not self._stopping, "nothing is dispatched while it leaves"
        assert tried.left is None, "a job that has left the pool is not dispatched"
        assert not tried.forgotten, "what is somebody else's is not dispatched"
        assert not tried.received, "nobody gets a job that somebody has begun"
        assert slot.state is SlotState.READY, "only a ready worker gets a job"
        assert not held.killed, "a worker that is killed gets no job"
        assert self._pool.generations.is_current(slot.generation), "old code gets no new job"
        assert len(held.in_flight) < DEPTH, "a worker holds eight jobs at most"
        assert not held.grown, "a worker that has grown gets no further job"
        held.given += 1
        most = self._pool.terms.worker_max_jobs
        assert most is None or held.given < 1.1 * most + 1, "a worker serves so many jobs at most"
        if held.in_flight:
            assert effect.job.job_type.startswith("quick"), "only quick jobs wait behind another one"
            assert self.tried[held.in_flight[0]].job.job_type.startswith("quick"), "no job waits behind a slow one"
        else:
            self._begun(tried)
        tried.told_to_end = False  # whoever was told had not begun it, and gave it back
        held.in_flight.append(effect.job.attempt)
        tried.slot = effect.slot

    def _see_prolong(self, effect: do.AnswerProlong, fact: seen.Input) -> None:
        assert isinstance(fact, seen.ProlongAsked), "nobody asked"
        held, tried = self._held[effect.slot], self.tried[effect.attempt]
        runs = held.in_flight[:1] == [effect.attempt] and not held.killed and not tried.forgotten
        if not effect.granted:
            ends = tried.told_to_end or self._interrupting or tried.found_over
            assert not runs or ends or self._passes_ceiling(tried, fact.ms), "what runs may go on"
            return
        assert runs, "what is killed or gone gets no more time"
        assert not tried.told_to_end, "prolong moves a limit, nothing else"
        tried.sign_ns, tried.was_silent = self._now(), False
        ms = tried.limit_ms if fact.ms is None else fact.ms
        if tried.limit_ms is not None and ms is not None:
            wanted_ns = self._now() + ms * _MS_NS
            tried.prolonged_to_ns = wanted_ns if tried.ceiling_ns is None else min(wanted_ns, tried.ceiling_ns)
            assert tried.prolonged_to_ns > self._now(), "at the ceiling nobody gets more time"

    def _lowest(self, limit_ms: int | None) -> int | None:
        limits = [ms for ms in (limit_ms, self._pool.terms.max_timeout_ms) if ms is not None]
        return min(limits, default=None)

    def _passes_ceiling(self, tried: Tried, ms: int | None) -> bool:
        if tried.ceiling_ns is None:
            return False
        asked_ms = ms or tried.limit_ms or 0
        until_ns = self._now() + (asked_ms * _MS_NS if tried.job.force_kill_on_timeout else 0)
        return until_ns >= tried.ceiling_ns

    def _see_give_back(self, effect: do.GiveBackJob, *, asked: bool) -> None:
        key = (effect.job_id, effect.fence)
        if asked:
            # Of a row that the pool does not hold: it never heard of it, or its end is under way to the store.
            known = self.tried.get(key)
            assert known is None or known.left is not None or known.taken_away, "it holds this attempt"
            return
        tried = self.tried[key]
        assert tried.left is None, "an attempt leaves the pool once"
        assert not tried.received, "what was started is not given back as if it had not been"
        tried.left = effect

    def _see_record(self, effect: do.Record) -> None:
        ending = effect.ending
        tried = self.tried[ending.job_id, ending.fence]
        assert tried.left is None, "an attempt leaves the pool once"
        assert not tried.forgotten, "what is somebody else's is not ours to record"
        tried.left = effect
        if tried.heard and tried.done is not None:
            self._judge_heard(tried, tried.done, ending)
        elif tried.received:
            self._judge_dead(tried, ending)
        else:
            assert ending.outcome in {Outcome.CANCELLED, Outcome.INTERRUPTED}, "it never ran"
            assert tried.wishes, "nobody asked for this"

    def _judge_heard(self, tried: Tried, done: Done, ending: Ending) -> None:
        limit_ms = tried.limit_ms
        late = limit_ms is not None and done.ended_ns - done.started_ns > limit_ms * _MS_NS
        if tried.prolonged_to_ns is not None:
            late = done.ended_ns > tried.prolonged_to_ns
        stalled = ending.failure_reason is FailureReason.STALLED
        assert not stalled or tried.was_silent, "it gave its signs of life"
        if done.retire or done.left_behind:
            assert tried.slot in self._cleared, "recorded before its tree was gone"
        spent = Outcome.TIMED_OUT in tried.found_over and ending.outcome is Outcome.TIMED_OUT
        if spent:
            return
        if late or stalled or (done.failure is not None and done.failure.kind == TIMEOUT):
            assert ending.outcome is Outcome.TIMED_OUT, "the worker's own stamps judge"
        elif done.failure is None:
            assert ending.outcome is Outcome.SUCCEEDED, "what ended in time is a success, whatever came afterwards"
        else:
            stopped = {Outcome.CANCELLED, Outcome.INTERRUPTED} if tried.told_to_end or self._interrupting else set()
            own = Outcome.MEMORY_EXCEEDED if done.failure.kind == MEMORY else Outcome.FAILED
            assert ending.outcome in {own} | stopped, "out of memory is a failure of its own kind"

    def _judge_dead(self, tried: Tried, ending: Ending) -> None:
        key, held = tried.job.attempt, self._held[tried.slot or 0]
        assert tried.slot in self._cleared, "recorded before its tree was gone"
        assert tried.done is None, "what the worker wrote before its death counts"
        match ending.outcome:
            case Outcome.MEMORY_EXCEEDED | Outcome.CRASHED if ending.outcome in tried.found_over:
                assert held.kill_meant_for in {None, key}, "the kill was meant for another job"
            case Outcome.TIMED_OUT if ending.outcome in tried.found_over:
                assert held.kill_meant_for in {None, key}, "the kill was meant for another job"
            case Outcome.CRASHED:
                assert held.broken or not held.killed, "our own kill is no crash"
                assert not held.fenced, "the keeper's kill is no crash"
            case Outcome.TIMED_OUT:
                assert held.kill_meant_for in {None, key}, "the kill was meant for another job"
                if ending.failure_reason is FailureReason.STALLED:
                    assert tried.was_silent, "it gave its signs of life"
                else:
                    self._check_passed(tried)
            case Outcome.CANCELLED:
                assert "cancel" in tried.wishes
            case Outcome.INTERRUPTED:
                innocent = held.killed and held.kill_meant_for != key
                assert innocent or held.fenced or self._interrupting or tried.wishes or tried.taken_away
            case _:
                raise AssertionError(ending.outcome)

    def _check_passed(self, tried: Tried) -> None:
        assert tried.limit_ms is not None, "it has no limit"
        limit_ns = tried.prolonged_to_ns or tried.head_since_ns + tried.limit_ms * _MS_NS
        assert self._now() >= limit_ns, "its limit has not passed"

    def not_left(self) -> list[Key]:
        """Claimed attempts of which nothing was said, and that are still ours."""
        return [key for key, tried in self.tried.items() if tried.left is None and not tried.taken_away]
