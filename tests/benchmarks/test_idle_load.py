"""Must show 5 of issue 4: what one idle daemon with 8 workers and the default lease asks of PostgreSQL in a minute."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from jobwarden.clock import SYSTEM_CLOCK
from tests.benchmarks.measuring import print_table, seconds_since
from tests.support.postgresql import PostgreSQL
from tests.support.processes import subreaper
from tests.support.server_log import LOGGING, RENEWAL, is_renewal, statements
from tests.support.site import Site
from tests.support.waiting import eventually

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

MOST_PER_MINUTE = 60
RENEWALS = 81
"""Four minutes of them, so that rounds are in it as they come."""
_SETTLED = 4


def kind(statement: str) -> str:
    """What it is about, in a word or two."""
    return "renewal" if is_renewal(statement) else " ".join(statement.split()[:2])


def test_an_idle_daemon_leaves_the_server_alone(tmp_path: Path) -> None:
    """BEGIN, SET and COMMIT included, at most one statement a second."""
    server = PostgreSQL(tmp_path, LOGGING).start()
    try:
        with subreaper():
            site = Site(tmp_path, url=server.new_database())
            try:
                asked, seconds = measure(site, server)
            finally:
                site.close()
    finally:
        server.close()
    per_minute = len(asked) * 60 / seconds
    found = [*Counter(map(kind, asked)).most_common(), ("all", len(asked))]
    rows: list[dict[str, object]] = [
        {"statement": name, "number": count, "per_minute": round(count * 60 / seconds, 1)} for name, count in found
    ]
    print_table("statements of an idle daemon", rows)
    assert per_minute <= MOST_PER_MINUTE


def measure(site: Site, server: PostgreSQL) -> tuple[list[str], float]:
    """The statements of the time between two renewals, and how long that was."""
    site.start(workers=8)
    site.await_end(site.add("echo"))
    settled = server.log.stat().st_size
    eventually(lambda: _renewals(server, settled) >= _SETTLED, what="it is idle", seconds=60)
    mark, began_ns = server.log.stat().st_size, SYSTEM_CLOCK.monotonic_ns()
    eventually(lambda: _renewals(server, mark) >= RENEWALS, what="four minutes of renewals", seconds=400)
    return statements(server, since=mark)[:-1], seconds_since(began_ns)


def _renewals(server: PostgreSQL, since: int) -> int:
    return server.log.read_bytes()[since:].count(RENEWAL.encode())
