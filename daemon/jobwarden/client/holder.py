"""A `Holder` is a node that runs nothing: it claims jobs for the program that asks, holds them, and reports their ends.

Registered like a daemon's node, with a thread that beats and (where all nodes share a kernel) a flock that is its life,
so that what it holds is freed when its process dies: by the flock at once, else by its lease. Belongs to one process: a
fork closes its copy of the flock at once and has no part in it. It can kill nobody, so it neither obeys time limits nor
requeues.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.errors import NotHeldError, StoreError, StoreUnavailableError
from jobwarden.jobs import Ending, Outcome, TypeTerms, end_attempt
from jobwarden.store.deaths import DeathWatch, pause_seconds
from jobwarden.store.life import hold_node, lock_path
from jobwarden.store.work import Claim, GiveBack, NodeStart, Receipts, ServedType, Work
from jobwarden.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobwarden.jobs import ClaimedJob
    from jobwarden.store.deaths import Dead
    from jobwarden.store.pulse import Pulse
    from jobwarden.store.store import Store
    from jobwarden.store.work import Seen
    from jobwarden.store.writer import Writer

CANCEL = "cancel"
_LEAVE_SECONDS = 10.0

_TAKEN_AWAY = "it was taken away, because this process was taken for dead; another one may be working on it"
NEVER_TAKEN = "it was not dequeued here, or has been ended already"


class Holder:
    """One node. Safe to share between threads; `gone` when somebody has declared it dead or it was closed."""

    def __init__(self, store: Store, *, lease_seconds: float) -> None:
        """Register. Raises StoreUnavailableError."""
        self.node_id = secrets.token_hex(16)
        self.owner_pid = os.getpid()
        self.gone = False
        self._name = f"{socket.gethostname()}:{self.owner_pid}"
        self._store = store
        self._lock = threading.RLock()
        self._held: dict[int, ClaimedJob] = {}
        self._lost: set[int] = set()
        self._types: set[str] = set()
        self._unsure = False
        """Rows may be ours that we do not know of: the answer to a claim was lost, here or on its way to the caller."""
        self._left = threading.Event()
        self._deaths = DeathWatch(store, lease_seconds=lease_seconds, clock=SYSTEM_CLOCK)
        self._pulse = store.pulse()
        folder = store.side_dir("nodes")
        self._lock_path = None if folder is None else lock_path(folder, self.node_id)
        self._life: int | None = None
        self._writer: Writer = store.writer()
        _living.add(self)
        try:
            self._hold_life()
            self._writer.register(self._start(lease_seconds), now_us=SYSTEM_CLOCK.now_us())
        except BaseException:
            self._sign_off(row_is_there=False)
            raise
        self._pause = pause_seconds(lease_seconds)
        self._beat = threading.Thread(target=self._renew, name="jobwarden-queue", daemon=True)
        self._beat.start()

    def take(self, types: Sequence[str] | None) -> ClaimedJob | None:
        """Claim the next ready job of these types, None: of any; None if there is none, or if `gone`."""
        with self._lock:
            if self.gone:
                return None
            self._give_back_unknown()
            types = self._store.ready.types(now_us=SYSTEM_CLOCK.now_us()) if types is None else types
            if not types:
                return None
            claim = Claim(batch=secrets.token_hex(8), limit=1, types=tuple(TypeTerms(job_type=each) for each in types))
            try:
                claimed = self._do(claim=claim, types=self._published(types)).claimed
            except BaseException:
                self._unsure = True
                raise
            self._types.update(types)
            for job in claimed:
                self._held[job.id] = job
                self._lost.discard(job.id)
            return claimed[0] if claimed else None

    def disown(self, job_id: int) -> None:
        """Whoever took this job has not heard of it: it is given back at the next beat, at no cost."""
        with self._lock:
            self._held.pop(job_id, None)
            self._unsure = True

    def held(self, job_id: int) -> ClaimedJob:
        """The job as it was claimed. Raises NotHeldError."""
        with self._lock:
            if job_id not in self._held:
                raise NotHeldError(job_id, _TAKEN_AWAY if job_id in self._lost else NEVER_TAKEN)
            return self._held[job_id]

    def end(self, ending: Ending) -> None:
        """Write the end of a held job. NotHeldError: it was taken away; after a StoreError it is still held."""
        with self._lock:
            receipts = self._do(endings=[ending])
            self._held.pop(ending.job_id, None)
            if any(not refusal.settled for refusal in receipts.refused):
                self._lost.add(ending.job_id)
                raise NotHeldError(ending.job_id, _TAKEN_AWAY)
        if self._store.bell and ending.ended:
            self._store.bell.ring_waiters()
        elif self._store.bell:
            self._store.bell.ring_nodes()

    def wish(self, job: ClaimedJob) -> str | None:
        """What somebody asks of this attempt: "cancel", "requeue", or nothing."""
        with self._lock:
            wishes = self._do(read_wishes=True).wishes
        return next((each.wish for each in wishes if (each.job_id, each.fence) == job.attempt), None)

    def free_the_dead(self) -> bool:
        """Free the jobs of nodes that are seen to be dead; whether there were any."""
        with self._lock:
            return self._free([] if self.gone else self._deaths.dead_nodes(own=self.node_id))

    def close(self) -> None:
        """Give back what is held, at no cost, and sign off.

        Raises StoreUnavailableError; what is held is then found by others, as if this process had died.
        """
        with self._lock:
            row_is_there = not self.gone
            try:
                if row_is_there:
                    self._give_back()
                    self._writer.remove_node(self.node_id)
                row_is_there = False
            finally:
                self._sign_off(row_is_there=row_is_there)
        self._beat.join(_LEAVE_SECONDS)
        if self._store.bell:
            self._store.bell.ring_nodes()

    def forget(self) -> None:
        """In a fork: let go of the flock, which the copy would keep; touch nothing else of the parent's."""
        if self._life is not None:
            os.close(self._life)
        self._life, self.gone = None, True
        _inherited.append((self._store, self._writer, self._pulse))

    def _free(self, dead: Sequence[Dead]) -> bool:
        freed = 0
        for node_id, beat in dead:
            freed += self._writer.free_node(node_id, now_us=SYSTEM_CLOCK.now_us(), jitter=jitter, beat=beat)
        if freed and self._store.bell:
            self._store.bell.ring()
        return bool(freed)

    def _hold_life(self) -> None:
        if self._lock_path is not None:
            try:
                self._life = hold_node(self._lock_path)
            except OSError as error:
                problem = f"cannot make {self._lock_path}: {error.strerror}"
                raise StoreUnavailableError(self._store.url_shown, problem) from None

    def _sign_off(self, *, row_is_there: bool) -> None:
        """End; a row that stays is judged by its file, which then shows that nobody is there."""
        self.gone = True
        self._left.set()
        self._held.clear()
        _living.discard(self)
        self._writer.close()
        if self._life is not None and self._lock_path is not None:
            if not row_is_there:
                self._lock_path.unlink(missing_ok=True)
            os.close(self._life)
            self._life = None

    def _give_back(self) -> None:
        self._give_back_unknown()
        now_us = SYSTEM_CLOCK.now_us()
        self._do(endings=[_given_back(job, now_us=now_us) for job in self._held.values()])

    def _do(self, **parts: Any) -> Receipts:
        work = Work(now_us=SYSTEM_CLOCK.now_us(), node_id=self.node_id, node_name=self._name, **parts)
        receipts = self._writer.transact(work)
        if receipts.node_missing:
            self._be_gone()
        return receipts

    def _be_gone(self) -> None:
        """Somebody took this node for dead: what it held is others' now."""
        self.gone = True
        self._lost |= set(self._held)
        self._held.clear()

    def _give_back_unknown(self) -> None:
        """Rows that a claim made ours although its answer did not reach us: nobody works on those."""
        if not self._unsure:
            return
        unknown = [(i, fence) for i, fence in self._writer.processing_of(self.node_id) if i not in self._held]
        self._do(give_backs=[GiveBack(*attempt) for attempt in unknown])
        self._unsure = False

    def _published(self, types: Sequence[str]) -> str | None:
        """What the node's row is to say of the types that it serves, if that has changed."""
        if self._types.issuperset(types):
            return None
        return msgspec.json.encode([ServedType(job_type=each) for each in sorted({*self._types, *types})]).decode()

    def _renew(self) -> None:
        """The thread: beat, and free the dead. While the store is away there is nothing to do but to try again."""
        while not self._left.wait(self._pause) and not self.gone:
            with suppress(StoreError):
                if self._pulse is None:
                    self._beat_by_row()
                else:
                    self._beat_by_pulse(self._pulse)
        if self._pulse is not None:
            self._pulse.close()

    def _beat_by_row(self) -> None:
        """The flock is the lease: this is for people to see."""
        with self._lock:
            self._give_back_unknown()
            self._do(report=self._report())
        self.free_the_dead()

    def _beat_by_pulse(self, pulse: Pulse) -> None:
        """The beat is the lease: another thread's work may keep our lock for long, the next beat does not wait for it.

        What is left out then comes with a later beat.
        """
        seen = pulse.renew(self.node_id, report=self._report(), now_us=SYSTEM_CLOCK.now_us())
        if not self._lock.acquire(timeout=self._pause / 2):
            return
        try:
            self._heed(seen)
        finally:
            self._lock.release()

    def _heed(self, seen: Seen) -> None:
        if self.gone:
            return
        if not seen.alive:
            self._be_gone()
            return
        self._give_back_unknown()
        self._free(self._deaths.by_beats(seen.nodes, own=self.node_id))

    def _report(self) -> str:
        """For `jobwarden status`: each held job as a slot."""
        held = list(self._held.values())
        slots = [
            {"slot": number, "pid": self.owner_pid, "state": "held", "job_id": job.id, "job_type": job.job_type}
            for number, job in enumerate(held, 1)
        ]
        return msgspec.json.encode({"queue": True, "slots": slots}).decode()

    def _start(self, lease_seconds: float) -> NodeStart:
        return NodeStart(
            node_id=self.node_id,
            name=self._name,
            host=socket.gethostname(),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
            pid=self.owner_pid,
            state_dir="",
            lease_seconds=lease_seconds,
            doorbell=None,
            version=__version__,
        )


def jitter() -> float:
    """For the delay of a retry: a number in [0.5, 1]."""
    return random.uniform(0.5, 1)  # noqa: S311 - spreads retries, guards nothing


def _given_back(job: ClaimedJob, *, now_us: int) -> Ending:
    return end_attempt(job, Outcome.INTERRUPTED, error="the queue that held it was closed", now_us=now_us, jitter=1.0)


_living: weakref.WeakSet[Holder] = weakref.WeakSet()
_inherited: list[object] = []
"""Connections of a parent process. Kept for ever: closing one here could harm the parent's."""


def _forget_all() -> None:
    for holder in list(_living):
        holder.forget()
    _living.clear()


os.register_at_fork(after_in_child=_forget_all)
