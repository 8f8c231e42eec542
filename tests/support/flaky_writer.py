"""A real `Writer` whose transactions fail when a test says so: before anything is written, or after the commit."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from jobwarden.errors import CommitUnknownError, StoreUnavailableError

if TYPE_CHECKING:
    from jobwarden.store import Writer
    from jobwarden.store.work import Receipts, Work

OK, BEFORE, AFTER = "ok", "before", "after"


class FlakyWriter:
    """By composition: everything but `transact` goes straight to the real one."""

    def __init__(self, real: Writer, plan: Plan) -> None:
        self._real = real
        self._plan = plan

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def transact(self, work: Work) -> Receipts:
        """As planned."""
        verdict = self._plan.next(work)
        if verdict == BEFORE:
            where = "the test"
            raise StoreUnavailableError(where, "it is away")
        receipts = self._real.transact(work)
        if verdict == AFTER:
            where = "the test"
            raise CommitUnknownError(where)
        return receipts


class Plan:
    """What becomes of the next transactions; shared by the test's thread and the ledger's."""

    def __init__(self) -> None:
        """All goes well."""
        self.verdicts: deque[str] = deque()
        self.always: str | None = None
        self.works: list[Work] = []
        """Every transaction that was tried."""
        self.notes: list[int] = []
        """How many notes about running attempts each of them held then."""
        self.gate = threading.Event()
        """Closed: transactions wait."""
        self.gate.set()
        self.waiting = threading.Event()
        """A transaction is waiting at the gate."""

    def next(self, work: Work) -> str:
        """The verdict on this transaction."""
        self.works.append(work)
        self.notes.append(len(work.progress) + len(work.prolongs))
        if not self.gate.is_set():
            self.waiting.set()
            assert self.gate.wait(30), "the test never opened the gate"
        if self.verdicts:
            return self.verdicts.popleft()
        return self.always or OK
