"""A live node's row disappears: whoever took it for dead has given its jobs to others."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from jobwarden.jobs import JobStatus
from jobwarden.supervisor.loop import EXIT_NODE_GONE
from tests.support.site import Site


def test_a_node_without_a_row_kills_its_jobs_and_ends_and_the_next_start_runs_them(site: Site) -> None:
    """It could claim nothing any more, for ever and without a word; a service manager starts a new one."""
    gate = site.gate()
    daemon = site.start(lease_seconds=3)
    job_id = site.add("gated", gate)
    gate.await_arrival()

    with closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        connection.execute("DELETE FROM node")

    assert daemon.wait() == EXIT_NODE_GONE
    assert not site.is_held(job_id)
    site.start()
    gate.await_arrival()
    gate.let_go()
    assert site.await_end(job_id).status == JobStatus.COMPLETED
