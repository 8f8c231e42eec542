"""A real store that is played with: each step is a verb of the store and the same one of the model, then both compare.

The verbs that daemons, people and time do to jobs; which, and to whom, the state machine draws. After every step
`check` reads the whole database with a connection of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, MetaData, Table, select

from jobwarden.clock import to_datetime
from jobwarden.errors import InvalidJobError, JobStateError
from jobwarden.jobs import (
    ClaimedJob,
    Dependency,
    DependsOn,
    Ending,
    JobChanges,
    JobFilter,
    JobOptions,
    Outcome,
    TypeTerms,
    complete,
    end_attempt,
)
from jobwarden.store import Claim, GiveBack, NodeStart, Receipts, Store, StoreOptions, Work, Writer, open_store, schema
from jobwarden.store.dialects import dialect_for
from jobwarden.store.keeping.retention import Retention
from jobwarden.store.keeping.rounds import Rounds, Rules
from jobwarden.testing.store_contract.ground import empty

from .model import Model
from .model_job import DAY, FOREVER, SECOND, WRAPPED, Job, Limit

STEADY = Rules(retention=Retention(completed_days=None, ended_days=None), starvation_seconds=None)
"""Nothing is removed, and priorities are strict."""
START_US = 1_700_000_000 * SECOND
TYPES = ("a", "b", WRAPPED)
NODES = 2
_NAMES = {"group": "group_id", "dead_letter": "dead_letter_job_type"}


@dataclass(frozen=True)
class Spec:
    """A job to be added; `parents` are places: from 0 on among all jobs, below among those of the same call."""

    type: str = "a"
    priority: int = 0
    delay: int | None = None
    max_attempts: int | None = None
    retry_delay: float | None = None
    backoff: bool = True
    group: str | None = None
    tags: tuple[str, ...] = ()
    after_tags: tuple[str, ...] = ()
    parents: tuple[tuple[int, str], ...] = ()
    expires: int | None = None
    dead_letter: str | None = None
    key: str | None = None
    ttl: float | str | None = None


@dataclass(frozen=True)
class Row:
    """What the checks need of a row."""

    id: int
    type: str
    group: str | None
    status: str
    attempts: int
    max_attempts: int | None
    next_attempt_at: int | None
    ended_at: int | None
    ready: int | None
    due_at: int | None
    gate: str | None
    fence: int
    node_id: str | None
    wish: str | None
    pending_reason: str | None
    payload: str


_SHOWN = (
    "id job_type group_id status attempts max_attempts next_attempt_at ended_at ready due_at gate fence node_id wish "
    "pending_reason payload"
)
ROWS = select(*(schema.job.c[name] for name in _SHOWN.split())).order_by(schema.job.c.id)
HEARD = select(schema.event.c.id).order_by(schema.event.c.id)


class Stage:
    """One database for many histories: emptied between them, which spares each the making and the compiling of SQL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open()
        self._own = dialect_for(url, StoreOptions(synchronous="normal"))
        self._eye = self._own.engine.connect()
        self._events = Table("event", MetaData(), autoload_with=self._eye)
        self._eye.rollback()

    def _open(self) -> None:
        self.store: Store = open_store(self._url, StoreOptions(synchronous="normal"))
        self.writer: Writer = self.store.writer()

    def reopen(self) -> None:
        """As if every process had ended and come again."""
        self.writer.close()
        self.store.close()
        self._open()

    def empty(self) -> None:
        """As it was when it was made."""
        self._own.begin(self._eye, writing=True)
        empty(self._eye)
        self._eye.commit()

    def age_events(self) -> None:
        """Where a store holds young events back by its server's clock, they are old now: nobody waits for that."""
        if "written" in self._events.c:
            self._own.begin(self._eye, writing=True)
            self._eye.execute(self._events.update().values(written=to_datetime(START_US)))
            self._eye.commit()

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """A transaction of a connection that is none of the store's."""
        self._own.begin(self._eye, writing=False)
        try:
            yield self._eye
        finally:
            self._eye.rollback()

    def close(self) -> None:
        self._eye.close()
        self._own.close()
        self.writer.close()
        self.store.close()


