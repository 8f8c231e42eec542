"""Renews this node's lease on a store whose nodes may be anywhere, and looks around. A thread of its own.

On its own connection, never in a batch with anything else: a lock or an odd row in the ledger's way must not cost the
lease. The trust window opens from the start of a renewal that was answered and found the row; one that fails or is cut
off opens nothing and is tried again soon. What it sees it hands on: wishes to the loop, the rest to the ledger. It
goes on until the last worker is gone and the last outcome is written, also during a drain.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.clock import SECOND_NS
from jobwarden.errors import StoreError
from jobwarden.store.deaths import pause_seconds
from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.inputs import Wished
from jobwarden.supervisor.signs import Sign, marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.clock import Clock
    from jobwarden.store.deaths import DeathWatch
    from jobwarden.store.pulse import Pulse
    from jobwarden.store.work import Seen
    from jobwarden.supervisor.ledger import Ledger
    from jobwarden.supervisor.mailbox import Mailbox
    from jobwarden.supervisor.membership import Membership

_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.1, 1.0


class Lease(threading.Thread):
    """Renews until `leave`."""

    def __init__(
        self,
        pulse: Pulse,
        membership: Membership,
        deaths: DeathWatch,
        *,
        ledger: Ledger,
        mailbox: Mailbox,
        lease_seconds: float,
        clock: Clock,
        report: Callable[[], str],
    ) -> None:
        """`report` gives the JSON that people see of this node; it is called in this thread."""
        super().__init__(name="lease", daemon=True)
        self.sign = Sign(clock)
        self._pulse = marked(pulse, self.sign)
        self._membership = membership
        self._deaths = deaths
        self._ledger = ledger
        self._mailbox = mailbox
        self._pause = pause_seconds(lease_seconds)
        self._clock = clock
        self._report = report
        self._left = threading.Event()
        self._good_ns = clock.boottime_ns()
        self._failures = 0

    def leave(self) -> None:
        """Stop renewing; only when the last worker is gone and what it left is written."""
        self._left.set()

    def run(self) -> None:
        """Renew until `leave`."""
        pause = self._pause
        while not self.sign.rest(self._left, seconds=pause):
            pause = self.renew()
        self._pulse.close()

    def renew(self) -> float:
        """Renew once; after how many seconds the next one is due."""
        began_ns, node_id = self._clock.boottime_ns(), self._membership.node_id
        try:
            seen = self._pulse.renew(node_id, report=self._report(), now_us=self._clock.now_us())
        except StoreError as error:
            return self._fail(error)
        if seen.alive:
            self._membership.renewed(node_id, since_ns=began_ns)
        else:
            self._membership.missed(node_id)
        self._note_success(began_ns)
        self._hand_on(seen, node_id)
        return max(0.0, self._pause - (self._clock.boottime_ns() - began_ns) / SECOND_NS)

    def _hand_on(self, seen: Seen, node_id: str) -> None:
        for wish in seen.wishes:
            self._mailbox.post(Wished(wish.job_id, wish.fence, wish.wish, wish.reason))
        dead = self._deaths.by_beats(seen.nodes, own=node_id)
        self._ledger.submit(Entries(free_nodes=dead, seen=seen if seen.alive else None))

    def _fail(self, error: StoreError) -> float:
        if not self._failures:
            events.emit(events.RenewalFailed(problem=str(error)))
        self._failures += 1
        return min(_FIRST_RETRY_SECONDS * 2.0 ** min(self._failures, 8), _LONGEST_RETRY_SECONDS, self._pause)

    def _note_success(self, began_ns: int) -> None:
        if self._failures:
            after_seconds = round((began_ns - self._good_ns) / SECOND_NS, 3)
            events.emit(events.Renewed(after_seconds=after_seconds))
        self._good_ns, self._failures = began_ns, 0
