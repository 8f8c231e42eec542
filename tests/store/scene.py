"""A store with a registered node and a clock set by hand: what the tests of this folder act on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobwarden.clock import SECOND_US
from jobwarden.jobs import ClaimedJob, JobEvent, JobOptions, JobRecord, Outcome, TypeTerms, complete, end_attempt
from jobwarden.store import Claim, GiveBack, NodeStart, Receipts, Store, Work

START_US = 1_700_000_000 * SECOND_US
NODE = "node-1"
NAME = "host:1"


class Scene:
    """Speaks to the store as client and as daemon; every step of a daemon takes one second."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.writer = store.writer()
        self.now_us = START_US
        self.tampered = False
        """Whether the test wrote into the tables past all verbs; then nothing is promised of them."""
        self._batches = 0
        self.register(NODE, NAME)

    def register(self, node_id: str, name: str) -> None:
        start = NodeStart(
            node_id=node_id,
            name=name,
            host="host",
            boot_id="boot",
            pid=1,
            state_dir="state",
            lease_seconds=15.0,
            doorbell=None,
            version="0.1.0",
        )
        self.writer.register(start, now_us=self.now_us)

    def pass_seconds(self, seconds: float) -> None:
        self.now_us += int(seconds * SECOND_US)

    def add(self, job_type: str = "work", **fields: Any) -> int:
        return self.store.add([JobOptions(job_type=job_type, **fields)], now_us=self.now_us)[0]

    def transact(self, *, node: str = NODE, name: str = NAME, **parts: Any) -> Receipts:
        self.pass_seconds(1)
        return self.writer.transact(Work(now_us=self.now_us, node_id=node, node_name=name, **parts))

    def claim(
        self, limit: int = 100, *, types: Iterable[str | TypeTerms] = ("work",), node: str = NODE, name: str = NAME
    ) -> list[ClaimedJob]:
        self._batches += 1
        terms = tuple(TypeTerms(job_type=each) if isinstance(each, str) else each for each in types)
        claim = Claim(batch=f"batch-{self._batches}", limit=limit, types=terms)
        return self.transact(node=node, name=name, claim=claim).claimed

    def add_and_claim(self, **fields: Any) -> ClaimedJob:
        """A new job, running."""
        job_id = self.add(**fields)
        (job,) = self.claim()
        assert job.id == job_id
        return job

    def complete(self, job: ClaimedJob, output: str | None = '{"ok":true}', **parts: Any) -> Receipts:
        return self.transact(endings=[complete(job, output=output, now_us=self.now_us)], **parts)

    def end(self, job: ClaimedJob, outcome: Outcome = Outcome.FAILED, error: str = "it broke", **rule: Any) -> Receipts:
        ending = end_attempt(job, outcome, error=error, now_us=self.now_us, jitter=1.0, **rule)
        return self.transact(endings=[ending])

    def give_back(self, job: ClaimedJob) -> Receipts:
        return self.transact(give_backs=[GiveBack(job.id, job.fence)])

    def supersede(self, job: ClaimedJob) -> ClaimedJob:
        """The same job, running again on the same node under a higher fence; `job` is now a late owner's."""
        self.give_back(job)
        (newer,) = self.claim()
        assert (newer.id, newer.fence) == (job.id, job.fence + 2)
        return newer

    def get(self, job_id: int) -> JobRecord:
        record = self.store.get(job_id)
        assert record is not None
        return record

    def event_types(self, job_id: int) -> list[str]:
        return [event.type for event in self.store.events(job_id)]

    def last_event(self, job_id: int) -> JobEvent:
        return self.store.events(job_id)[-1]