class PlayedStore:
    """One history: some nodes, one clock."""

    def __init__(self, stage: Stage) -> None:
        stage.empty()
        self.stage = stage
        self.now = START_US
        self.model = Model(self.now)
        self.nodes: list[str] = []
        self.running: dict[int, ClaimedJob] = {}
        self.late: list[ClaimedJob] = []
        """Attempts that were superseded or have ended: whatever is said about them is refused."""
        self.cursor: str | None = None
        self.heard = 0
        self._numbers = iter(range(1, 10**9))
        for _ in range(NODES):
            self._join()

    @property
    def store(self) -> Store:
        return self.stage.store

    @property
    def writer(self) -> Writer:
        return self.stage.writer

    def _join(self) -> None:
        node_id = f"node-{next(self._numbers)}"
        start = NodeStart(
            node_id=node_id,
            name=node_id,
            host="host",
            boot_id="boot",
            pid=1,
            state_dir="state",
            lease_seconds=15.0,
            doorbell=None,
            version="0",
        )
        self.writer.register(start, now_us=self.now)
        served = msgspec.json.encode([{"jobType": each} for each in TYPES]).decode()
        self.writer.transact(Work(now_us=self.now, node_id=node_id, node_name=node_id, types=served))
        self.nodes.append(node_id)

    def pass_time(self, us: int) -> None:
        """The clock steps, perhaps back."""
        self.now += us
        self.model.latest = max(self.model.latest, self.now)

    # which job

    def pick(self, place: int, among: list[Job] | None = None) -> Job | None:
        """One of these jobs; None if there are none."""
        jobs = list(self.model.jobs.values()) if among is None else among
        return jobs[place % len(jobs)] if jobs else None

    def pick_running(self, place: int) -> ClaimedJob | None:
        """One of the running attempts."""
        jobs = list(self.running.values())
        return jobs[place % len(jobs)] if jobs else None

    # adding

    def add(self, specs: list[Spec]) -> None:
        """All of them in one call."""
        options = [self._options(spec, place, specs) for place, spec in enumerate(specs)]
        held = [self.model.holder(spec.key, self.now) if spec.key else None for spec in specs]
        known = set(self.model.jobs)
        ids = self.store.add(options, now_us=self.now)
        assert len(ids) == len(specs)
        fresh: dict[str, int] = {}
        new = []
        for spec, option, job_id, holder in zip(specs, options, ids, held, strict=True):
            wanted = holder if holder is not None else fresh.get(spec.key or "")
            if wanted is not None:
                assert job_id == wanted, f"the key {spec.key} is held by {wanted}"
                continue
            assert job_id not in known
            new.append(self._job(spec, option, job_id, ids))
            if spec.key is not None:
                fresh[spec.key] = job_id
                self.model.keys[spec.key] = (job_id, self._until(spec.ttl))
        self.model.added(new, self.now)

    def _until(self, ttl: float | str | None) -> int | None:
        if ttl is None:
            return None
        return FOREVER if isinstance(ttl, str) else self.now + int(ttl * SECOND)

    def _options(self, spec: Spec, place: int, specs: list[Spec]) -> JobOptions:
        jobs = list(self.model.jobs)
        wanted: dict[int, str] = {}
        for parent, rule in spec.parents:
            if parent >= 0 and jobs:
                wanted[jobs[parent % len(jobs)]] = rule
            elif parent < 0 and -parent <= place and specs[-parent - 1].key is None:
                wanted[parent] = rule
        return JobOptions(
            job_type=spec.type,
            priority=spec.priority,
            run_at=None if spec.delay is None else to_datetime(self.now + spec.delay * SECOND),
            max_attempts=spec.max_attempts,
            retry_delay=spec.retry_delay,
            retry_backoff=spec.backoff,
            group_id=spec.group,
            tags=list(spec.tags),
            depends_on=DependsOn(
                job_ids=[
                    Dependency.model_validate({"id": each, "onParentFailure": rule}) for each, rule in wanted.items()
                ],
                tags=list(spec.after_tags),
            ),
            expires_in=spec.expires,
            dead_letter_job_type=spec.dead_letter,
            idempotency_key=spec.key,
            idempotency_ttl=spec.ttl if spec.key else None,  # type: ignore[arg-type]
        )

    def _job(self, spec: Spec, option: JobOptions, job_id: int, ids: list[int]) -> Job:
        parents = {
            (each.id if each.id > 0 else ids[-each.id - 1]): str(each.on_parent_failure)
            for each in option.depends_on.job_ids
        }
        return Job(
            id=job_id,
            type=spec.type,
            run_at=self.now + (spec.delay or 0) * SECOND,
            group=spec.group,
            priority=spec.priority,
            max_attempts=spec.max_attempts,
            retry_delay=spec.retry_delay,
            retry_backoff=spec.backoff,
            tags=spec.tags,
            after_tags=spec.after_tags,
            parents=parents,
            expires=None if spec.expires is None else self.now + spec.expires * SECOND,
            dead_letter=spec.dead_letter,
        )

    # attempts

    def claim(self, node: int, types: list[str], limit: int, *, share: int | None = None) -> None:
        """One of the nodes asks for work; of each type it runs at most its `share` at once."""
        # No two claims in one microsecond.
        self.pass_time(1)
        node_id = self.nodes[node % len(self.nodes)]
        terms = tuple(TypeTerms(job_type=each, max_per_node=share) for each in types)
        claim = Claim(batch=f"batch-{next(self._numbers)}", limit=limit, types=terms)
        claimed = self._transact(node_id, claim=claim).claimed
        # A claim expires what is over, which may leave dead letters, which it may take at once.
        self.model.expire(self.now)
        self.adopt()
        assert not {job.id for job in claimed} & set(self.running)
        self.running.update((job.id, job) for job in claimed)
        taken = [(job.id, job.fence, job.attempts) for job in claimed]
        shares = {each: self._share(each, share) for each in types}
        self.model.claimed(taken, limit=limit, types=shares, node=node_id, now=self.now)

    def _share(self, job_type: str, share: int | None) -> int:
        limit = self.model.limits.get(("type", job_type))
        known = [each for each in (share, limit.per_node if limit else None) if each is not None]
        return min(known, default=FOREVER)

    def finish(self, job: ClaimedJob, outcome: str, *, permanent: bool = False, twice: bool = False) -> None:
        """The owner says how the attempt ended; perhaps twice in one transaction, and once more."""
        mine = self.model.jobs[job.id]
        node_id = mine.owner
        assert node_id is not None
        ending = self._ending(job, outcome, permanent=permanent)
        receipts = self._transact(node_id, endings=[ending] * (1 + twice))
        assert receipts.refused == []
        self.model.finished(mine, outcome, self.now, permanent=permanent)
        self._leave(job)
        if twice:
            (refusal,) = self._transact(node_id, endings=[ending]).refused
            assert (refusal.job_id, refusal.fence) == job.attempt

    def _ending(self, job: ClaimedJob, outcome: str, *, permanent: bool = False) -> Ending:
        if outcome == "succeeded":
            return complete(job, output='{"ok":true}', now_us=self.now)
        return end_attempt(job, Outcome(outcome), error="it broke", now_us=self.now, jitter=1.0, permanent=permanent)

    def finish_late(self, job: ClaimedJob, outcome: str, node: int) -> None:
        """Somebody whose attempt is over, or was never theirs, says how it ended: nothing may change."""
        before = self.rows()
        # The owner of a newer attempt, if there is one, has the best chance to be believed.
        newer = self.running.get(job.id)
        node_id = self.model.jobs[job.id].owner if newer else self.nodes[node % len(self.nodes)]
        assert node_id is not None
        receipts = self._transact(node_id, endings=[self._ending(job, outcome)])
        assert [(each.job_id, each.fence) for each in receipts.refused] == [job.attempt]
        assert self.rows() == before

    def give_back(self, job: ClaimedJob) -> None:
        """The attempt was never started."""
        mine = self.model.jobs[job.id]
        assert mine.owner is not None
        assert self._transact(mine.owner, give_backs=[GiveBack(job.id, job.fence)]).refused == []
        self.model.given_back(mine, self.now)
        self._leave(job)

    def lose_node(self, node: int) -> None:
        """A node has died; another one starts."""
        node_id = self.nodes.pop(node % len(self.nodes))
        lost = [job for job in self.running.values() if self.model.jobs[job.id].owner == node_id]
        assert self.writer.free_node(node_id, now_us=self.now, jitter=lambda: 1.0) == len(lost)
        for job in lost:
            mine = self.model.jobs[job.id]
            self.model.finished(mine, "cancelled" if mine.wished else "lost", self.now, follow=False)
            self._leave(job)
        self.model.follow(self.now)
        self._join()

    def _leave(self, job: ClaimedJob) -> None:
        del self.running[job.id]
        self.late.append(job)

    def _transact(self, node_id: str, **parts: Any) -> Receipts:
        return self.writer.transact(Work(now_us=self.now, node_id=node_id, node_name=node_id, **parts))

    def adopt(self) -> None:
        """Dead letters have come into being with the ends of their jobs."""
        for row in self.rows():
            if row.id not in self.model.jobs:
                assert row.type == WRAPPED, f"nobody added job {row.id}"
                origin = msgspec.json.decode(row.payload)["originalJob"]["id"]
                job = self.model.jobs[origin]
                job.letters -= 1
                assert job.letters >= 0, f"a second dead letter of job {origin}"
                self.model.jobs[row.id] = Job(id=row.id, type=WRAPPED, run_at=self.now)
        self.model.follow(self.now)

    def catch_up(self) -> list[Row]:
        """The rows once all that must follow has followed; only what is more than one level away may take a round."""
        self.adopt()
        if self.model.levels > 1:
            self.maintain()
            self.adopt()
        rows = self.rows()
        behind = [row for row in rows if row.gate in ("parents", "tags") and row.gate != self.model.jobs[row.id].gate]
        assert not behind, f"nobody settled {behind}"
        self.model.levels = 0
        assert not any(job.letters for job in self.model.jobs.values()), "a dead letter is missing"
        return rows

    def maintain(self, rules: Rules = STEADY) -> None:
        """A round of maintenance."""
        rounds = Rounds(rules)
        rounds.begin()
        while not rounds.is_over():
            self.writer.step_round(rounds, now_us=self.now)
        self.model.expire(self.now)

    # people

    def cancel(self, job: Job) -> None:
        """Somebody cancels it, whatever it does."""
        if not job.live:
            with pytest.raises(JobStateError):
                self.store.cancel(job.id, now_us=self.now)
        elif job.status == "processing":
            assert self.store.cancel(job.id, now_us=self.now) == "asked"
            job.wished = True
        else:
            assert self.store.cancel(job.id, now_us=self.now) == "cancelled"
            self.model.cancelled([job], self.now)

    def retry(self, job: Job) -> None:
        """Somebody wants it to run again."""
        if job.status not in ("failed", "cancelled"):
            with pytest.raises(JobStateError):
                self.store.retry(job.id, now_us=self.now)
            return
        self.store.retry(job.id, now_us=self.now)
        self.model.retried([job], self.now)

    def edit(self, job: Job, changes: dict[str, Any]) -> None:
        """Somebody changes it."""
        wanted = dict(changes)
        if "run_at" in wanted:
            wanted["run_at"] = to_datetime(self.now + wanted["run_at"] * SECOND)
        named = {_NAMES.get(name, name): list(value) if name == "tags" else value for name, value in wanted.items()}
        spent = (changes.get("max_attempts") or FOREVER) <= job.attempts
        if spent or not job.free:
            with pytest.raises(InvalidJobError if job.free else JobStateError):
                self.store.bulk.edit(job.id, JobChanges.parse(**named), now_us=self.now)
            return
        self.store.bulk.edit(job.id, JobChanges.parse(**named), now_us=self.now)
        if "run_at" in changes:
            changes = {**changes, "run_at": self.now + changes["run_at"] * SECOND}
        self.model.edited(job, changes, self.now)

    def remove(self, job: Job) -> None:
        """Somebody takes it out."""
        if job.status == "processing":
            with pytest.raises(JobStateError):
                self.store.bulk.remove(job.id, now_us=self.now)
            return
        self.store.bulk.remove(job.id, now_us=self.now)
        self.model.removed([job], self.now)

    def cancel_all(self, job_type: str, *, running: bool) -> None:
        """Somebody cancels all jobs of a type."""
        mine = [job for job in self.model.jobs.values() if job.type == job_type and job.live]
        changed = self.store.bulk.cancel_all(JobFilter(job_type=[job_type]), now_us=self.now, running=running)
        free = [job for job in mine if job.free]
        assert (sorted(changed.ids), changed.running) == ([job.id for job in free], len(mine) - len(free))
        for job in mine:
            job.wished = job.wished or (running and not job.free)
        self.model.cancelled(free, self.now)

    def retry_all(self, job_type: str) -> None:
        """Somebody wants all failed and cancelled jobs of a type to run again, having looked which."""
        wanted = JobFilter(job_type=[job_type])
        mine = [j for j in self.model.jobs.values() if j.type == job_type and j.status in ("failed", "cancelled")]
        for dry_run in (True, False):
            assert sorted(self.store.bulk.retry_all(wanted, now_us=self.now, dry_run=dry_run)) == [j.id for j in mine]
        self.model.retried(mine, self.now)

    def clear(self, job_type: str) -> None:
        """Somebody takes out all jobs of a type that do not run."""
        mine = [job for job in self.model.jobs.values() if job.type == job_type]
        gone = [job for job in mine if job.status != "processing"]
        changed = self.store.bulk.clear(JobFilter(job_type=[job_type]), now_us=self.now)
        assert (sorted(changed.ids), changed.running) == ([job.id for job in gone], len(mine) - len(gone))
        self.model.removed(gone, self.now)

    def clean_up(self, days: int) -> None:
        """Somebody removes what has ended long ago; what is retrying has not."""
        old = [job for job in self.model.jobs.values() if (job.ended_at or FOREVER) <= self.now - days * DAY]
        removed = self.store.upkeep.cleanup_old_jobs(days, self.now)
        assert removed == len(old), (
            f"of {[job.id for job in old]} {removed} went, not {[row.id for row in self.rows()]}"
        )
        self.model.removed(old, self.now, by_age=True)

    def reclaim(self, minutes: float) -> None:
        """Somebody thinks that jobs are stuck: living nodes are asked, and nothing is freed."""
        since = self.now - minutes * 60 * SECOND
        old = [
            job_id for job_id, job in self.model.jobs.items() if job.owner and job.claimed <= since and not job.wished
        ]
        reclaimed = self.store.upkeep.reclaim_stuck_jobs(minutes, self.now)
        assert (reclaimed.freed, reclaimed.asked) == ([], old)

    # operators

    def set_limit(self, scope: str, name: str, limits: dict[str, int | None]) -> None:
        """A type or group is limited, or limited otherwise."""
        self.store.controls.set_limit(scope, name, now_us=self.now, **limits)
        limit = self.model.limits.setdefault((scope, name), Limit())
        if "max_running" in limits:
            limit.running = limits["max_running"]
        if "max_per_node" in limits:
            limit.per_node = limits["max_per_node"]
        if "rate" in limits:
            limit.rate, limit.window = limits["rate"], (limits["rate_seconds"] or 0) * SECOND
            self.model.count_starts_anew()

    def clear_limits(self, scope: str, name: str) -> None:
        """All limits of a type or group are taken away."""
        self.store.controls.clear_limits(scope, name, now_us=self.now)
        self.model.limits.pop((scope, name), None)
        self.model.count_starts_anew()

    def pause(self, job_type: str | None, seconds: int | None) -> None:
        """A type, or everything, is held back."""
        until = None if seconds is None else self.now + seconds * SECOND
        self.store.controls.pause(job_type, reason="maintenance", until_us=until, now_us=self.now)
        self.model.paused[job_type or "*"] = until

    def resume(self, job_type: str | None) -> None:
        """A type, or everything, goes on."""
        assert self.store.controls.resume(job_type, now_us=self.now) == self.model.holds_back(job_type or "*", self.now)
        self.model.paused.pop(job_type or "*", None)

    # the end

    def open_all_doors(self) -> None:
        """Nothing but its prerequisites keeps a job any more."""
        for name in list(self.model.paused):
            self.resume(None if name == "*" else name)
        for lane in list(self.model.limits):
            self.clear_limits(*lane)
        self.pass_time(2 * DAY)

    def work_off(self) -> bool:
        """Complete what runs, then take what is there; whether there was anything."""
        for job in list(self.running.values()):
            self.finish(job, "succeeded")
        self.claim(0, list(TYPES), 100)
        return bool(self.running)

    # looking

    def explain(self, job: Job) -> None:
        """Somebody asks why it does not run: there is a reason, and it is true."""
        if not job.live:
            return
        self._transact(self.nodes[-1], report="{}")
        kinds = {str(reason.kind) for reason in self.store.controls.explain(job.id, now_us=self.now).reasons}
        wanted = _reasons(self.model, job, self.now)
        assert wanted <= kinds, f"of job {job.id} {wanted} is true, {kinds} is told"
        untrue = kinds & {"waits_for_job", "waits_for_tags", "paused", "not_due", "expired", "running"} - wanted
        assert not untrue, f"of job {job.id} {untrue} is told"
        assert kinds - {"expires"}, f"nothing is said of job {job.id}"
        if "ready" in kinds:
            assert kinds <= {"ready", "expires"}
            assert self.model.claimable(job, TYPES, self.now, once=self.model.latest)
            # On new nodes, as many as it takes: of some types each may run only a few.
            running = -1
            while running < len(self.running) and job.free:
                running = len(self.running)
                self._join()
                self.claim(-1, [job.type], 100)
            # In a lane another one may be next of those that are due.
            assert job.status == "processing" or self.model.lanes_of(job), f"job {job.id} was told to be ready"

    def count(self) -> None:
        """What the store counts is what is there."""
        assert self.store.counts() == _counts(self.model)

    def listen(self, limit: int, *, to_the_end: bool = False) -> None:
        """Somebody who follows all events hears each of them once, in order; of some stores, a moment later."""
        with self.stage.looking() as eye:
            there = list(eye.scalars(HEARD.where(schema.event.c.id > self.heard)))
        heard: list[int] = []
        if to_the_end:
            self.stage.age_events()
        while (events := self.store.feed.after(self.cursor, limit=limit)) or (to_the_end and len(heard) < len(there)):
            heard += [event.id for event in events]
            self.cursor = events[-1].cursor if events else self.cursor
        assert heard == there[: len(heard)]
        self.heard = max(heard, default=self.heard)

    def rows(self) -> list[Row]:
        with self.stage.looking() as eye:
            return [Row(*row) for row in eye.execute(ROWS)]


def _reasons(model: Model, job: Job, now: int) -> set[str]:
    """What `explain` must say of a job that has not ended."""
    if job.status == "processing":
        return {"running"}
    found = {"parents": {"waits_for_job"}, "tags": {"waits_for_tags"}}.get(job.gate or "", set())
    told = {"paused": model.is_paused(job.type, now), "not_due": job.due > now, "expired": job.expired(now)}
    return found | {name for name, true in told.items() if true}


def _counts(model: Model) -> dict[str, dict[str, int]]:
    """As the store shows them."""
    found: dict[str, Counter[str]] = {}
    for job in model.jobs.values():
        status = "retrying" if job.status == "failed" and job.live else job.status
        found.setdefault(job.type, Counter())[status] += 1
    return {job_type: dict(counted) for job_type, counted in found.items()}
