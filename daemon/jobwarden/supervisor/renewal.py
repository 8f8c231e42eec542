"""Beats for this node and looks which other nodes are dead, on a store whose nodes share a kernel. A thread of its own.

The right to jobs is the flock on the node's file there: held by supervisor and keeper, free exactly when both and so
all workers are gone (R3, R6). The beat is written by the ledger, for people to see and for the case that a node's file
is missing. The trust window is not this thread's (`trust`): it reads files and the database, which may stall.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.signs import Sign, marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.clock import Clock
    from jobwarden.store.deaths import DeathWatch
    from jobwarden.supervisor.ledger import Ledger
    from jobwarden.supervisor.membership import Membership

LOOKS_PER_LEASE = 30
BEATS_PER_LEASE = 5
RECONCILES_PER_LEASE = 1


class Renewal(threading.Thread):
    """Beats, and has dead nodes' jobs freed; until `leave`."""

    def __init__(
        self,
        membership: Membership,
        deaths: DeathWatch,
        *,
        ledger: Ledger,
        lease_seconds: float,
        clock: Clock,
        report: Callable[[], str],
    ) -> None:
        """`report` gives the JSON that people see of this node; it is called in this thread."""
        super().__init__(name="renewal", daemon=True)
        self.sign = Sign(clock)
        self._membership = membership
        self._deaths = marked(deaths, self.sign)
        self._ledger = ledger
        self._pause = lease_seconds / LOOKS_PER_LEASE
        self._report = report
        self._left = threading.Event()
        self._turn = 0

    def leave(self) -> None:
        """Stop renewing; only when the last worker is gone."""
        self._left.set()

    def run(self) -> None:
        """Renew until `leave`."""
        while not self.sign.rest(self._left, seconds=self._pause):
            self._turn += 1
            beat = self._turn % (LOOKS_PER_LEASE // BEATS_PER_LEASE) == 0
            reconcile = self._turn % (LOOKS_PER_LEASE // RECONCILES_PER_LEASE) == 0
            dead = self._deaths.dead_nodes(own=self._membership.node_id)
            if beat or dead or reconcile:
                report = self._report() if beat else None
                self._ledger.submit(Entries(report=report, free_nodes=dead, reconcile=reconcile))
