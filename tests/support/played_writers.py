"""One of several processes that do everything to one store at once: `python -m tests.support.played_writers`.

Arguments: URL, seed, number of steps, name of the node. Prints `ready`, waits for a line, plays, and prints one JSON
object: how often each verb was told that others were in the way, and the most jobs of `EXACT` that were seen to run.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from typing import Any

from sqlalchemy import func, select, text

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.errors import InvalidJobError, JobStateError, StoreContendedError, StoreUnavailableError, UnknownJobError
from jobwarden.jobs import ClaimedJob, JobChanges, JobFilter, JobOptions, Outcome, TypeTerms, complete, end_attempt
from jobwarden.store import Claim, GiveBack, NodeStart, StoreOptions, Work, open_store
from jobwarden.store.keeping.retention import Retention
from jobwarden.store.keeping.rounds import Rounds, Rules
from jobwarden.store.schema import job

TYPES = ("work", "mail", "scan")
EXACT = "exact"
MOST_EXACT = 3
GROUPS = (None, None, EXACT, "loose", "other")
RULES = Rules(retention=Retention(completed_days=0, ended_days=0), starvation_seconds=0)


class Player:
    """One node and one client in one process; `steps` are what it may do."""

    def __init__(self, url: str, seed: int, node: str) -> None:
        self.store = open_store(url, StoreOptions(synchronous="normal", lock_timeout_seconds=20))
        self.writer = self.store.writer()
        self.draw = random.Random(seed)
        self.node = node
        self.held: list[ClaimedJob] = []
        self.rounds = Rounds(RULES)
        self.told: Counter[str] = Counter()
        self.most_exact = 0
        self.batches = 0
        self.steps = [
            *[self.add] * 6, *[self.claim] * 6, *[self.finish] * 6, *[self.maintain] * 3,
            self.add_linked, self.add_linked, self.cancel, self.retry, self.edit, self.remove, self.cancel_many,
            self.retry_many, self.edit_many, self.clear, self.limit, self.pause, self.replay, self.reclaim,
        ]  # fmt: skip
        start = NodeStart(
            node_id=node, name=f"{node}:1", host=node, boot_id=node, pid=1, state_dir=".", lease_seconds=15.0,
            doorbell=None, version="0.1.0",
        )  # fmt: skip
        self.writer.register(start, now_us=self.now_us)

    @property
    def now_us(self) -> int:
        return SYSTEM_CLOCK.now_us()

    def play(self, steps: int) -> None:
        for _ in range(steps):
            step = self.draw.choice(self.steps)
            try:
                step()
            except StoreContendedError:
                self.told[f"contended {step.__name__}"] += 1
            except StoreUnavailableError as error:
                self.told[f"{step.__name__}: {error.problem}"] += 1
            except (JobStateError, UnknownJobError, InvalidJobError):
                pass

    def leave(self) -> None:
        """Everything that is held is given back."""
        while self.held:
            self._transact(give_backs=[GiveBack(each.id, each.fence) for each in self.held])
            self.held = []
        self.writer.close()
        self.store.close()

    # clients

    def add(self) -> None:
        options = [
            JobOptions(
                job_type=self.draw.choice(TYPES),
                payload=0,
                group_id=self.draw.choice(GROUPS),
                priority=self.draw.choice((0, 0, 5)),
                tags=self.draw.sample(("a", "b"), self.draw.randint(0, 2)),
                idempotency_key=self.draw.choice((None, None, *"klm")),
                max_attempts=self.draw.choice((1, 3)),
                retry_delay=0,
                expires_in=self.draw.choice((None, None, 0.05)),
                dead_letter_job_type=self.draw.choice((None, "scan")),
            )
            for _ in range(self.draw.choice((1, 1, 4)))
        ]
        self.store.add(options, now_us=self.now_us)

    def add_linked(self) -> None:
        parents: list[Any] = self._some(3)
        rule = self.draw.choice(("cancel", "run", "fail"))
        depends: dict[str, Any] = {"job_ids": [{"id": each, "onParentFailure": rule} for each in parents]}
        if self.draw.random() < 0.4:
            depends = {"tags": self.draw.choice((["a"], ["a", "b"]))}
        first = JobOptions.model_validate(
            {"job_type": "work", "depends_on": depends, "group_id": self.draw.choice(GROUPS), "max_attempts": 1}
        )
        second = JobOptions.model_validate({"job_type": "mail", "depends_on": {"job_ids": [-1]}})
        self.store.add([first, second], now_us=self.now_us)

    # people

    def cancel(self) -> None:
        for each in self._some(1):
            self.store.cancel(each, now_us=self.now_us)

    def retry(self) -> None:
        for each in self._some(1):
            self.store.retry(each, now_us=self.now_us, with_dependents=self.draw.random() < 0.5)

    def edit(self) -> None:
        for each in self._some(1):
            self.store.bulk.edit(each, self._changes(), now_us=self.now_us)

    def remove(self) -> None:
        for each in self._some(1):
            self.store.bulk.remove(each, now_us=self.now_us)

    def cancel_many(self) -> None:
        self.store.bulk.cancel_all(self._filter(), now_us=self.now_us, running=self.draw.random() < 0.5)

    def retry_many(self) -> None:
        self.store.bulk.retry_all(self._filter(), now_us=self.now_us)

    def edit_many(self) -> None:
        self.store.bulk.edit_all(self._filter(), self._changes(), now_us=self.now_us)

    def clear(self) -> None:
        self.store.bulk.clear(self._filter(), now_us=self.now_us)

    def replay(self) -> None:
        self.store.bulk.replay_dead_letters(self._filter(), now_us=self.now_us)

    def reclaim(self) -> None:
        self.store.upkeep.reclaim_stuck_jobs(0, self.now_us)

    def limit(self) -> None:
        scope, name = self.draw.choice((("group", "loose"), ("type", "mail"), ("group", "*"), ("type", "scan")))
        most = self.draw.choice((None, 0, 2, 5))
        rate = self.draw.choice(({}, {}, {"rate": 50, "rate_seconds": 1.0}, {"rate": None, "rate_seconds": None}))
        if self.draw.random() < 0.3:
            self.store.controls.clear_limits(scope, name, now_us=self.now_us)
        else:
            self.store.controls.set_limit(scope, name, max_running=most, now_us=self.now_us, **rate)

    def pause(self) -> None:
        name = self.draw.choice(TYPES)
        if self.draw.random() < 0.6:
            self.store.controls.resume(name, now_us=self.now_us)
        else:
            self.store.controls.pause(name, until_us=self.now_us + 50_000, now_us=self.now_us)

    # the node

    def claim(self) -> None:
        self.batches += 1
        terms = tuple(TypeTerms(job_type=each) for each in TYPES)
        self._transact(claim=Claim(batch=f"{self.node}-{self.batches}", limit=self.draw.randint(1, 5), types=terms))
        with self.store._reading() as connection:  # noqa: SLF001 - one state, for counting
            running = select(func.count()).where(job.c.group_id == EXACT, text("status = 'processing'"))
            self.most_exact = max(self.most_exact, connection.execute(running).scalar_one())

    def finish(self) -> None:
        some = [self.held.pop(self.draw.randrange(len(self.held))) for _ in range(min(len(self.held), 4))]
        kinds = (Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.FAILED, None)
        endings, back = [], []
        for each in some:
            kind = self.draw.choice(kinds)
            if kind is None:
                back.append(GiveBack(each.id, each.fence))
            elif kind is Outcome.SUCCEEDED:
                endings.append(complete(each, output="1", now_us=self.now_us))
            else:
                endings.append(end_attempt(each, kind, error="no", now_us=self.now_us, jitter=1.0))
        try:
            self._transact(endings=endings, give_backs=back)
        except StoreUnavailableError:
            self.held += some
            raise

    def maintain(self) -> None:
        if self.rounds.is_over():
            self.rounds.begin()
        self.writer.step_round(self.rounds, now_us=self.now_us)

    def _transact(self, **parts: Any) -> None:
        work = Work(now_us=self.now_us, node_id=self.node, node_name=f"{self.node}:1", report="{}", **parts)
        self.held += self.writer.transact(work).claimed

    def _some(self, most: int) -> list[int]:
        with self.store._reading() as connection:  # noqa: SLF001 - any will do
            newest = connection.execute(select(func.max(job.c.id))).scalar() or 0
            near = select(job.c.id).where(job.c.id > newest - 60)
            ids = list(connection.execute(near).scalars())
        return self.draw.sample(ids, min(len(ids), most))

    def _changes(self) -> JobChanges:
        return self.draw.choice(
            (
                JobChanges.parse(priority=self.draw.randint(-3, 3)),
                JobChanges.parse(tags=self.draw.sample(("a", "b"), 1)),
                JobChanges.parse(group_id=self.draw.choice(GROUPS)),
                JobChanges.parse(run_at=None),
            )
        )

    def _filter(self) -> JobFilter:
        return self.draw.choice(
            (
                JobFilter.parse(job_type=[self.draw.choice(TYPES)]),
                JobFilter.parse(status=[self.draw.choice(("failed", "cancelled", "completed", "pending"))]),
                JobFilter.parse(tags=["a"]),
                JobFilter.parse(ids=self._some(10) or [1]),
            )
        )


def main() -> None:
    """Play."""
    url, seed, steps, node = sys.argv[1:]
    player = Player(url, int(seed), node)
    _say("ready")
    sys.stdin.readline()
    player.play(int(steps))
    player.leave()
    _say(json.dumps({"told": player.told, "most_exact": player.most_exact}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
