"""Real daemons on a real MariaDB: several share its jobs, outlive each other, and outlive the server."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.jobs import JobStatus, Outcome
from tests.support.mariadb import MariaDB, server
from tests.support.processes import subreaper
from tests.support.site import Site
from tests.support.waiting import eventually

LEASE_SECONDS = 3
JOBS = 120


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on the MariaDB of this test process."""
    url = server().new_database()
    with subreaper():
        made = Site(tmp_path, url=url)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.slow
def test_two_daemons_share_the_jobs_and_run_each_once(site: Site) -> None:
    """Four jobs run at once where each has two workers; claims at the same time pass over what the other has locked."""
    gates = [site.gate() for _ in range(4)]
    for number in (1, 2):
        site.start(state=f"state{number}", workers=2)
    ids = [site.add("gated", gate) for gate in gates] + [site.add("echo") for _ in range(JOBS)]
    for gate in gates:
        gate.await_arrival()
    for gate in gates:
        gate.let_go()
    for job_id in ids:
        assert site.await_end(job_id).status is JobStatus.COMPLETED
        assert [each.outcome for each in site.attempts(job_id)] == [Outcome.SUCCEEDED]


@pytest.mark.slow
def test_another_host_frees_the_jobs_of_a_dead_daemon_by_lease(site: Site) -> None:
    """It has to see the beat stand still for a lease; the attempt has cost nothing."""
    gate = site.gate()
    first = site.start(lease_seconds=LEASE_SECONDS)
    job_id = site.add("gated", gate, max_attempts=1)
    gate.await_arrival()
    other = site.start(state="second", lease_seconds=LEASE_SECONDS)
    os.kill(first.supervisor, signal.SIGKILL)
    gate.await_arrival()
    gate.let_go()
    assert site.await_end(job_id).status is JobStatus.COMPLETED
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]
    assert other.events("node_freed", jobs=1)


@pytest.mark.slow
def test_an_end_is_kept_while_the_server_is_down(tmp_path: Path) -> None:
    """The server is killed while a job runs, and started again within the lease: the attempt's outcome is recorded."""
    folder = Path(tempfile.mkdtemp(prefix="jw-maria-"))
    own = MariaDB(folder, {"innodb-flush-log-at-trx-commit": "1"})
    own.start()
    try:
        with subreaper():
            site = Site(tmp_path, url=own.new_database())
            try:
                gate = site.gate()
                daemon = site.start(lease_seconds=60)
                job_id = site.add("gated", gate)
                gate.await_arrival()
                own.kill()
                gate.let_go()
                own.start()
                site.spare(own.pid)
                record = eventually(lambda: _ended(site, job_id), what="the end is recorded")
                assert record
                assert [each.outcome for each in site.attempts(job_id)] == [Outcome.SUCCEEDED]
                assert daemon.running
            finally:
                site.close()
    finally:
        own.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _ended(site: Site, job_id: int) -> bool:
    return site.client.store.has_ended(job_id) is True
