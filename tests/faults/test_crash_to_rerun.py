"""Must show 4 of issue 4: how long it takes on PostgreSQL until the jobs of a dead supervisor run again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobwarden.clock import MILLISECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobStatus, Outcome
from tests.support.daemon import Daemon
from tests.support.gates import Gate
from tests.support.postgresql import server
from tests.support.processes import subreaper
from tests.support.site import Site

Record = Callable[[str, object], None]

LEASE_SECONDS = 3


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on a PostgreSQL server."""
    url = server().new_database()
    with subreaper():
        made = Site(tmp_path, url=url)
        try:
            yield made
        finally:
            made.close()


def crash(daemon: Daemon) -> int:
    """SIGKILL its supervisor; the moment."""
    began_ns = SYSTEM_CLOCK.monotonic_ns()
    os.kill(daemon.supervisor, signal.SIGKILL)
    return began_ns


def run_again(site: Site, gate: Gate, job_id: int) -> int:
    """Wait for its next attempt, which has cost nothing; the moment."""
    assert gate.await_arrival().attempt == 1
    at_ns = SYSTEM_CLOCK.monotonic_ns()
    gate.let_go()
    record = site.await_end(job_id)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]
    return at_ns


def test_the_next_start_on_the_same_host_frees_its_predecessors_jobs_at_once(
    site: Site, record_property: Record
) -> None:
    """Same boot, same locked file: no lease has to pass, however long it is."""
    gate = site.gate()
    first = site.start(lease_seconds=300)
    job_id = site.add("gated_with_children", gate, max_attempts=1)
    gate.await_arrival()
    began_ns = crash(first)
    second = site.start(lease_seconds=300, settled=False)
    record_property("same_host_ms", (run_again(site, gate, job_id) - began_ns) // MILLISECOND_NS)
    assert second.events("node_freed", jobs=1)


def test_another_host_frees_them_by_lease(site: Site, record_property: Record) -> None:
    """With a state directory of its own a daemon is as far away as another host: it has to see the beat stand still."""
    gate = site.gate()
    first = site.start(lease_seconds=LEASE_SECONDS)
    job_id = site.add("gated", gate, max_attempts=1)
    gate.await_arrival()
    other = site.start(state="second", lease_seconds=LEASE_SECONDS)
    began_ns = crash(first)
    record_property("other_host_ms", (run_again(site, gate, job_id) - began_ns) // MILLISECOND_NS)
    assert other.events("node_freed", jobs=1)


def test_a_daemon_that_leaves_in_order_takes_its_row_with_it(site: Site) -> None:
    """It renews until its last worker is gone, also in a drain that outlasts the lease; then nobody waits for it."""
    gate = site.gate()
    first = site.start(lease_seconds=LEASE_SECONDS)
    job_id = site.add("gated", gate, max_attempts=1)
    gate.await_arrival()
    site.start(state="second", lease_seconds=LEASE_SECONDS)
    began = site.node_of(job_id)
    first.send(signal.SIGTERM)
    first.wait_for("leaving")
    site.await_beats(began, 8)
    gate.let_go()
    assert first.wait() == 0
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.SUCCEEDED]
    assert began not in [node.node_id for node in site.client.store.nodes()]
