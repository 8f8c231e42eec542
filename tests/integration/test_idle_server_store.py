"""How little an idle daemon asks of a server, and that nothing comes the later for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from jobwarden.clock import SECOND_US, SYSTEM_CLOCK, to_datetime
from jobwarden.jobs import JobStatus
from tests.support.postgresql import PostgreSQL
from tests.support.processes import subreaper
from tests.support.server_log import LOGGING, is_renewal, statements
from tests.support.site import Site
from tests.support.waiting import eventually

LEASE_SECONDS = 3
RENEWALS = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgreSQL]:
    """A server that logs every statement."""
    made = PostgreSQL(tmp_path, LOGGING).start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def site(tmp_path: Path, server: PostgreSQL) -> Iterator[Site]:
    """A site on it."""
    url = server.new_database()
    with subreaper():
        made = Site(tmp_path, url=url)
        try:
            yield made
        finally:
            made.close()


def in_seconds(seconds: int) -> datetime:
    """That moment."""
    return to_datetime(SYSTEM_CLOCK.now_us() + seconds * SECOND_US)


def run_of_renewals(server: PostgreSQL) -> int:
    """How many of the last statements were renewals, and nothing else."""
    asked = statements(server)[::-1]
    return next((count for count, each in enumerate(asked) if not is_renewal(each)), len(asked))


def test_an_idle_daemon_asks_for_nothing_but_its_lease(
    site: Site, server: PostgreSQL, record_property: Callable[[str, object], None]
) -> None:
    """One statement for each renewal: no polling while notifications work, and no rounds while nothing happens."""
    site.start(workers=8, lease_seconds=LEASE_SECONDS)
    site.await_end(site.add("echo"))
    eventually(lambda: run_of_renewals(server) >= RENEWALS, what="a run of renewals alone", seconds=60)
    record_property("renewals_in_a_row", run_of_renewals(server))


def test_what_becomes_due_on_an_idle_daemon_is_run_then(site: Site) -> None:
    """The ledger waits for the next due time, of which the claim or the renewal told it; nobody rings."""
    site.start(lease_seconds=60)
    later = site.add("echo", run_at=in_seconds(1))
    assert site.await_end(later).status is JobStatus.COMPLETED


def test_a_job_expires_in_time_although_every_worker_is_busy(site: Site) -> None:
    """Nothing is claimed then, so a round is asked for at the moment that is known."""
    gate = site.gate()
    site.start(workers=1, lease_seconds=LEASE_SECONDS)
    busy = site.add("gated", gate)
    gate.await_arrival()
    waiting = site.add("echo", expires_in=1.0)
    assert site.await_end(waiting, seconds=20).status is JobStatus.CANCELLED
    gate.let_go()
    site.await_end(busy)


def test_a_change_of_which_nobody_was_told_is_seen_by_the_next_renewal(site: Site, server: PostgreSQL) -> None:
    """Notifications may be lost: the number that a renewal brings along shows that jobs have changed."""
    site.start(lease_seconds=LEASE_SECONDS)
    job_id = site.add("echo", run_at=in_seconds(600))  # the only one
    name = site.url.rpartition("/")[2].partition("?")[0]
    server.execute(
        "WITH made AS (UPDATE job SET due_at = now(), ready = 1 RETURNING id) "
        "INSERT INTO event (job_id, type, at) SELECT id, 'edited', now() FROM made",
        database=name,
    )
    assert site.await_end(job_id, seconds=20).status is JobStatus.COMPLETED
