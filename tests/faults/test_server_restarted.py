"""PostgreSQL is killed and stays away for longer than the lease, for all daemons at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.jobs import JobStatus, Outcome
from tests.support import processes
from tests.support.postgresql import PostgreSQL
from tests.support.processes import subreaper
from tests.support.site import Site
from tests.support.ticks import enough, stretches
from tests.support.waiting import eventually

LEASE_SECONDS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgreSQL]:
    """One that the test may kill."""
    made = PostgreSQL(tmp_path, {"synchronous_commit": "on"}).start()
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


def test_after_an_outage_for_all_nobody_takes_anybody_for_dead(site: Site, server: PostgreSQL) -> None:
    """All have killed their workers; each comes back as the node that it was, and what it kept is accepted."""
    daemons = [site.start(state=name, lease_seconds=LEASE_SECONDS, workers=1) for name in ("one", "two")]
    ids = [site.add("ticking", max_attempts=1) for _ in daemons]
    eventually(lambda: all(stretches(site, job_id) for job_id in ids), what="both jobs run")
    nodes = {node.node_id for node in site.client.store.nodes()}
    server.kill()
    for job_id in ids:
        processes.await_end(stretches(site, job_id)[0].pid)
    for daemon in daemons:
        daemon.wait_for("renewal_failed")
        daemon.wait_for("attempt_ended", outcome=Outcome.INTERRUPTED)
    site.disregard(server.start().pid)
    for daemon in daemons:
        daemon.wait_for("renewed")
    eventually(lambda: all(len(stretches(site, job_id)) > 1 for job_id in ids), what="both run again", seconds=60)
    enough(site)
    for job_id in ids:
        record = site.await_end(job_id)
        assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
        assert [each.outcome for each in site.attempts(job_id)] == [Outcome.INTERRUPTED, Outcome.SUCCEEDED]
    assert {node.node_id for node in site.client.store.nodes()} == nodes
    assert not any(daemon.events("rejoined") + daemon.events("node_freed") for daemon in daemons)
