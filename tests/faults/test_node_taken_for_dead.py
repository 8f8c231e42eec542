"""A live node's row disappears: whoever took it for dead has given its jobs to others."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing

from jobwarden.jobs import JobStatus, Outcome
from tests.support import processes
from tests.support.site import Site


def take_for_dead(site: Site) -> None:
    """The row goes, as if by somebody's hand."""
    with closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        connection.execute("DELETE FROM node")


def test_a_node_without_a_row_kills_its_jobs_and_joins_again_without_an_operator(site: Site) -> None:
    """It could claim nothing any more; in the same process it becomes a new node, and runs the jobs once more."""
    gate = site.gate()
    daemon = site.start(lease_seconds=3)
    job_id = site.add("gated", gate, max_attempts=1)
    pid = gate.await_arrival().pid
    take_for_dead(site)
    rejoined = daemon.wait_for("rejoined")
    assert not processes.lives(pid)
    gate.await_arrival()
    gate.let_go()
    record = site.await_end(job_id)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.INTERRUPTED, Outcome.SUCCEEDED]
    (node,) = site.client.store.nodes()
    assert node.node_id == rejoined["node"]
    assert "gated" in {each.job_type for each in node.types or []}
    assert daemon.running
    assert daemon.stop() == 0
    assert site.client.store.nodes() == []


def test_a_node_that_joined_again_is_found_by_its_lock_when_it_dies(site: Site) -> None:
    """Keeper and supervisor still hold the file under its new name, so others neither bury it early nor wait."""
    gate = site.gate()
    daemon = site.start(lease_seconds=3)
    take_for_dead(site)
    rejoined = daemon.wait_for("rejoined")
    daemon.await_workers(2)
    job_id = site.add("gated", gate)
    gate.await_arrival()
    site.start(state="second", lease_seconds=300, settled=False)
    os.kill(daemon.supervisor, signal.SIGKILL)
    gate.await_arrival()
    gate.let_go()
    site.await_end(job_id)
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]
    assert rejoined["node"] not in [node.node_id for node in site.client.store.nodes()]
