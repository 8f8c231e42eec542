"""Whether this node may work: within its trust window, and with its row in the store. Pure; a part of the pool.

Without either nothing is dispatched, claimed or forked, and what runs is interrupted without grace: other nodes may
be about to start the same jobs (design section 7, the self-fence). Attempts that end so cost nothing; the ledger keeps
their outcomes. A node whose row is gone asks to rejoin once nobody of its old name runs any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do

if TYPE_CHECKING:
    from jobwarden.supervisor import inputs as seen
    from jobwarden.supervisor.intake import Intake
    from jobwarden.supervisor.leaving import Leaving
    from jobwarden.supervisor.reloading import Reloading
    from jobwarden.supervisor.workers import Workers

_TRUST_PASSED = "the trust window has passed; running jobs are interrupted"
_ROW_GONE = (
    "the row of this node is gone: somebody took it for dead, and its jobs run elsewhere; what runs here is "
    "interrupted, then it joins as a new node"
)


class Standing:
    """Good until something is lost."""

    def __init__(
        self, *, out: list[do.Effect], workers: Workers, intake: Intake, leaving: Leaving, reloading: Reloading
    ) -> None:
        """The node was just registered."""
        self.trusted = True
        self.gone = False
        """The node's row is not there."""
        self._rejoining = False
        self._out = out
        self._workers = workers
        self._intake = intake
        self._leaving = leaving
        self._reloading = reloading

    @property
    def good(self) -> bool:
        """Whether jobs may be claimed and started."""
        return self.trusted and not self.gone

    def trust_lost(self, _fact: seen.TrustLost, now: seen.Moment) -> None:
        """The trust window has passed."""
        if self.trusted:
            self.trusted = False
            self._fall(_TRUST_PASSED, now)

    def trust_back(self, _fact: seen.TrustBack, now: seen.Moment) -> None:
        """The lease was renewed."""
        self.trusted = True
        self._recover(now)

    def node_gone(self, _fact: seen.NodeGone, now: seen.Moment) -> None:
        """Somebody has deleted our row."""
        if not self.gone:
            self.gone, self._rejoining = True, False
            self._fall(_ROW_GONE, now)

    def rejoined(self, _fact: seen.Rejoined, now: seen.Moment) -> None:
        """There is a row again, under a new name."""
        self.gone = False
        self._recover(now)

    def hold(self) -> None:
        """After each fact while it is not good: what a late claim brought goes back; rejoin when nothing runs.

        A patient intake (an errand's) keeps what is its own: it is run once the lease is renewed.
        """
        if self.gone or not self._intake.patient:
            self._leaving.give_back_backlog()
        if self.gone and not self._rejoining and not self._intake.claiming and not self._runs():
            self._rejoining = True
            self._out.append(do.Rejoin())

    def _runs(self) -> bool:
        """Whether an end under the old name may still have to be written."""
        return any(slot.in_flight and not slot.stuck for slot in self._workers.slots.values())

    def _fall(self, why: str, now: seen.Moment) -> None:
        self._out.append(do.Alert(why))
        self._workers.roster.closed = True
        self._leaving.interrupt_all(now, grace_ns=0)

    def _recover(self, now: seen.Moment) -> None:
        if not self.good:
            return
        self._workers.roster.closed = False
        self._intake.ring()
        self._reloading.again(now)
        self._workers.fill(now)
