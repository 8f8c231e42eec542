"""The supervisor's door to the store for everything about jobs: one thread that groups entries into commits.

It commits at once when idle and batches by itself under load. If the store is away, outcomes are kept and tried
again; none is ever dropped, and none is written under another node id than that of its claim. After a transaction
whose result is unknown it compares the rows that the store holds as processing under this node with what the pool
knows (R4). It must never decide anything about a job.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.clock import MILLISECOND_NS, SECOND_NS, SECOND_US
from jobwarden.errors import StoreContendedError, StoreError
from jobwarden.store.work import Claim, Receipts, Work
from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.gathering import Gathering
from jobwarden.supervisor.inputs import Claimed, ClaimFailed, LeaseLost, Processing, Rang, Rejoined, Wished
from jobwarden.supervisor.signs import Sign, marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.clock import Clock
    from jobwarden.store.bell import Bell
    from jobwarden.store.work import Seen
    from jobwarden.store.writer import Writer
    from jobwarden.supervisor.mailbox import Mailbox
    from jobwarden.supervisor.maintenance import Maintenance
    from jobwarden.supervisor.membership import Membership

_BUSY_ENTRIES = 16
"""With this many entries in the last commit, the next one waits a little for company."""
_COMPANY_NS = 3 * MILLISECOND_NS
_ENOUGH = 400
_CHECKPOINT_EVERY = 32
"""Commits between two looks at the length of the log."""
_RETRY_SECONDS = (0.05, 1.0)
_HELD_US = SECOND_US // 10
"""What was due before a claim and still is after it is held by somebody; when to look again."""


class Ledger(threading.Thread):
    """Feed it with `submit`; what it learns goes to the loop's mailbox."""

    def __init__(
        self,
        open_writer: Callable[[], Writer],
        mailbox: Mailbox,
        *,
        membership: Membership,
        clock: Clock,
        bell: Bell | None,
        watch_seconds: Callable[[], float | None],
        maintenance: Maintenance | None = None,
    ) -> None:
        """`open_writer` is called in the ledger's own thread; SQLite connections stay where they were made.

        `watch_seconds` tells how often an idle ledger looks now whether another process changed the store, the net
        under lost rings; None: a renewal says so.
        """
        super().__init__(name="ledger", daemon=True)
        self._open_writer = open_writer
        self._mailbox = mailbox
        self._membership = membership
        self._clock = clock
        self._bell = bell
        self._watch_seconds = watch_seconds
        self._maintenance = maintenance
        self.sign = Sign(clock)
        self._gathering = Gathering(clock, self.sign)
        self._kept = Entries()
        self._types_published: str | None = None
        self._version: int | None = None
        self._version_seen: int | None = None
        self._next_due_us: int | None = None
        self._last_entries = 0
        self._last_commit_ns = 0
        self._held_back: set[str] = set()
        """The pools from whose last claim a limit per node may have kept jobs back."""
        self._away_since_ns: int | None = None
        self.commits = 0
        self.busy_ns = 0
        """CPU time of this thread, for the benchmark."""

    @property
    def maintained(self) -> dict[str, object] | None:
        """This node's last round of maintenance."""
        return None if self._maintenance is None else self._maintenance.summary

    def submit(self, entries: Entries) -> None:
        """From the loop: write these."""
        self._gathering.put(entries)

    def finish(self, *, timeout_seconds: float) -> bool:
        """Write what is left, then end; False if the store did not take it in time (outcomes are then lost to us)."""
        self._gathering.end()
        self.join(timeout_seconds)
        return not self.is_alive()

    def run(self) -> None:
        """Collect, write, answer; until `finish`."""
        writer = marked(self._open_writer(), self.sign)
        try:
            while not (self._gathering.leaving and self._kept.empty):
                entries = self._collect(writer)
                seen, entries.seen = entries.seen, None
                if not entries.empty:
                    self._write(writer, entries)
                if seen is not None:
                    self._heed(seen)
                self._see_to_maintenance(writer)
                self.busy_ns = self._clock.thread_ns()
            self._sign_off(writer)
        finally:
            writer.close()

    def _see_to_maintenance(self, writer: Writer) -> None:
        if self._maintenance is None or self._gathering.leaving or self._away_since_ns is not None:
            return
        if self._maintenance.turn(writer):
            self._announce_freed()
            if self._bell is not None:
                self._bell.ring_waiters()

    def _sign_off(self, writer: Writer) -> None:
        """Nothing of this node is left to write. A row that stays is taken for a dead node's by the next start."""
        try:
            if self._membership.sign_off(writer):
                self._announce_freed()
        except StoreError as error:
            events.emit(events.StoreAway(problem=str(error)))

    # collecting

    def _collect(self, writer: Writer) -> Entries:
        entries, self._kept = self._kept, Entries()
        if self._away_since_ns is not None:
            self._wait_for_store(entries, since_ns=self._away_since_ns)
        elif entries.empty and not self._gathering.leaving:
            came = self._gathering.wait(entries, seconds=self._idle_seconds())
            if not came:
                self._watch(writer)
        self._gathering.take_all(entries)
        if self._last_entries >= _BUSY_ENTRIES:
            self._gathering.wait_until(entries, self._last_commit_ns + _COMPANY_NS, enough=_ENOUGH)
        return entries

    def _wait_for_store(self, entries: Entries, *, since_ns: int) -> None:
        """Pause before the next try; what comes meanwhile waits with the rest, or each claim would be a try."""
        now_ns = self._clock.monotonic_ns()
        away = (now_ns - since_ns) / SECOND_NS
        pause = min(max(away / 4, _RETRY_SECONDS[0]), _RETRY_SECONDS[1])
        self._gathering.wait_until(entries, now_ns + int(pause * SECOND_NS))

    def _idle_seconds(self) -> float | None:
        """How long nothing is to be done here unless somebody says so; None: for ever."""
        watch_seconds = self._watch_seconds()
        waits = [] if watch_seconds is None else [watch_seconds]
        if self._maintenance is not None:
            waits.append(self._maintenance.idle_seconds())
        if self._next_due_us is not None:
            waits.append(max((self._next_due_us - self._clock.now_us()) / SECOND_US, 0.001))
        return min(waits, default=None)

    def _watch(self, writer: Writer) -> None:
        """Nothing to write: has another process changed the store, or has a job become due?"""
        try:
            version = self._version if self._watch_seconds() is None else writer.data_version()
        except StoreError:
            return
        due = self._next_due_us is not None and self._next_due_us <= self._clock.now_us()
        if due or version != self._version:
            self._version = version
            self._next_due_us = None
            self._mailbox.post(Rang())

    def _heed(self, seen: Seen) -> None:
        """A renewal brought this: an older state than that of the last commit, if one came between.

        After Claimed was posted: a claim that the pool has not heard of yet would be given back while it is dispatched.
        """
        changed, self._version_seen = seen.version != self._version_seen, seen.version
        if changed:
            self._mailbox.post(Rang())
        if seen.processing:
            self._mailbox.post(Processing(seen.processing))
        if seen.next_due_us is not None:
            self._next_due_us = min(seen.next_due_us, self._next_due_us or seen.next_due_us)
        is_due = seen.next_due_us is not None and seen.next_due_us <= self._clock.now_us()
        if self._maintenance is not None and (changed or is_due or seen.processing):
            self._maintenance.stir()

    # writing

    def _write(self, writer: Writer, entries: Entries) -> None:
        entries.shorten()
        self._types_published = entries.types_published or self._types_published
        work = self._work(entries)
        try:
            receipts = writer.transact(work)
        except StoreError as error:
            self._keep(entries, error)
            return
        self._note_success(entries)
        self._answer(entries, work, receipts)
        if receipts.node_missing:
            self._membership.missed(work.node_id)
        self._maintain(writer, entries)

    def _maintain(self, writer: Writer, entries: Entries) -> None:
        """What may fail without consequence for what was committed; it comes again by itself."""
        try:
            if entries.free_nodes:
                self._membership.free_all(writer, entries.free_nodes)
                self._mailbox.post(Rang())
            if entries.rejoin:
                self._rejoin(writer)
                entries.rejoin = False
            if entries.reconcile:
                # After Claimed was posted, see `_heed`.
                self._mailbox.post(Processing(writer.processing_of(self._membership.node_id)))
            if self.commits % _CHECKPOINT_EVERY == 0:
                writer.checkpoint_if_long()
        except StoreError as error:
            self._kept.absorb(Entries(reconcile=entries.reconcile, rejoin=entries.rejoin))
            self._keep(self._kept, error)

    def _rejoin(self, writer: Writer) -> None:
        """Everything of the old name is written: from now on there is a new one, which serves the same types."""
        self._membership.rejoin(writer)
        self._kept = Entries(types_published=self._types_published)
        self._mailbox.post(Rejoined())

    def _work(self, entries: Entries) -> Work:
        claim = None
        if entries.claims:
            asked = next(iter(entries.claims.values()))
            claim = Claim(batch=secrets.token_hex(8), limit=asked.limit, types=asked.types)
        return Work(
            now_us=self._clock.now_us(),
            node_id=self._membership.node_id,
            node_name=self._membership.name,
            endings=entries.endings,
            progress=entries.progress,
            prolongs=entries.prolongs,
            give_backs=entries.give_backs,
            claim=claim,
            report=entries.report,
            types=entries.types_published,
            secrets=entries.secrets,
            read_wishes=entries.look or claim is not None or entries.report is not None,
        )

    def _keep(self, entries: Entries, error: StoreError) -> None:
        """Nobody knows what was committed; outcomes are repeated (idempotent), a claim is not.

        Whoever lost a deadlock tries again at once, and nobody is told: the store is there. A report is repeated if
        nothing else shows whether the store takes anything again, be it that its disk was full: reading proves nothing.
        """
        if self._away_since_ns is None and not isinstance(error, StoreContendedError):
            self._away_since_ns = self._clock.monotonic_ns()
            events.emit(events.StoreAway(problem=str(error)))
        for pool in entries.claims:
            self._mailbox.post(ClaimFailed(pool))
        entries.claims = {}
        entries.report = None if len(entries) else entries.report
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

    def _answer(self, entries: Entries, work: Work, receipts: Receipts) -> None:
        self._answer_claims(entries, receipts)
        for refusal in receipts.refused:
            if not refusal.settled:
                self._mailbox.post(LeaseLost(refusal.job_id, refusal.fence))
        for wish in receipts.wishes:
            self._mailbox.post(Wished(wish.job_id, wish.fence, wish.wish, wish.reason))
        for job_id, _fence, sentence in receipts.unstorable:
            events.emit(events.Alerted(text=f"job {job_id}: {sentence}"))
        self._next_due_us = receipts.next_due_us
        if work.claim is not None and receipts.next_due_us is not None and receipts.next_due_us <= work.now_us:
            self._next_due_us = work.now_us + _HELD_US
        if self._bell is not None and any(ending.ended for ending in entries.endings):
            self._bell.ring_waiters()
        if receipts.moved or entries.give_backs or any(not ending.ended for ending in entries.endings):
            self._announce_freed()

    def _answer_claims(self, entries: Entries, receipts: Receipts) -> None:
        """One transaction claims for one pool; those of the others are first in the next, before this pool's own."""
        for pool, asked in list(entries.claims.items())[:1]:
            if others := {name: each for name, each in entries.claims.items() if each is not asked}:
                self._gathering.put(Entries(claims=others))
            self._held_back.discard(pool)
            if receipts.held_back:
                self._held_back.add(pool)
            self._mailbox.post(Claimed(receipts.claimed, pool))
        if entries.endings and self._held_back.difference(list(entries.claims)[:1]):
            self._mailbox.post(Rang())

    def _announce_freed(self) -> None:
        """What came free may be ready at once: for us, who are told of nothing that we wrote, and for other nodes."""
        self._mailbox.post(Rang())
        if self._bell is not None:
            self._bell.ring_nodes()
