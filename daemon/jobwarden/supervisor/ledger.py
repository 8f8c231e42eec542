"""The supervisor's door to the store for everything about jobs: one thread that groups entries into commits.

It commits at once when idle and batches by itself under load. If the store is away, outcomes are kept and tried
again; none is ever dropped. After a transaction whose result is unknown it compares the rows that the store holds
as processing under this node with what the pool knows (R4). It must never decide anything about a job.
"""

from __future__ import annotations

import queue
import secrets
import threading
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.clock import MILLISECOND_NS, SECOND_NS, SECOND_US
from jobwarden.errors import StoreError
from jobwarden.store.work import Claim, Receipts, Work
from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.inputs import Claimed, ClaimFailed, LeaseLost, Processing, Rang, Wished

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.clock import Clock
    from jobwarden.store.bell import Bell
    from jobwarden.store.writer import Writer
    from jobwarden.supervisor.mailbox import Mailbox
    from jobwarden.supervisor.maintenance import Maintenance

_BUSY_ENTRIES = 16
"""With this many entries in the last commit, the next one waits a little for company."""
_COMPANY_NS = 3 * MILLISECOND_NS
_ENOUGH = 400
_WATCH_SECONDS = 0.1
"""How often an idle ledger looks whether another process changed the store: the net under lost rings."""
_CHECKPOINT_EVERY = 32
"""Commits between two looks at the length of the log."""
_RETRY_SECONDS = (0.05, 1.0)


