"""The daemon's own door for writing: one connection, one thread, one transaction for many jobs.

`transact` speaks in sets and never loops over jobs in SQL. It decides nothing about jobs: what becomes of one was
decided in `jobs.ending`. Called by the ledger.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, text, update

from jobwarden.jobs.outcome import JobStatus
from jobwarden.store import entries
from jobwarden.store.claiming import claim_jobs, next_due_us, prepare
from jobwarden.store.ends import EndWriter, refusals
from jobwarden.store.entries import storable, storable_json
from jobwarden.store.failures import UnstorableError, store_errors
from jobwarden.store.forks import watch_lasting
from jobwarden.store.freeing import free_node
from jobwarden.store.gates.follow_up import follow_attempts, places_of
from jobwarden.store.gates.lanes import Lanes, adjust
from jobwarden.store.gates.tokens import return_for, tokens_of
from jobwarden.store.keeping.rounds import win_round
from jobwarden.store.people.changing import obey_wishes
from jobwarden.store.row_locks import lock_jobs
from jobwarden.store.schema import job, node
from jobwarden.store.secret_fields import note_secret_fields
from jobwarden.store.transactions import transaction
from jobwarden.store.work import NodeStart, Receipts, Wish, Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy import TextClause

    from jobwarden.store.dialects import Dialect
    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.gates.tokens import Token
    from jobwarden.store.keeping.rounds import Rounds, Step

LONGEST_LOG_BYTES = 4 * 1024 * 1024

_decode_wishes = msgspec.json.Decoder(list[tuple[int, int, str, str | None]]).decode


class Writer:
    """Made by `Store.writer()`; to be used, and closed, by one thread."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._sql = dialect.statements
        self._where = dialect.url_shown
        with store_errors(self._where):
            self._connection = watch_lasting(dialect.lasting())

    def register(self, start: NodeStart, *, now_us: int) -> None:
        """Insert the node's row, with beat 0."""
        # A path may hold bytes that are no text.
        fields = {name: storable(v) if isinstance(v, str) else v for name, v in msgspec.structs.asdict(start).items()}
        row = {**fields, "id": fields.pop("node_id"), "started_at": now_us, "beat": 0, "beat_at": now_us}
        with self._transaction():
            self._connection.execute(insert(node), row)

    def remove_node(self, node_id: str) -> None:
        """Delete the node's row: its last worker is gone."""
        with self._transaction():
            self._connection.execute(delete(node).where(node.c.id == node_id))

    def transact(self, work: Work) -> Receipts:
        """Do all of it in one transaction, or none of it.

        Raises StoreUnavailableError (nothing was changed, repeat it) or CommitUnknownError (repeat the endings; what
        was claimed must be looked up with `processing_of`).
        """
        try:
            return self._run(work, one_by_one=False)
        except UnstorableError:
            # Rolled back. Once more, in savepoints, to find the entry that the database refuses.
            return self._run(work, one_by_one=True)

    def processing_of(self, node_id: str) -> list[tuple[int, int]]:
        """(job_id, fence) of every row that is processing under this node."""
        query = select(job.c.id, job.c.fence).where(text("status = 'processing'"), job.c.node_id == node_id)
        with self._transaction():
            return [(row.id, row.fence) for row in self._connection.execute(query)]

    def free_node(self, node_id: str, *, now_us: int, jitter: Callable[[], float], beat: int | None = None) -> int:
        """Bury a dead node: delete its row and end its jobs as lost; the number of jobs that were freed.

        With `beat`, only if the row still shows that beat. Rows that are processing under nodes without a row are
        freed as well. `jitter` draws from [0.5, 1].
        """
        with self._transaction():
            return free_node(self._connection, self._sql, node_id, now_us=now_us, jitter=jitter, beat=beat)

    def win_round(self, *, period_us: int, now_us: int) -> bool:
        """Whether the next round of maintenance is this node's to do."""
        with self._transaction():
            return win_round(self._connection, period_us=period_us, now_us=now_us)

    def step_round(self, rounds: Rounds, *, now_us: int) -> Step:
        """One batch of the round."""
        relaxed = self._dialect.relaxed(self._connection) if rounds.repeats_itself() else nullcontext()
        with store_errors(self._where), relaxed, self._transaction():
            batch = rounds.run(self._connection, self._sql, now_us=now_us)
        if batch.number:
            self.checkpoint_if_long()
        return rounds.note(batch)

    def checkpoint_if_long(self) -> bool:
        """Fold the log into the database when it has grown; whether anything was done."""
        with store_errors(self._where):
            return self._dialect.checkpoint_if_long(self._connection, longest_bytes=LONGEST_LOG_BYTES)

    def data_version(self) -> int:
        """A number that changes when *another* connection has committed; cheap, reads no table."""
        with store_errors(self._where):
            return self._dialect.data_version(self._connection)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _transaction(self) -> AbstractContextManager[Connection]:
        return transaction(self._dialect, self._connection)

    def _run(self, work: Work, *, one_by_one: bool) -> Receipts:
        """In the order of locks: the node's row, rows of jobs, the lanes, then only what nobody else has locked."""
        receipts = Receipts()
        touched: set[Place] = set()
        with self._transaction():
            self._write_report(work)
            self._publish_types(work)
            self._lock_jobs(work)
            self._write_progress(work, receipts)
            self._write_prolongs(work)
            self._write_ends(work, receipts, touched, one_by_one=one_by_one)
            tokens = self._write_give_backs(work, receipts, touched)
            self._obey_wishes(work, touched)
            wants = work.claim if work.claim is not None and work.claim.limit > 0 and work.claim.types else None
            lanes: Lanes | None = None
            if wants is not None:
                lanes = prepare(self._connection, self._sql, touched=touched, now_us=work.now_us)
            self._adjust_lanes(work, receipts, touched, tokens)
            if wants is not None and lanes is not None:
                taken = claim_jobs(self._connection, self._sql, work, wants, lanes=lanes)
                receipts.claimed, receipts.held_back = taken
            self._look(work, receipts)
        return receipts

    def _lock_jobs(self, work: Work) -> None:
        """Each statement locks its jobs in order; where there are several, all of them are locked before, in order."""
        completed = [ending for ending in work.endings if ending.status is JobStatus.COMPLETED]
        others = len(work.endings) - len(completed)
        kinds = [bool(each) for each in (work.progress, completed, others, work.give_backs)]
        if sum(kinds) > 1 and not self._dialect.shares_kernel:
            touched = {entry.job_id for some in (work.progress, work.endings, work.give_backs) for entry in some}
            lock_jobs(self._connection, sorted(touched))

    def _write_progress(self, work: Work, receipts: Receipts) -> None:
        """Before the ends: a job that completes in the same transaction keeps its last progress event."""
        if not work.progress:
            return
        rows = [(note.job_id, note.fence, note.percent) for note in work.progress]
        given = {"entries": entries.as_json(rows), "node_id": work.node_id, "now": work.now_us}
        self._connection.execute(self._sql.drop_progress_events, given)
        self._connection.execute(self._sql.record_progress, given)
        noted = self._written(self._sql.note_progress, given)
        receipts.refused += refusals(self._connection, self._sql, work.progress, accepted=noted)

    def _write_prolongs(self, work: Work) -> None:
        """One that matches no row says nothing new: the end of its attempt will be refused as well."""
        if work.prolongs:
            rows = [(note.job_id, note.fence, note.ms) for note in work.prolongs]
            given = {"entries": entries.as_json(rows), "node_id": work.node_id, "now": work.now_us}
            self._connection.execute(self._sql.record_prolongs, given)

    def _write_ends(self, work: Work, receipts: Receipts, touched: set[Place], *, one_by_one: bool) -> None:
        if not work.endings:
            return
        ends = EndWriter(self._connection, self._sql, work.node_id)
        if one_by_one:
            refused, receipts.unstorable = ends.write_each(work.endings)
        else:
            refused = ends.write(work.endings)
        receipts.refused += refused
        if ends.accepted:
            receipts.moved = follow_attempts(
                self._connection, self._sql, ids=ends.accepted, touched=touched, now_us=work.now_us
            )

    def _write_give_backs(self, work: Work, receipts: Receipts, touched: set[Place]) -> list[Token]:
        """The tokens that go back to their lanes."""
        if not work.give_backs:
            return []
        rows = [(entry.job_id, entry.fence) for entry in work.give_backs]
        given = {"entries": entries.as_json(rows), "node_id": work.node_id, "now": work.now_us}
        tokens = tokens_of(self._connection, [entry.job_id for entry in work.give_backs])
        returned = self._written(self._sql.give_back, given)
        receipts.refused += refusals(self._connection, self._sql, work.give_backs, accepted=returned)
        touched |= places_of(self._connection, [job_id for job_id, _ in returned])
        return [token for job_id, _ in returned for token in tokens.get(job_id, ())]

    def _adjust_lanes(self, work: Work, receipts: Receipts, touched: set[Place], tokens: list[Token]) -> None:
        if tokens:
            Lanes.lock(self._connection)
            return_for(self._connection, tokens)
        admitted = adjust(self._connection, touched, now_us=work.now_us)
        receipts.moved |= bool(work.endings) and admitted > 0

    def _written(self, statement: TextClause, given: dict[str, Any]) -> set[tuple[int, int]]:
        """Of which attempts this statement wrote something."""
        answers = statement if self._sql.lock_attempts is None else self._sql.lock_attempts
        written = {(row[0], row[1]) for row in self._connection.execute(answers, given)}
        if answers is not statement:
            self._connection.execute(statement, given)
        return written

    def _obey_wishes(self, work: Work, touched: set[Place]) -> None:
        """A cancel that was asked for while the job ran holds for a job that came free in another way."""
        if work.give_backs or any(not ending.ended for ending in work.endings):
            obey_wishes(self._connection, self._sql, touched=touched, now_us=work.now_us)

    def _write_report(self, work: Work) -> None:
        if work.report is not None:
            own = update(node).where(node.c.id == work.node_id)
            self._connection.execute(
                own.values(beat=node.c.beat + 1, beat_at=work.now_us, report=storable_json(work.report))
            )

    def _publish_types(self, work: Work) -> None:
        if work.types is not None:
            own = update(node).where(node.c.id == work.node_id)
            self._connection.execute(own.values(types=storable_json(work.types)))
        if work.secrets:
            note_secret_fields(self._connection, work.secrets)

    def _look(self, work: Work, receipts: Receipts) -> None:
        seen = self._connection.execute(self._sql.look, {"node_id": work.node_id}).one()
        receipts.next_due_us = next_due_us(self._connection, self._sql, seen, now_us=work.now_us)
        receipts.node_missing = not seen[3]
        if work.read_wishes:
            receipts.wishes = [Wish(*wish) for wish in _decode_wishes(seen[4])]
