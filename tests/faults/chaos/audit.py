"""The audit: journals and store are compared when everything has ended. Every sentence that it finds is a violation.

It reckons by itself what should have become of a job from the outcomes of its attempts, and shares no code with what
decided it (`jobs.ending`).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, select

from jobwarden.store.schema import event, job, node
from tests.faults.chaos.journals import Journals
from tests.store import invariants

_GIVEN_BACK = {"interrupted", "lost"}
_BLAMED = {"failed", "timed_out"}
_NEVER_BAD = {"chaos_quick", "chaos_nap", "chaos_once", "chaos_group", "chaos_letter"}
"""Types whose attempts may only succeed, crash by a killed worker, or be given back."""
_NEVER_GOOD = {"chaos_hopeless"}


class Audit:
    """`findings` are violations; `numbers` are for the table."""

    def __init__(self, connection: Connection, journals: Journals, *, killed_workers: set[int]) -> None:
        self.findings: list[str] = []
        self.numbers: dict[str, int] = {}
        self.outcomes: Counter[str] = Counter()
        self._suspects: set[int] = set()
        self._journals = journals
        self._killed_workers = killed_workers
        self._connection = connection
        self._jobs = {row.id: row for row in connection.execute(select(job))}
        self._attempts: dict[int, list[Row[Any]]] = defaultdict(list)
        attempts = select(*_ATTEMPT_COLUMNS).where(event.c.outcome.is_not(None)).order_by(event.c.fence)
        for row in connection.execute(attempts):
            self._attempts[row.job_id].append(row)
            self.outcomes[row.outcome] += 1

    def run(self) -> None:
        """All of it."""
        for check in (self._count, self._missing_and_extra, self._overlaps, self._each_job, self._store):
            self.findings += check()

    def _count(self) -> Iterator[str]:
        states = Counter(_state(row) for row in self._jobs.values())
        added = len(self._journals.accepted)
        letters = sum(row.job_type == "chaos_letter" for row in self._jobs.values())
        children = sum((row.idempotency_key or "").startswith("child of ") for row in self._jobs.values())
        self.numbers |= {
            "jobs accepted by the adder": added,
            "jobs added by handlers": children,
            "dead letters": letters,
            "jobs in the store": len(self._jobs),
            "completed": states["completed"],
            "failed visibly": states["failed"],
            "  of these quarantined": sum(row.pending_reason == "quarantined" for row in self._jobs.values()),
            "cancelled visibly": states["cancelled"],
            "not ended": states["not ended"],
            "attempts with an outcome": sum(self.outcomes.values()),
            "attempts that began, by the journal": self._journals.starts.total(),
            "completed jobs that ran to their end more than once": sum(
                len(self._journals.ends[job_id]) > 1 for job_id in self._jobs
            ),
        }
        if states["not ended"]:
            left = [job_id for job_id, row in self._jobs.items() if row.ended_at is None]
            yield f"{len(left)} jobs have not ended, the first: {self._shown(left[0])}"

    def _missing_and_extra(self) -> Iterator[str]:
        known = set(self._journals.accepted) | self._journals.children
        for job_id in sorted(known - self._jobs.keys()):
            yield f"job {job_id} was accepted and is lost"
        for job_id, row in self._jobs.items():
            by_handler = (row.idempotency_key or "").startswith("child of ") or row.job_type == "chaos_letter"
            if job_id not in known and not by_handler:
                yield f"job {job_id} is in the store and nobody was told: {self._shown(job_id)}"
        keys = Counter(row.idempotency_key for row in self._jobs.values() if row.idempotency_key)
        for key, number in keys.items():
            if number > 1:
                yield f"{number} jobs have the key {key}"

    def _overlaps(self) -> Iterator[str]:
        for line in self._journals.overlaps:
            yield f"two attempts of job {line.job_id} ran at the same time: {line}; {self._shown(line.job_id)}"
        for line in self._journals.crowds:
            yield f"more jobs of the group {line.more} than allowed ran at the same time: {line}"

    def _each_job(self) -> Iterator[str]:
        for job_id in self._jobs:
            for problem in (
                *self._fences(job_id),
                *self._reckoning(job_id),
                *self._blame(job_id),
                *self._output(job_id),
            ):
                yield f"{problem}: {self._shown(job_id)}"

    def _fences(self, job_id: int) -> Iterator[str]:
        fences = [row.fence for row in self._attempts[job_id]]
        if len(set(fences)) < len(fences):
            yield "an attempt has two outcomes"
        if any(fence is None or fence > self._jobs[job_id].fence for fence in fences):
            yield "an attempt has a fence that its job never had"
        starts = self._journals.starts[job_id]
        sure = sum(row.outcome in {"succeeded", *_BLAMED} for row in self._attempts[job_id])
        if self._jobs[job_id].ended_at is not None and not sure <= starts <= len(fences):
            yield f"{starts} attempts began, {len(fences)} ended"

    def _reckoning(self, job_id: int) -> Iterator[str]:
        row = self._jobs[job_id]
        attempts = crashes = interruptions = lost = 0
        for each in self._attempts[job_id]:
            given_back = each.outcome in _GIVEN_BACK
            interruptions += given_back
            attempts += not (given_back and interruptions <= 20)
            crashes += each.outcome == "crashed"
            lost = lost + 1 if each.outcome == "lost" else 0
        if (row.attempts, row.crashes, row.interruptions) != (attempts, crashes, interruptions):
            yield f"attempts, crashes and interruptions should be {attempts}, {crashes}, {interruptions}"
        last = self._attempts[job_id][-1].outcome if self._attempts[job_id] else None
        if (row.status == "completed") != (last == "succeeded") and row.ended_at is not None:
            yield f"the last attempt {last}"
        out_of_attempts = row.max_attempts is not None and attempts >= row.max_attempts
        refused = row.failure_reason == "dependency"
        if _state(row) == "failed" and not (out_of_attempts or crashes >= 3 or lost >= 5 or refused):
            yield "it failed with attempts left"
        if row.status == "cancelled" and not (refused or job_id in self._journals.cancels):
            yield "nobody asked for its end"

    def _blame(self, job_id: int) -> Iterator[str]:
        """Nobody pays for what others did."""
        job_type = self._jobs[job_id].job_type
        for row in self._attempts[job_id]:
            if row.outcome == "crashed" and job_type != "chaos_crash" and row.worker_pid not in self._killed_workers:
                yield f"attempt {row.fence} crashed, but nobody killed its worker {row.worker_pid}"
            if row.outcome in _BLAMED and job_type in _NEVER_BAD:
                yield f"attempt {row.fence} {row.outcome}, which such a job never does ({row.error})"
            if row.outcome == "succeeded" and job_type in _NEVER_GOOD:
                yield f"attempt {row.fence} succeeded, which such a job never does"

    def _output(self, job_id: int) -> Iterator[str]:
        row = self._jobs[job_id]
        if row.status == "completed":
            token = json.loads(row.output or "{}").get("token")
            if token not in self._journals.ends[job_id]:
                yield f"its output {row.output} is of no attempt that came to its end"
        elif row.output is not None:
            yield f"it has the output {row.output}"

    def _store(self) -> Iterator[str]:
        try:
            invariants.check(self._connection)
        except AssertionError as error:
            yield f"an invariant of the store is broken: {error}"
        nodes = self._connection.execute(select(node.c.id, node.c.name, node.c.state_dir)).all()
        self.numbers["nodes left"] = len(nodes)
        for row in nodes:
            yield f"the node {row.id} ({row.name}, {row.state_dir}) was left"

    def histories(self) -> str:
        """All events of the jobs that findings are about, for whoever has to understand them."""
        suspects = sorted(self._suspects)[:_MOST_SUSPECTS]
        found = select(*_HISTORY).where(event.c.job_id.in_(suspects)).order_by(event.c.job_id, event.c.id)
        names = [column.name for column in _HISTORY]
        rows = self._connection.execute(found).all()
        return "\n".join(" ".join(map("{}={}".format, names, row)) for row in rows)

    def _shown(self, job_id: int) -> str:
        self._suspects.add(job_id)
        row = self._jobs[job_id]
        fields = {name: getattr(row, name) for name in job.c.keys() if name not in _NOT_SHOWN}  # noqa: SIM118 - no dict
        shown = {name: value for name, value in fields.items() if value is not None}
        attempts = [(each.fence, each.outcome, each.worker_pid) for each in self._attempts[job_id]]
        return f"{shown}, attempts {attempts}"


_NOT_SHOWN = {"payload", "output", "metadata", "error_history", "step_data"}
_MOST_SUSPECTS = 200
_HISTORY = [
    event.c[name] for name in ("job_id", "id", "at", "type", "fence", "attempt", "outcome", "node_id", "worker_pid")
]
_ATTEMPT_COLUMNS = [event.c[name] for name in ("job_id", "fence", "outcome", "worker_pid", "error")]


def _state(row: Row[Any]) -> str:
    return "not ended" if row.ended_at is None else str(row.status)