class Ledger(threading.Thread):
    """Feed it with `submit`; what it learns goes to the loop's mailbox."""

    def __init__(
        self,
        open_writer: Callable[[], Writer],
        mailbox: Mailbox,
        *,
        node_id: str,
        node_name: str,
        clock: Clock,
        jitter: Callable[[], float],
        bell: Bell | None,
        maintenance: Maintenance | None = None,
    ) -> None:
        """`open_writer` is called in the ledger's own thread; SQLite connections stay where they were made."""
        super().__init__(name="ledger", daemon=True)
        self._open_writer = open_writer
        self._mailbox = mailbox
        self._node_id = node_id
        self._node_name = node_name
        self._clock = clock
        self._jitter = jitter
        self._bell = bell
        self._maintenance = maintenance
        self._queue: queue.SimpleQueue[Entries | None] = queue.SimpleQueue()
        self._kept = Entries()
        self._leaving = False
        self._version: int | None = None
        self._next_due_us: int | None = None
        self._last_entries = 0
        self._last_commit_ns = 0
        self._held_back = False
        self._away_since_ns: int | None = None
        self.node_missing = False
        self.commits = 0
        self.busy_ns = 0
        """CPU time of this thread, for the benchmark."""

    @property
    def maintained(self) -> dict[str, object] | None:
        """This node's last round of maintenance."""
        return None if self._maintenance is None else self._maintenance.summary

    def submit(self, entries: Entries) -> None:
        """From the loop: write these."""
        self._queue.put(entries)

    def finish(self, *, timeout_seconds: float) -> bool:
        """Write what is left, then end; False if the store did not take it in time (outcomes are then lost to us)."""
        self._queue.put(None)
        self.join(timeout_seconds)
        return not self.is_alive()

    def run(self) -> None:
        """Collect, write, answer; until `finish`."""
        writer = self._open_writer()
        try:
            while not (self._leaving and self._kept.empty):
                entries = self._collect(writer)
                if not entries.empty:
                    self._write(writer, entries)
                self._see_to_maintenance(writer)
                self.busy_ns = self._clock.thread_ns()
            self._sign_off(writer)
        finally:
            writer.close()

    def _see_to_maintenance(self, writer: Writer) -> None:
        if self._maintenance is None or self._leaving or self._away_since_ns is not None:
            return
        if self._maintenance.turn(writer):
            self._announce_freed()
            if self._bell is not None:
                self._bell.ring_waiters()

    def _sign_off(self, writer: Writer) -> None:
        """Nothing of this node is left to write. A row that stays is taken for a dead node's by the next start."""
        try:
            writer.remove_node(self._node_id)
        except StoreError as error:
            events.emit(events.StoreAway(problem=str(error)))

    # collecting

    def _collect(self, writer: Writer) -> Entries:
        entries, self._kept = self._kept, Entries()
        waited = self._wait(entries)
        if waited is None and entries.empty:
            self._watch(writer)
        self._take_all(entries)
        if self._last_entries >= _BUSY_ENTRIES:
            self._wait_for_company(entries)
        return entries

    def _wait(self, entries: Entries) -> Entries | None:
        """Block until there is something to do or the store wants a look."""
        if self._away_since_ns is not None:
            self._wait_for_store(entries, since_ns=self._away_since_ns)
            return entries
        if self._leaving or not entries.empty:
            return entries
        try:
            first = self._queue.get(timeout=self._idle_seconds())
        except queue.Empty:
            return None
        self._absorb(entries, first)
        return entries

    def _wait_for_store(self, entries: Entries, *, since_ns: int) -> None:
        """Pause before the next try; what comes meanwhile waits with the rest, or each claim would be a try."""
        now_ns = self._clock.monotonic_ns()
        away = (now_ns - since_ns) / SECOND_NS
        until_ns = now_ns + int(min(max(away / 4, _RETRY_SECONDS[0]), _RETRY_SECONDS[1]) * SECOND_NS)
        while (left := until_ns - self._clock.monotonic_ns()) > 0:
            try:
                self._absorb(entries, self._queue.get(timeout=left / SECOND_NS))
            except queue.Empty:
                return

    def _idle_seconds(self) -> float:
        longest = _WATCH_SECONDS if self._maintenance is None else min(_WATCH_SECONDS, self._maintenance.idle_seconds())
        if self._next_due_us is not None:
            return min(max((self._next_due_us - self._clock.now_us()) / SECOND_US, 0.001), longest)
        return longest

    def _absorb(self, entries: Entries, more: Entries | None) -> None:
        if more is None:
            self._leaving = True
        else:
            entries.absorb(more)

    def _take_all(self, entries: Entries) -> None:
        try:
            while True:
                self._absorb(entries, self._queue.get_nowait())
        except queue.Empty:
            return

    def _wait_for_company(self, entries: Entries) -> None:
        until = self._last_commit_ns + _COMPANY_NS
        while len(entries) < _ENOUGH and not self._leaving:
            left = until - self._clock.monotonic_ns()
            if left <= 0:
                return
            try:
                self._absorb(entries, self._queue.get(timeout=left / SECOND_NS))
            except queue.Empty:
                return

    def _watch(self, writer: Writer) -> None:
        """Nothing to write: has another process changed the store, or has a job become due?"""
        try:
            version = writer.data_version()
        except StoreError:
            return
        due = self._next_due_us is not None and self._next_due_us <= self._clock.now_us()
        if due or version != self._version:
            self._version = version
            self._next_due_us = None
            self._mailbox.post(Rang())

    # writing

    def _write(self, writer: Writer, entries: Entries) -> None:
        # Only the latest counts, and while the store is away there may be four a second of each job.
        entries.progress = list({(note.job_id, note.fence): note for note in entries.progress}.values())
        entries.free_nodes = list(dict.fromkeys(entries.free_nodes))
        try:
            receipts = writer.transact(self._work(entries))
        except StoreError as error:
            self._keep(entries, error)
            return
        self._note_success(entries)
        self._answer(entries, receipts)
        self._maintain(writer, entries)

    def _maintain(self, writer: Writer, entries: Entries) -> None:
        """What may fail without consequence for what was committed; it comes again by itself."""
        try:
            for node_id in entries.free_nodes:
                self._free(writer, node_id)
            if entries.reconcile:
                # After Claimed was posted: a claim that the pool has not heard of yet would be given back while
                # it is dispatched.
                self._mailbox.post(Processing(writer.processing_of(self._node_id)))
            if self.commits % _CHECKPOINT_EVERY == 0:
                writer.checkpoint_if_long()
        except StoreError as error:
            self._keep(Entries(reconcile=entries.reconcile), error)

    def _work(self, entries: Entries) -> Work:
        claim = None
        if entries.claim:
            claim = Claim(batch=secrets.token_hex(8), limit=entries.claim, types=entries.types)
        return Work(
            now_us=self._clock.now_us(),
            node_id=self._node_id,
            node_name=self._node_name,
            endings=entries.endings,
            progress=entries.progress,
            prolongs=entries.prolongs,
            give_backs=entries.give_backs,
            claim=claim,
            report=entries.report,
            types=entries.types_published,
            read_wishes=entries.look or claim is not None or entries.report is not None,
        )

    def _free(self, writer: Writer, node_id: str) -> None:
        jobs = writer.free_node(node_id, now_us=self._clock.now_us(), jitter=self._jitter)
        events.emit(events.NodeFreed(node=node_id, jobs=jobs))
        self._mailbox.post(Rang())

    def _keep(self, entries: Entries, error: StoreError) -> None:
        """Nobody knows what was committed; outcomes are repeated (idempotent), a claim is not."""
        if self._away_since_ns is None:
            self._away_since_ns = self._clock.monotonic_ns()
            events.emit(events.StoreAway(problem=str(error)))
        if entries.claim:
            entries.claim = 0
            self._mailbox.post(ClaimFailed())
        entries.report = None
        entries.reconcile = True
        self._kept = entries

    def _note_success(self, entries: Entries) -> None:
        if self._away_since_ns is not None:
            self._away_since_ns = None
            events.emit(events.StoreBack(kept=len(entries.endings)))
            self._mailbox.post(Rang())
        self.commits += 1
        self._last_commit_ns = self._clock.monotonic_ns()
        self._last_entries = len(entries)
        if self._maintenance is not None:
            self._maintenance.ended(len(entries.endings))

    def _answer(self, entries: Entries, receipts: Receipts) -> None:
        if entries.claim:
            self._held_back = receipts.held_back
            self._mailbox.post(Claimed(receipts.claimed))
        elif self._held_back and entries.endings:
            self._mailbox.post(Rang())
        for refusal in receipts.refused:
            if not refusal.settled:
                self._mailbox.post(LeaseLost(refusal.job_id, refusal.fence))
        for wish in receipts.wishes:
            self._mailbox.post(Wished(wish.job_id, wish.fence, wish.wish, wish.reason))
        for job_id, _fence, sentence in receipts.unstorable:
            events.emit(events.Alerted(text=f"job {job_id}: {sentence}"))
        self._next_due_us = receipts.next_due_us
        self.node_missing |= receipts.node_missing
        if self._bell is not None and any(ending.ended for ending in entries.endings):
            self._bell.ring_waiters()
        if receipts.moved or entries.give_backs or any(not ending.ended for ending in entries.endings):
            self._announce_freed()

    def _announce_freed(self) -> None:
        """What came free may be ready at once: for us, who are told of nothing that we wrote, and for other nodes."""
        self._mailbox.post(Rang())
        if self._bell is not None:
            self._bell.ring_nodes()
