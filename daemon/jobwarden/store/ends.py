"""Writing the ends of attempts: the outcome event first, then the job, both under the same guard.

An end that the guard refuses leaves no event. An end whose data the database refuses is found by halving the batch
under savepoints and is recorded as a failure in its place; its neighbours are stored. Called by the writer, inside
its transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from jobwarden.jobs.claim import ClaimedJob
from jobwarden.jobs.ending import AttemptFacts, Ending, end_attempt
from jobwarden.jobs.outcome import JobStatus, Outcome
from jobwarden.store import entries
from jobwarden.store.failures import UnstorableError, data_errors
from jobwarden.store.work import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, CursorResult, TextClause

    from jobwarden.store.entries import Row
    from jobwarden.store.statements import Statements

_decode_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode
_decode_jobs = msgspec.json.Decoder(list[ClaimedJob]).decode


class Fenced(Protocol):
    """Anything that speaks of one attempt."""

    @property
    def job_id(self) -> int:
        """The job."""

    @property
    def fence(self) -> int:
        """The attempt's fence."""


@dataclass
class EndWriter:
    """Writes ends under the node that owns the attempts; `node_id` is None only for rows that name no node.

    What follows from the ends is the caller's to do, once, after the last of them (`follow_up.follow_attempts`).
    """

    connection: Connection
    sql: Statements
    node_id: str | None
    owner: str | None = None
    """Named in the events when the ends are written by somebody else."""
    accepted: list[int] = field(default_factory=list)
    """The jobs whose ends were written."""

    def write(self, endings: Sequence[Ending]) -> list[Refusal]:
        """Write all; the refused ones. Raises UnstorableError, after which the transaction must be rolled back."""
        # Reversed, so that of two ends of one attempt the first is kept: one statement would accept both.
        unique = {(ending.job_id, ending.fence): ending for ending in reversed(endings)}.values()
        completions = [ending for ending in unique if ending.status is JobStatus.COMPLETED]
        others = [ending for ending in unique if ending.status is not JobStatus.COMPLETED]
        return self._write_completions(completions) + self._write_others(others)

    def write_each(self, endings: Sequence[Ending]) -> tuple[list[Refusal], list[tuple[int, int, str]]]:
        """As `write`, but a refused value costs only its own entry: (refused, [(job id, fence, sentence)])."""
        known = len(self.accepted)
        try:
            with self.connection.begin_nested():
                return self.write(endings), []
        except UnstorableError as error:
            del self.accepted[known:]
            if len(endings) == 1:
                return self._write_failure(endings[0], error)
        half = len(endings) // 2
        refused, unstorable = self.write_each(endings[:half])
        more_refused, more_unstorable = self.write_each(endings[half:])
        return refused + more_refused, unstorable + more_unstorable

    def _write_completions(self, endings: list[Ending]) -> list[Refusal]:
        rows = (entries.completion(ending) for ending in endings)
        return self._write_set(endings, rows, record=self.sql.record_completions, apply=self.sql.complete_jobs)

    def _write_others(self, endings: list[Ending]) -> list[Refusal]:
        rows = (entries.end(ending, owner=self.owner) for ending in endings)
        return self._write_set(endings, rows, record=self.sql.record_endings, apply=self.sql.end_jobs)

    def _write_set(
        self, endings: list[Ending], rows: Iterable[Row], *, record: TextClause, apply: TextClause | None
    ) -> list[Refusal]:
        if not endings:
            return []
        accepted: set[tuple[int, int]] = set()
        with data_errors():
            for some, text in entries.portions(list(rows), longest_bytes=self.sql.longest_set_bytes):
                given = {"entries": text, "node_id": self.node_id}
                accepted |= self._accepted(self.connection.execute(record, given), endings[some])
                if apply is not None:
                    self.connection.execute(apply, given)
        self.accepted += [job_id for job_id, _fence in accepted]
        return refusals(self.connection, self.sql, endings, accepted=accepted)

    def _accepted(self, recorded: CursorResult[*tuple[Any, ...]], endings: list[Ending]) -> set[tuple[int, int]]:
        if recorded.returns_rows:
            return {(job_id, fence) for job_id, fence in recorded}
        number = recorded.rowcount
        if number == len(endings):
            return {(ending.job_id, ending.fence) for ending in endings}
        if not number or self.sql.accepted_ends is None:
            return set()
        floor = {"floor": recorded.lastrowid - number}
        return set(_decode_pairs(self.connection.execute(self.sql.accepted_ends, floor).scalar_one()))

    def _write_failure(
        self, ending: Ending, error: UnstorableError
    ) -> tuple[list[Refusal], list[tuple[int, int, str]]]:
        sentence = f"output cannot be stored: {error.reason}"
        found = self.connection.execute(self.sql.jobs_by_id, {"ids": entries.as_json([ending.job_id])}).scalar_one()
        failures = [_as_failure(job, ending, sentence) for job in _decode_jobs(found)]
        refused = self.write(failures)
        if refused or not failures:
            return refusals(self.connection, self.sql, [ending], accepted=set()), []
        return [], [(ending.job_id, ending.fence, sentence)]


def refusals(
    connection: Connection, sql: Statements, offered: Sequence[Fenced], *, accepted: set[tuple[int, int]]
) -> list[Refusal]:
    """The offered entries that are not among the accepted (job id, fence)s.

    Says of each whether an earlier write of ours settled it (its answer was lost) or it is lost.
    """
    refused = [(entry.job_id, entry.fence) for entry in offered if (entry.job_id, entry.fence) not in accepted]
    if not refused:
        return []
    found = connection.execute(sql.settled, {"entries": entries.as_json(refused)}).scalar_one()
    settled = set(_decode_pairs(found))
    return [Refusal(*attempt, attempt in settled) for attempt in refused]


def _as_failure(job: ClaimedJob, ending: Ending, sentence: str) -> Ending:
    """The failure that takes the place of an end that cannot be stored; it keeps the facts that are numbers."""
    facts = ending.facts
    return end_attempt(
        msgspec.structs.replace(job, fence=ending.fence),
        Outcome.FAILED,
        error=sentence,
        now_us=ending.at_us,
        jitter=1.0,
        facts=AttemptFacts(
            worker_pid=facts.worker_pid,
            generation=facts.generation,
            started_us=facts.started_us,
            ended_us=facts.ended_us,
        ),
    )
