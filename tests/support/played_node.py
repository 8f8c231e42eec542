"""Plays a daemon towards a store: claims jobs, reports progress, obeys wishes and ends attempts, on a test's word.

For tests of whoever talks to daemons through the store; nothing runs here.
"""

from __future__ import annotations

from typing import Self

import msgspec

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.jobs import AttemptFacts, ClaimedJob, Ending, Outcome, TypeTerms, complete, end_attempt
from jobwarden.store import Claim, NodeStart, ProgressNote, Receipts, Work, open_store

NODE_ID = "played"
NAME = "testhost:4711"


class PlayedNode:
    """A registered node on the store at `url`; a context manager. Use it from one thread at a time."""

    def __init__(self, url: str, *, types: tuple[str, ...] = ("digest",)) -> None:
        self._store = open_store(url)
        self._writer = self._store.writer()
        self._claimed: dict[int, ClaimedJob] = {}
        self._terms = tuple(TypeTerms(job_type=name) for name in types)
        start = NodeStart(
            node_id=NODE_ID,
            name=NAME,
            host="testhost",
            boot_id="boot",
            pid=4711,
            state_dir="state",
            lease_seconds=15.0,
            doorbell=None,
            version="0.1.0",
        )
        self._writer.register(start, now_us=SYSTEM_CLOCK.now_us())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._store.close()

    def take(self, *, limit: int = 1) -> list[ClaimedJob]:
        """Claim ready jobs."""
        return self._do(claim=Claim(batch="batch", limit=limit, types=self._terms)).claimed

    def take_one(self) -> ClaimedJob:
        """Claim the next job, which must be there."""
        (job,) = self.take()
        return job

    def tell(self, report: dict[str, object]) -> None:
        """Beat, and say this of itself in `status`."""
        self._do(report=msgspec.json.encode(report).decode())

    def progress(self, job: ClaimedJob, percent: float) -> None:
        """Report the progress of a claimed job."""
        self._do(progress=[ProgressNote(job.id, job.fence, percent)])

    def complete(
        self, job: ClaimedJob, *, output: str | None = None, facts: AttemptFacts | None = None, ring: bool = True
    ) -> None:
        """The job succeeded; `output` is JSON text. Without `ring` nobody is told."""
        now_us = SYSTEM_CLOCK.now_us()
        self._end(complete(job, output=output, now_us=now_us, facts=facts or AttemptFacts()), ring=ring)

    def fail(self, job: ClaimedJob, *, error: str, outcome: Outcome = Outcome.FAILED, permanent: bool = False) -> None:
        """The attempt ended otherwise; the job is retried if it has attempts left."""
        now_us = SYSTEM_CLOCK.now_us()
        self._end(end_attempt(job, outcome, error=error, now_us=now_us, jitter=1.0, permanent=permanent), ring=True)

    def obey_wishes(self) -> int:
        """Cancel what clients want cancelled, as an owner does after its kill; returns how many."""
        wishes = self._do(read_wishes=True).wishes
        for wish in wishes:
            job = self._claimed[wish.job_id]
            self.fail(job, error=wish.reason or "cancelled", outcome=Outcome.CANCELLED)
        return len(wishes)

    def _end(self, ending: Ending, *, ring: bool) -> None:
        self._do(endings=[ending])
        if ring and self._store.bell:
            self._store.bell.ring_waiters()

    def _do(self, **parts: object) -> Receipts:
        work = Work(now_us=SYSTEM_CLOCK.now_us(), node_id=NODE_ID, node_name=NAME, **parts)  # type: ignore[arg-type]
        receipts = self._writer.transact(work)
        assert not receipts.refused
        self._claimed.update({job.id: job for job in receipts.claimed})
        return receipts
