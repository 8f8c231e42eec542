"""Which threads keep this node's right to its jobs and see who has lost his: that depends on what the right is.

A lease where nodes may be anywhere; the flock where they share a kernel (design section 7, decision 001). All of them
go on until the last worker is gone. Called once, by the composition root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.supervisor.lease import Lease
from jobwarden.supervisor.renewal import Renewal
from jobwarden.supervisor.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.store.deaths import DeathWatch
    from jobwarden.store.store import Store
    from jobwarden.supervisor.ledger import Ledger
    from jobwarden.supervisor.mailbox import Mailbox
    from jobwarden.supervisor.membership import Membership
    from jobwarden.supervisor.trust import TrustWindow


def renewing_threads(
    store: Store,
    membership: Membership,
    deaths: DeathWatch,
    *,
    ledger: Ledger,
    mailbox: Mailbox,
    window: TrustWindow,
    lease_seconds: float,
    report: Callable[[], str],
) -> tuple[Trust | Renewal | Lease, ...]:
    """Made, not started. `report` gives the JSON that people see of this node."""
    pulse = store.pulse()
    if pulse is None:
        trust = Trust(window, lease_seconds=lease_seconds, clock=SYSTEM_CLOCK)
        renewal = Renewal(
            membership, deaths, ledger=ledger, lease_seconds=lease_seconds, clock=SYSTEM_CLOCK, report=report
        )
        return trust, renewal
    lease = Lease(
        pulse,
        membership,
        deaths,
        ledger=ledger,
        mailbox=mailbox,
        lease_seconds=lease_seconds,
        clock=SYSTEM_CLOCK,
        report=report,
    )
    return (lease,)
