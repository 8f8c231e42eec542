"""What the store must do, in plain Python: no SQL, no clock, none of the product's code.

`Model` is told each verb and what the store answered, asserts that the answer is one of those that the design
allows (sections 2, 6 and 7), and says what every job must look like afterwards. Consequences (dependents, barriers)
are worked out at once and to their end; the store may need a repair pass for the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from typing import Any

from .model_job import DAY, FOREVER, SECOND, Job, Lane, Limit

KEY_HOLDS_AFTER_END = 7 * DAY


class Model:
    """All jobs, keys and controls."""

    def __init__(self, now: int) -> None:
        self.jobs: dict[int, Job] = {}
        self.gone: set[int] = set()
        self.keys: dict[str, tuple[int, int | None]] = {}
        self.limits: dict[Lane, Limit] = {}
        self.starts: dict[Lane, list[tuple[int, int]]] = {}
        """(job, moment) of each start in a lane with a rate; those that were given back are taken out."""
        self.paused: dict[str, int | None] = {}
        self.outcomes: dict[tuple[int, int], str] = {}
        self.levels = 0
        """Of consequences, since this was last set to 0: the store does one at once, the rest in its repair pass."""
        self.latest = now
        """The latest time that was ever told: a job that was due once may stay ready when the clock steps back."""

    # adding

    def holder(self, key: str, now: int) -> int | None:
        """The job that holds this key."""
        job_id, until = self.keys.get(key, (0, 0))
        if until is not None:
            return job_id if until > now else None
        held = self.jobs.get(job_id)
        if held is None:
            return None
        return job_id if held.ended_at is None or held.ended_at > now - KEY_HOLDS_AFTER_END else None

    def added(self, jobs: Iterable[Job], now: int) -> None:
        """These were accepted."""
        for job in jobs:
            assert job.id not in self.jobs
            assert job.id not in self.gone
            self.jobs[job.id] = job
        self.follow(now)

    # attempts

    def claimable(self, job: Job, types: Container[str], now: int, *, once: int = 0) -> bool:
        """Whether nothing but a lane stands between this job and a node that serves these types.

        `once`: a time that has been; the clock may have stepped back since the job was due.
        """
        ready = job.free and job.gate is None and job.due <= max(now, once) and not job.expired(now)
        return ready and job.type in types and not self.is_paused(job.type, now)

    def is_paused(self, job_type: str, now: int) -> bool:
        """Whether an operator holds this type back."""
        return self.holds_back(job_type, now) or self.holds_back("*", now)

    def holds_back(self, name: str, now: int) -> bool:
        """Whether there is a pause under this name."""
        return name in self.paused and (self.paused[name] or FOREVER) > now

    def claimed(
        self, taken: list[tuple[int, int, int]], *, limit: int, types: dict[str, int], node: str, now: int
    ) -> None:
        """The store handed over these (id, fence, attempts), in this order; `types`: how many of each it may run."""
        self.expire(now)
        self.paused = {name: until for name, until in self.paused.items() if until is None or until > now}
        jobs = [self.jobs[job_id] for job_id, _, _ in taken]
        self._assert_choice(jobs, limit=limit, types=types, node=node, now=now)
        for job, (_, fence, attempts) in zip(jobs, taken, strict=True):
            self._start(job, fence=fence, node=node, now=now)
            assert attempts == job.attempts
        for job in jobs:
            for lane in self.lanes_of(job):
                self.assert_limit(lane, now)

    def _assert_choice(self, jobs: list[Job], *, limit: int, types: dict[str, int], node: str, now: int) -> None:
        assert len(set(jobs)) == len(jobs) <= limit
        for job in jobs:
            assert self.claimable(job, types, now, once=self.latest), f"job {job.id} must not start now"
        here = Counter(job.type for job in self.jobs.values() if job.owner == node or job in jobs)
        full = {name for name, most in types.items() if here[name] >= most}
        assert not any(here[job.type] > types[job.type] for job in jobs), f"too many jobs of a type on {node}"
        waiting = [job for job in self.jobs.values() if job not in jobs and self.claimable(job, types, now)]
        passed_over = [job for job in waiting if job.type not in full and not self.lanes_of(job)]
        if self.levels > 1:  # what the claim expired has consequences that the store has not worked out yet
            return
        if len(jobs) < limit:
            assert not passed_over, f"jobs {[job.id for job in passed_over]} were passed over"
        if jobs and passed_over:
            assert max(job.order for job in jobs) < min(job.order for job in passed_over), "another job was first"

    def _start(self, job: Job, *, fence: int, node: str, now: int) -> None:
        assert job.fence is None or fence > job.fence
        job.status, job.owner, job.fence = "processing", node, fence
        job.first, job.started = not job.started, True
        job.claimed = now
        job.attempts += 1
        job.max_attempts = 3 if job.max_attempts is None else job.max_attempts
        job.retry_delay = 60.0 if job.retry_delay is None else job.retry_delay
        assert job.attempts <= job.max_attempts
        job.events.append("processing")
        for lane in self.lanes_of(job):
            self.starts.setdefault(lane, []).append((job.id, now))

    def finished(self, job: Job, outcome: str, now: int, *, permanent: bool = False, follow: bool = True) -> None:
        """An outcome of the current attempt was accepted."""
        assert (job.id, job.fence or 0) not in self.outcomes
        self.outcomes[job.id, job.fence or 0] = outcome
        crash, back = outcome in ("crashed", "memory_exceeded"), outcome in ("interrupted", "lost")
        job.crashes, job.interruptions = job.crashes + crash, job.interruptions + back
        job.lost = job.lost + 1 if outcome == "lost" else 0
        job.attempts -= back and job.interruptions <= 20
        job.quarantined = (crash and job.crashes >= 3) or job.lost >= 5
        job.owner = None
        if outcome in ("succeeded", "cancelled"):
            self._end(job, "completed" if outcome == "succeeded" else "cancelled", now)
        elif permanent or job.quarantined or job.attempts >= (job.max_attempts or 3):
            self._end(job, "failed", now)
        elif back:
            job.status, job.due = "pending", now
            job.events.append("reclaimed")
        else:
            delay = (job.retry_delay or 0) * (2**job.attempts if job.retry_backoff else 1)
            job.status, job.due = "failed", now + int(delay * SECOND)
            job.events.append("failed")
        self.obey(job, now)
        if follow:
            self.follow(now)

    def given_back(self, job: Job, now: int) -> None:
        """The attempt never began: it is taken off, without an event."""
        job.attempts -= 1
        job.status, job.owner, job.started = "pending", None, not job.first
        job.due = min(job.run_at, now)
        for starts in self.starts.values():
            mine = [each for each in starts if each[0] == job.id]
            if mine:
                starts.remove(mine[-1])
        self.obey(job, now)
        self.follow(now)

    def obey(self, job: Job, now: int) -> None:
        """A cancel that was wished while it ran holds for a job that came free in another way."""
        if job.wished and job.free:
            self._end(job, "cancelled", now)
        job.wished = job.wished and job.live

    # people

    def cancelled(self, jobs: Iterable[Job], now: int) -> None:
        """Free jobs were cancelled."""
        for job in jobs:
            assert job.free
            self._end(job, "cancelled", now)
        self.follow(now)

    def retried(self, jobs: list[Job], now: int) -> None:
        """Failed, cancelled or retrying jobs were sent on their way again."""
        for job in jobs:
            self._revive(job, now)
        self.follow(now)
        for job in jobs:
            if job.gate:
                job.due = job.run_at

    def _revive(self, job: Job, now: int) -> None:
        job.status, job.due, job.ended_at = "pending", now, None
        job.crashes = job.interruptions = job.lost = 0
        job.quarantined = False
        job.expires = None if job.expires is None or job.expires <= now else job.expires
        job.passed_tags = False
        job.parents, job.missed = {**job.parents, **job.missed}, {}
        if job.attempts >= (job.max_attempts or 3):
            job.max_attempts = job.attempts + 1
        job.events.append("retried")

    def removed(self, jobs: Iterable[Job], now: int, *, by_age: bool = False) -> None:
        """They are no more; whoever waited for one sees it cancelled, unless it had ended. Age frees no key."""
        for job in (gone := list(jobs)):
            if job.live:
                self._end(job, "cancelled", now)
        self.follow(now)
        for job in gone:
            del self.jobs[job.id]
            self.gone.add(job.id)
            for name, (holder, until) in list(self.keys.items()):
                if holder == job.id and until is None and by_age:
                    self.keys[name] = (holder, (job.ended_at or now) + KEY_HOLDS_AFTER_END)
                elif holder == job.id and until is None:
                    del self.keys[name]

    def edited(self, job: Job, changes: dict[str, Any], now: int) -> None:
        """A free job has other options now; None is their default."""
        for name, value in changes.items():
            setattr(job, name, value)
        if "run_at" in changes and job.status == "pending":
            job.due = job.run_at
        if "max_attempts" in changes and job.max_attempts is None and job.attempts:
            job.max_attempts = max(3, job.attempts + 1)
        job.events.append("edited")
        self.follow(now)

    def expire(self, now: int) -> None:
        """What was not started in time is cancelled."""
        for job in list(self.jobs.values()):
            if job.expired(now):
                self._end(job, "cancelled", now)
        self.follow(now)

    # consequences

    def _end(self, job: Job, status: str, now: int) -> None:
        job.status, job.ended_at, job.owner, job.wished = status, now, None, False
        job.events.append(status)
        if status == "failed" and job.dead_letter is not None and not job.lettered:
            job.lettered = True
            job.letters += 1
            job.events.append("dead_lettered")

    def follow(self, now: int) -> None:
        """Settle dependents and open barriers, one level after the other, until nothing changes any more."""
        while True:
            over = [
                (job, each, job.live)
                for job in self.jobs.values()
                for each in sorted(job.parents)
                if self.is_over(each)
            ]
            for job, parent, was_there in over:
                self._settle(job, parent, was_there=was_there, now=now)
            passing = [job for job in self.jobs.values() if job.gate == "tags" and self.blocker(job) is None]
            for job in passing:
                job.passed_tags = True
            self.levels += bool(over)
            if not over and not passing:
                return

    def is_over(self, job_id: int) -> bool:
        """Whether this prerequisite has ended or is gone."""
        job = self.jobs.get(job_id)
        return job is None or not job.live

    def _settle(self, job: Job, parent_id: int, *, was_there: bool, now: int) -> None:
        rule = job.parents.pop(parent_id)
        parent = self.jobs.get(parent_id)
        if rule == "run" or (parent is not None and parent.status == "completed"):
            return
        if not was_there:
            job.missed[parent_id] = rule
        elif job.live:
            self._end(job, "cancelled" if rule == "cancel" else "failed", now)

    def blocker(self, job: Job) -> Job | None:
        """The first earlier job that has not ended and carries all the tags for which this one waits."""
        if not job.after_tags:
            return None
        earlier = (self.jobs[each] for each in sorted(self.jobs) if each < job.id)
        return next((each for each in earlier if each.live and set(job.after_tags) <= set(each.tags)), None)

    # lanes

    def limit_of(self, lane: Lane) -> Limit | None:
        """What holds for this type or group: its own row, or that for all groups without one."""
        return self.limits.get(lane) or (self.limits.get(("group", "*")) if lane[0] == "group" else None)

    def count_starts_anew(self) -> None:
        """Limits have changed: jobs that were started before may not have been counted where they count now."""
        self.starts.clear()

    def lanes_of(self, job: Job) -> list[Lane]:
        """The limits under which this job stands."""
        names = [("type", job.type), *([("group", job.group)] if job.group is not None else [])]
        found = [(name, self.limit_of(name)) for name in names]
        return [name for name, limit in found if limit and (limit.running is not None or limit.rate is not None)]

    def assert_limit(self, lane: Lane, now: int) -> None:
        """No more than the limit run after a start in this lane, and no more than the rate were started."""
        limit = self.limit_of(lane)
        assert limit is not None
        running = [job for job in self.jobs.values() if job.status == "processing" and lane in self.lanes_of(job)]
        assert limit.running is None or len(running) <= limit.running, f"{len(running)} run in {lane}"
        recent = [moment for _, moment in self.starts.get(lane, []) if moment > now - limit.window]
        assert limit.rate is None or len(recent) <= limit.rate, f"{len(recent)} starts in {lane} within its window"
