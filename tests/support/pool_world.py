"""A world for the pool without any process: store, templates and workers in pure Python, moved by single steps.

It has the kernel's semantics where they matter. A worker takes one job at a time from its own queue and writes Done
before it takes the next; what is taken back from that queue the worker has not got; what a worker wrote is read to
its end before its death is told. `PoolWatch` looks at every effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from jobwarden.jobs.claim import ClaimedJob
from jobwarden.jobs.ending import Ending
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.pool import Pool
from jobwarden.supervisor.slot import SlotState
from jobwarden.supervisor.terms import SECOND_NS, PoolTerms
from jobwarden.wire.messages import CANCELLED, MEMORY, TIMEOUT, Done, Failure, HandlerInfo
from tests.support.pool_watch import Key, PoolWatch

MS_NS = 1_000_000
EPOCH_US = 1_700_000_000_000_000
TYPES = ("quick", "slow")
TERMS = PoolTerms(
    workers=2,
    kill_grace_ns=2 * SECOND_NS,
    drain_ns=30 * SECOND_NS,
    spawn_ns=10 * SECOND_NS,
    load_ns=30 * SECOND_NS,
)


@dataclass
class Row:
    """A job in the store."""

    job: ClaimedJob
    status: str = "ready"
    """ready, processing, elsewhere (another node took it) or ended."""


@dataclass
class Worker:
    """A worker and the pipe of what it wrote and nobody has read."""

    generation: int
    born: bool = False
    alive: bool = False
    told: bool = False
    """Its death was told to the pool."""
    clearing: bool = False
    retired: bool = False
    takes_leave: bool = False
    """It has hooks to call at its end, and is told when there is time for it."""
    told_to_leave: bool = False
    queue: deque[ClaimedJob] = field(default_factory=deque)
    current: ClaimedJob | None = None
    since_ns: int = 0
    stop: do.StopSoftly | None = None
    """The stop in force; a granted prolong takes it back."""
    stopped: Key | None = None
    """The last attempt that was stopped softly."""
    written: deque[Done | None] = field(default_factory=deque)
    """None stands for Hello."""
    fenced: bool = False
    signal: int | None = None
    memory_kb: int = 0
    """As it says itself after a job; 0 where nobody wants to know."""
    asked: do.Measure | None = None
    """The last thing that the pool wanted to know about its job, not yet answered."""

    @property
    def is_busy(self) -> bool:
        """Whether it, or whoever has to do with its end, has something to do now."""
        ending = not self.alive or self.clearing
        return (
            ending
            or self.told_to_leave
            or (not self.retired and bool(self.queue or self.current))
            or bool(self.written)
        )


class World:
    """Steps are methods; a step that is not possible now does nothing."""

    def __init__(self, *, terms: PoolTerms = TERMS) -> None:
        """A pool that was just asked to load the handlers."""
        self.ns = 1_000 * SECOND_NS
        self.pool = Pool(terms, jitter=lambda: 1.0)
        self.watch = PoolWatch(self.pool, now=lambda: self.ns)
        self.rows: dict[int, Row] = {}
        self.workers: dict[int, Worker] = {}
        self.templates: dict[int, str] = {}
        """Generation -> loading or ready; ended ones are gone."""
        self.page_trusted = True
        self.row_gone = False
        self.left = False
        self.starts = False
        """Code that loads now has hooks at the start of its workers."""
        self.take_leave = False
        """Workers that are greeted now have hooks to call at their end."""
        self.last_effects: list[do.Effect] = []
        """Of the last step."""
        self._pending: list[do.Record | do.GiveBackJob | do.AskClaim | do.Rejoin] = []
        self._mail: deque[seen.Input] = deque()
        self._facts: deque[seen.Input] = deque()
        self.tell(seen.ReloadAsked())

    # the loop

    def tell(self, *facts: seen.Input) -> list[do.Effect]:
        """Let the pool handle facts and what follows from its effects; returns all effects in order."""
        self._facts.extend(facts)
        made: list[do.Effect] = []
        while self._facts:
            fact = self._facts.popleft()
            effects = self.pool.handle(fact, self.moment)
            self.watch.before(fact)
            for effect in effects:
                self.watch.see(effect, fact)
                self._perform(effect)
                made.append(effect)
            self.watch.after()
        self.last_effects = made
        return made

    @property
    def moment(self) -> seen.Moment:
        """Both clocks."""
        return seen.Moment(self.ns, EPOCH_US + self.ns // 1_000)

    def _perform(self, effect: do.Effect) -> None:  # noqa: C901, PLR0912 - one flat match
        match effect:
            case do.Record() | do.GiveBackJob() | do.AskClaim() | do.Rejoin():
                self._pending.append(effect)
            case do.Dispatch():
                self.workers[effect.slot].queue.append(effect.job)
            case do.TakeBack():
                self._facts.append(seen.TookBack(effect.slot, self._take_back(effect.slot)))
            case do.StopSoftly():
                self.workers[effect.slot].stop = effect
                self.workers[effect.slot].stopped = effect.attempt
            case do.AnswerProlong():
                self._take_stop_back(effect)
            case do.Retire():
                self.workers[effect.slot].told_to_leave = True
            case do.KillTree():
                self.workers[effect.slot].clearing = True
            case do.SweepTree():
                self.workers[effect.slot].clearing = True
            case do.ForkWorker():
                if effect.generation in self.templates:
                    self.workers[effect.slot] = Worker(effect.generation, memory_kb=self._memory_kb)
                else:
                    self._facts.append(seen.Unborn(effect.slot, "the template is gone"))
            case do.StartTemplate():
                self.templates[effect.generation] = "loading"
            case do.EndTemplate():
                self._end_template(effect.generation, why=effect.why or "died")
            case do.Leave():
                self.left = True
            case do.Measure():
                self.workers[effect.slot].asked = effect
            case do.AskStore() | do.RefuseAsk():
                pass
            case do.NoteProgress() | do.NoteProlonged() | do.NoteCleared() | do.NoteServed() | do.Alert():
                pass

    @property
    def _memory_kb(self) -> int:
        """Of a worker at its birth: something, where it says what it has."""
        terms = self.pool.terms
        return 0 if terms.memory_limit_kb is None and terms.worker_max_growth_kb is None else 1

    def _take_stop_back(self, answer: do.AnswerProlong) -> None:
        worker = self.workers.get(answer.slot)
        if worker is not None and answer.granted and worker.stop is not None and worker.stop.why != "cancel":
            worker.stop = None

    def _take_back(self, slot: int) -> tuple[Key, ...]:
        queue = self.workers[slot].queue
        taken = tuple(job.attempt for job in queue)
        queue.clear()
        return taken

    # the store

    def add(self, job_type: str = "quick", *, timeout_ms: int | None = None, **options: object) -> int:
        """A new job is ready in the store; somebody rings. Options are fields of ClaimedJob."""
        job_id = len(self.rows) + 1
        fields: dict[str, object] = {
            "payload": "null",
            "attempts": 0,
            "max_attempts": 5,
            "force_kill_on_timeout": 0,
            "retry_delay": 0.0,
            "retry_backoff": 0,
            "retry_delay_max": None,
            "crashes": 0,
            "interruptions": 0,
            "lost_in_row": 0,
        }
        fields |= {"id": job_id, "fence": 0, "job_type": job_type, "timeout_ms": timeout_ms} | options
        self.rows[job_id] = Row(ClaimedJob(**fields))  # type: ignore[arg-type]
        self._mail.append(seen.Rang())
        return job_id

    def commit(self, *, answer: bool = True) -> None:
        """The ledger writes what it has; without an answer, nobody learns what was claimed."""
        pending, self._pending = self._pending, []
        for entry in pending:
            if isinstance(entry, do.Record):
                self._end(entry.ending)
            elif isinstance(entry, do.GiveBackJob):
                self._free(entry.job_id, entry.fence)
            elif isinstance(entry, do.Rejoin):
                self.row_gone = False
                self._mail.append(seen.Rejoined())
            else:
                claimed = self._claim(entry)
                self.watch.claimed(claimed if answer else [])
                self._mail.append(seen.Claimed(claimed) if answer else seen.ClaimFailed())

    def reconcile(self) -> None:
        """The ledger commits, then reads what the store holds under this node."""
        self.commit()
        rows = [row.job.attempt for row in self.rows.values() if row.status == "processing"]
        self._mail.append(seen.Processing(rows))

    def mail(self) -> None:
        """The loop opens its mailbox."""
        while self._mail:
            self.tell(self._mail.popleft())

    def sync(self) -> None:
        """Commit and hear of it, until there is nothing more to commit."""
        while self._pending or self._mail:
            self.commit()
            self.mail()

    def _end(self, ending: Ending) -> None:
        row = self.rows[ending.job_id]
        if row.status != "processing" or row.job.fence != ending.fence:
            return
        row.status = "ended" if ending.ended else "ready"
        if not ending.ended:
            self._mail.append(seen.Rang())
        row.job = _replace(
            row.job, attempts=ending.attempts, crashes=ending.crashes, interruptions=ending.interruptions
        )
        self.watch.written(ending)

    def _free(self, job_id: int, fence: int) -> None:
        row = self.rows[job_id]
        if row.status == "processing" and row.job.fence == fence:
            row.status = "ready"
            row.job = _replace(row.job, fence=fence + 1, attempts=row.job.attempts - 1)
            self._mail.append(seen.Rang())

    def _claim(self, ask: do.AskClaim) -> list[ClaimedJob]:
        if self.row_gone:
            return []
        types = {terms.job_type for terms in ask.types}
        ready = [row for row in self.rows.values() if row.status == "ready" and row.job.job_type in types]
        return [self._take_row(row) for row in ready[: ask.limit]]

    @staticmethod
    def _take_row(row: Row) -> ClaimedJob:
        row.status = "processing"
        row.job = _replace(row.job, fence=row.job.fence + 1, attempts=row.job.attempts + 1)
        return row.job

    def claim(self, *job_ids: int) -> list[do.Effect]:
        """The pool is given these jobs, whether it has room for them or not."""
        jobs = [self._take_row(self.rows[job_id]) for job_id in job_ids]
        self.watch.claimed(jobs)
        return self.tell(seen.Claimed(jobs))

    def someone_else_takes(self, key: Key) -> None:
        """The job has another owner now, and a write of ours was refused."""
        row = self.rows[key[0]]
        if row.status == "processing" and row.job.attempt == key:
            row.status = "elsewhere"
            self.watch.taken_away(key)
            self.tell(seen.LeaseLost(*key))

    def lose_row(self) -> None:
        """Somebody takes the node for dead: its row goes, its jobs are free."""
        self.row_gone = True
        for row in self.rows.values():
            if row.status == "processing":
                self.watch.taken_away(row.job.attempt)
                self._free(*row.job.attempt)
        self.tell(seen.NodeGone())

    # templates and births

    def loaded(
        self,
        generation: int,
        *,
        code: str = "a",
        types: tuple[str, ...] = TYPES,
        problem: str = "",
        broken: tuple[str, ...] = (),
    ) -> None:
        """A loading template has loaded this code, but for what is `broken`."""
        if self.templates.get(generation) == "loading":
            self.templates[generation] = "ready"
            handlers = tuple(HandlerInfo(job_type=each, file=f"{each}.py") for each in types)
            problems = (problem,) if problem else ()
            self.tell(seen.TemplateBegan(generation, code))
            self.tell(seen.TemplateReady(generation, code, handlers, problems, broken, self.starts))

    def template_dies(self, generation: int) -> None:
        """Its process ends; the births that it had not answered fail."""
        self._end_template(generation)
        self.tell()

    def _end_template(self, generation: int, *, why: str = "died") -> None:
        state = self.templates.pop(generation, None)
        if state is None:
            return
        for slot, worker in list(self.workers.items()):
            if worker.generation == generation and not worker.born:
                del self.workers[slot]
                self._facts.append(seen.Unborn(slot, "its template died"))
        gone = seen.TemplateGone(generation) if state == "ready" else seen.TemplateFailed(generation, why)
        self._facts.append(gone)

    def bear(self, slot: int) -> None:
        """The template answers: the worker is born."""
        worker = self.workers[slot]
        if not worker.born:
            worker.born = worker.alive = True
            self.tell(seen.Born(slot, 1_000 + slot))

    def greet(self, slot: int) -> None:
        """The worker writes Hello."""
        worker = self.workers[slot]
        if worker.alive and not worker.written:
            worker.takes_leave = self.take_leave
            worker.written.append(None)
            self.hear(slot)

    def fail_to_begin(self, slot: int, why: str = "hooks.py:3: no") -> list[do.Effect]:
        """A hook of the worker's start fails."""
        worker = self.workers[slot]
        if not worker.alive or worker.written or self.pool.workers.slots[slot].state is not SlotState.SPAWNING:
            return []
        effects = self.tell(seen.Unready(slot, why))
        self.die(slot, signal=None)
        return effects

    def leave(self, slot: int) -> None:
        """A worker that was told so calls its hooks, and ends by itself."""
        if self.workers[slot].told_to_leave:
            self.die(slot, signal=None)

    def settle_births(self) -> None:
        """Every load and every birth that is under way comes to a good end."""
        for generation, state in list(self.templates.items()):
            if state == "loading":
                self.loaded(generation)
        for slot, worker in list(self.workers.items()):
            if slot in self.workers and not worker.born:  # its template may have gone with the birth of another one
                self.bear(slot)
                self.greet(slot)

    # workers

    def take(self, slot: int) -> None:
        """The worker receives its next job, if it has one and none is running."""
        worker = self.workers[slot]
        if worker.alive and worker.queue and worker.current is None and not worker.retired:
            worker.current, worker.since_ns = worker.queue.popleft(), self.ns
            self.watch.received(worker.current.attempt, slot)
            if not self.page_trusted:
                self.die(slot, fenced=True)

    def finish(
        self, slot: int, failure: Failure | None = None, *, left_behind: bool = False, heed: bool = True
    ) -> None:
        """The handler ends and Done is written (not yet read). A soft stop is heeded or swallowed."""
        worker = self.workers[slot]
        job = worker.current
        if not worker.alive or job is None:
            return
        if job.job_type.startswith("slow"):
            self.ns += 6 * MS_NS
        stopped = worker.stop is not None and worker.stop.attempt == job.attempt
        if stopped and heed and worker.stop is not None:
            failure = Failure(CANCELLED if worker.stop.why == "cancel" else TIMEOUT, "stopped")
        done = Done(
            *(job.id, job.fence, worker.since_ns, self.ns, 0, 0),
            marked=False,
            output=None if failure else "1",
            failure=failure,
            left_behind=["sleep (7)"] if left_behind else [],
            retire=worker.stopped == job.attempt or left_behind or (failure is not None and failure.kind == MEMORY),
            memory_kb=worker.memory_kb,
        )
        worker.current, worker.retired = None, done.retire
        worker.written.append(done)
        self.watch.wrote(done)

    def beat(self, slot: int) -> None:
        """The running attempt says that it is alive."""
        worker = self.workers[slot]
        if worker.alive and worker.current is not None and not worker.written:
            self.tell(seen.Beaten(slot, worker.current.fence))

    def prolong(self, slot: int, ms: int | None = None) -> bool:
        """The running attempt asks for more time; what it wrote before is read first."""
        worker = self.workers[slot]
        if not worker.alive or worker.current is None:
            return False
        while worker.written:
            self.hear(slot)
        effects = self.tell(seen.ProlongAsked(slot, worker.current.attempt, ms))
        (answer,) = [effect for effect in effects if isinstance(effect, do.AnswerProlong)]
        return answer.granted

    def measure(self, slot: int, *, memory_kb: int = 0, cpu_ms: int = 0, processes: int = 1) -> list[do.Effect]:
        """The meter answers, if it was asked about this worker."""
        worker = self.workers[slot]
        asked, worker.asked = worker.asked, None
        if asked is None:
            return []
        return self.tell(seen.Measured(slot, asked.attempt, memory_kb=memory_kb, cpu_ms=cpu_ms, processes=processes))

    def lie(self, slot: int) -> None:
        """The worker writes Done for a job that it was not given."""
        self.workers[slot].written.append(Done(999_999, 1, self.ns, self.ns, 0, 0, marked=False))

    def hear(self, slot: int) -> list[do.Effect]:
        """The loop reads the next thing that the worker wrote."""
        worker = self.workers[slot]
        if not worker.written:
            return []
        message = worker.written.popleft()
        if message is None:
            return self.tell(seen.Ready(slot, worker.takes_leave, worker.memory_kb))
        return self.tell(seen.Reported(slot, message, None))

    def work(self, slot: int) -> None:
        """One whole job: receive, end, be heard."""
        self.take(slot)
        self.finish(slot)
        self.hear(slot)

    def die(self, slot: int, *, fenced: bool = False, signal: int | None = 9) -> None:
        """The worker's process ends, for whatever reason."""
        worker = self.workers[slot]
        if worker.alive:
            worker.alive, worker.fenced, worker.signal = False, fenced, signal
            self.watch.died(slot, fenced=fenced)

    def bury(self, slot: int) -> list[do.Effect]:
        """The loop reaps a dead worker: everything that it wrote first, then its death, then what it never got."""
        worker = self.workers[slot]
        if worker.alive or worker.told or not worker.born:
            return []
        made: list[do.Effect] = []
        while worker.written:
            made += self.hear(slot)
        worker.told = True
        exit_code = None if worker.signal else 1
        died = seen.Died(slot, worker.signal, exit_code, 0, 0, worker.fenced, None)
        return made + self.tell(died, seen.TookBack(slot, self._take_back(slot)))

    def clear(self, slot: int) -> list[do.Effect]:
        """The killer finds nothing of a dead worker's tree any more."""
        worker = self.workers[slot]
        if not worker.told or not worker.clearing:
            return []
        del self.workers[slot]
        self.watch.cleared(slot)
        return self.tell(seen.Cleared(slot, None))

    def end(self, slot: int) -> list[do.Effect]:
        """A worker that is to die does, is reaped and cleared."""
        self.die(slot)
        return self.bury(slot) + self.clear(slot)

    def start(self, job_type: str = "slow", **options: object) -> tuple[int, ClaimedJob]:
        """A new job is claimed, sent to a worker and received by it: that slot, and the job as it was claimed."""
        job_id = self.add(job_type, **options)  # type: ignore[arg-type]
        self.sync()
        for slot, worker in self.workers.items():
            if any(job.id == job_id for job in worker.queue):
                self.take(slot)
                return slot, self.rows[job_id].job
        raise AssertionError(job_id)

    def queued(self, count: int) -> tuple[int, list[ClaimedJob]]:
        """One worker has received the first of so many quick jobs, the others wait in its queue."""
        ids = [self.add("quick") for _ in range(count)]
        self.sync()
        (slot,) = [slot for slot, worker in self.workers.items() if worker.queue]
        self.take(slot)
        return slot, [self.rows[job_id].job for job_id in ids]

    # time and the end

    def pass_time(self, ns: int) -> list[do.Effect]:
        """The clock goes on, and the loop looks at its deadlines."""
        self.ns += ns
        due = self.pool.next_ns()
        return self.tell(seen.Ticked()) if due is not None and due <= self.ns else []

    def wait_for_deadline(self) -> None:
        """The clock goes on to the next deadline."""
        due = self.pool.next_ns()
        if due is not None:
            self.pass_time(max(0, due - self.ns))

    def run_on(self, *, until: Callable[[], bool]) -> bool:
        """Everybody does what is expected of them until something holds; False if it never does.

        Time stands still while anybody has something to do.
        """
        for _ in range(200):
            self.reconcile()
            while self._busy and not until():
                self.sync()
                self.settle_births()
                for slot in list(self.workers):
                    self._live_on(slot)
            if until():
                return True
            self.wait_for_deadline()
        return False

    @property
    def _busy(self) -> bool:
        waiting = self._pending or self._mail or "loading" in self.templates.values()
        return bool(waiting) or any(worker.is_busy for worker in self.workers.values())

    def _live_on(self, slot: int) -> None:
        worker = self.workers[slot]
        if worker.clearing:
            self.end(slot)
        elif not worker.alive:
            self.bury(slot)
            self.clear(slot)
        else:
            self.leave(slot)
            self.hear(slot)
            self.work(slot)

    @property
    def ended(self) -> bool:
        """Whether every job has ended, or belongs to somebody else."""
        return all(row.status in {"ended", "elsewhere"} for row in self.rows.values())


def serving(*, workers: int = 2, quick: bool = False, **terms: int) -> World:
    """A world whose workers all wait for jobs; with `quick`, the type of that name is known to be quick."""
    given = {**{name: getattr(TERMS, name) for name in TERMS.__struct_fields__}, "workers": workers, **terms}
    world = World(terms=PoolTerms(**given))
    world.settle_births()
    if quick:
        for _ in range(20):
            world.add("quick")
        world.run_on(until=lambda: world.ended)
    world.sync()
    return world


def endings(effects: list[do.Effect]) -> list[Ending]:
    """The ends that were recorded."""
    return [effect.ending for effect in effects if isinstance(effect, do.Record)]


def given_back(effects: list[do.Effect]) -> list[Key]:
    """The attempts that were given back."""
    return [(effect.job_id, effect.fence) for effect in effects if isinstance(effect, do.GiveBackJob)]


def kinds(effects: list[do.Effect]) -> list[type]:
    """What kinds of effects there are, in order."""
    return [type(effect) for effect in effects]


def _replace(job: ClaimedJob, **changes: int) -> ClaimedJob:
    fields = {name: getattr(job, name) for name in job.__struct_fields__}
    return ClaimedJob(**{**fields, **changes})
