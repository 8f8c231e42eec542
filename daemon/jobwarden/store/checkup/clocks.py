"""Whether wall clocks agree: that of this host, those of the nodes, and the one that wrote the newest moments.

Leases do not depend on wall clocks (design section 7), due times and what people see do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.findings import ok, warning
from jobwarden.store.schema import event, node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from jobwarden.findings import Finding

TOLERANCE_US = 2 * SECOND_US
"""What clocks that are kept by NTP may differ, with the way to the database."""
_NEWEST = 50
_WHY = "jobs become due by the wall clock: what a clock that was ahead has put off waits until the others get there"


def clocks(connection: Connection, *, now_us: int) -> Iterator[Finding]:
    """The newest moments in the store against this host's clock."""
    ahead = [*_ahead_nodes(connection, now_us=now_us)]
    yield from ahead
    newest = connection.execute(select(event.c.at).order_by(event.c.id.desc()).limit(_NEWEST)).scalars().all()
    beyond = max(newest, default=now_us) - now_us
    if beyond > TOLERANCE_US:
        yield warning(
            "clock",
            f"the newest event in the store ({to_datetime(max(newest)):%Y-%m-%d %H:%M:%S} UTC) is "
            f"{beyond / SECOND_US:,.0f} s ahead of this host's clock",
            why=f"a clock was stepped back, or one host's is wrong; {_WHY}",
            do="keep all clocks with NTP (`timedatectl`); `jobwarden list --order run_at` shows what is due when",
        )
    elif not ahead:
        yield ok("clock", "no moment in the store is ahead of this host's clock")


def _ahead_nodes(connection: Connection, *, now_us: int) -> Iterator[Finding]:
    for name, beat_us in connection.execute(select(node.c.name, node.c.beat_at).order_by(node.c.name)):
        if beat_us - now_us > TOLERANCE_US:
            yield warning(
                "clock",
                f"{name} beat {(beat_us - now_us) / SECOND_US:,.0f} s ahead of this host's clock",
                why=f"its clock and ours differ; {_WHY}",
                do="keep the clocks of all hosts with NTP (`timedatectl`)",
            )
