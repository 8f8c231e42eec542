"""What was claimed and not yet sent to a worker, and how much more to claim. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobwarden.jobs.claim import ClaimedJob

DEPTH = 8
"""Jobs that one worker may hold when their types are quick (design §4, Dispatch)."""
STALE_NS = 1_000_000_000
"""A claimed job that finds no worker for this long is given back, for another node or a later claim."""
LARGEST_CLAIM = 512
_WINDOW_NS = 50_000_000
_AHEAD_SECONDS = 0.03
"""Claim ahead what is finished in this time, or in as many claims as follow, whichever is longer."""
_CLAIMS_AHEAD = 3
_CLAIM_WEIGHT = 0.1


class Intake:
    """The backlog of claimed jobs, in the order of the claim."""

    def __init__(self, *, patient: bool = False) -> None:
        """Nothing is claimed; the store has not been looked at. A patient one gives nothing back because it waits."""
        self.patient = patient
        self.backlog: deque[ClaimedJob] = deque()
        self.claiming = 0
        """How many were asked for in the claim that is under way."""
        self.maybe_more = True
        """Whether the store may hold ready jobs that we did not get."""
        self.last_dispatch_ns = 0
        self._rang = False
        self._finished = 0
        self._window_ns = 0
        self._rate = 0.0
        self._asked_ns = 0
        self._claim_seconds = 0.0
        """How long claims take lately, commit included."""

    def ring(self) -> None:
        """The store may have changed."""
        self.maybe_more = True
        self._rang = True

    def ask(self, limit: int, *, now_ns: int) -> None:
        """A claim is under way."""
        self.claiming = limit
        self._asked_ns = now_ns
        self._rang = False

    def receive(self, jobs: list[ClaimedJob], *, now_ns: int) -> None:
        """The claim was answered. Less than asked for means that nothing more was ready then."""
        self.maybe_more = self._rang or len(jobs) >= self.claiming
        self.claiming = 0
        self._claim_seconds += _CLAIM_WEIGHT * ((now_ns - self._asked_ns) / 1e9 - self._claim_seconds)
        if not self.backlog:
            self.last_dispatch_ns = now_ns
        self.backlog.extend(jobs)

    def fail(self) -> None:
        """The claim was not committed."""
        self.claiming = 0

    def put_back(self, jobs: Iterable[ClaimedJob], *, now_ns: int) -> None:
        """These were taken back from a worker; they go before everything else."""
        if not self.backlog:
            self.last_dispatch_ns = now_ns
        self.backlog.extendleft(reversed(list(jobs)))

    def drop(self, attempt: tuple[int, int]) -> ClaimedJob | None:
        """Take this one out, if it is here."""
        for job in self.backlog:
            if job.attempt == attempt:
                self.backlog.remove(job)
                return job
        return None

    def finished(self, now_ns: int) -> None:
        """One job was finished: the measure of how much to claim ahead."""
        self._finished += 1
        elapsed = now_ns - self._window_ns
        if elapsed >= _WINDOW_NS:
            self._rate = self._finished * 1e9 / elapsed if elapsed < STALE_NS else 0.0
            self._finished = 0
            self._window_ns = now_ns

    def ahead(self) -> int:
        """How many quick jobs to hold beyond what the workers can take at once.

        A fixed time would starve the workers on a slow disk, and what is starved measures a low rate.
        """
        seconds = max(_AHEAD_SECONDS, _CLAIMS_AHEAD * self._claim_seconds)
        return min(int(self._rate * seconds), LARGEST_CLAIM)

    def is_stale(self, now_ns: int) -> bool:
        """Whether the backlog has waited for a worker too long."""
        return bool(self.backlog) and not self.patient and now_ns - self.last_dispatch_ns > STALE_NS
