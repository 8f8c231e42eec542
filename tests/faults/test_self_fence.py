"""Must show 3 of issue 4: who is cut off from PostgreSQL kills its workers before anybody else has their jobs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobwarden.clock import MILLISECOND_NS, SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobStatus, Outcome
from tests.support import processes
from tests.support.daemon import Daemon
from tests.support.postgresql import server
from tests.support.processes import subreaper
from tests.support.proxy import Proxy
from tests.support.site import Site
from tests.support.ticks import Stretch, enough, stretches
from tests.support.waiting import eventually

Record = Callable[[str, object], None]

LEASE_SECONDS = 3
WORKERS = 2


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """The network between the first daemon and the server."""
    found = server()
    with Proxy(str(found.socket_dir / f".s.PGSQL.{found.port}")) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, proxy: Proxy) -> Iterator[Site]:  # noqa: ARG001 - its daemons leave before their network does
    """A site on a PostgreSQL server."""
    url = server().new_database()
    with subreaper():
        made = Site(tmp_path, url=url)
        try:
            yield made
        finally:
            made.close()


def start_two(site: Site, first_url: str) -> tuple[Daemon, list[int]]:
    """A daemon that has jobs in hand, and a healthy second one."""
    first = site.start(database_url=first_url, lease_seconds=LEASE_SECONDS, workers=WORKERS)
    ids = [site.add("ticking", max_attempts=1) for _ in range(WORKERS)]
    eventually(lambda: all(stretches(site, job_id) for job_id in ids), what="both jobs run")
    site.start(state="second", lease_seconds=LEASE_SECONDS, workers=WORKERS)
    return first, ids


def await_second_attempts(site: Site, ids: list[int]) -> None:
    """The other daemon runs the same jobs."""
    eventually(
        lambda: all(len(stretches(site, each)) > 1 for each in ids), what="the second daemon has them", seconds=60
    )


def show(site: Site, ids: list[int], *, since_ns: int, record: Record) -> None:
    """Each second attempt began after the first one's last sign of life; the times, for people."""
    pairs: list[list[Stretch]] = [stretches(site, job_id) for job_id in ids]
    assert all(len(each) == 2 for each in pairs)
    assert all(one.last_ns < two.first_ns for one, two in pairs)
    record("last_sign_of_life_ms", max(one.last_ns - since_ns for one, _two in pairs) // MILLISECOND_NS)
    record("second_start_ms", min(two.first_ns - since_ns for _one, two in pairs) // MILLISECOND_NS)
    record("margin_ms", min(two.first_ns - one.last_ns for one, two in pairs) // MILLISECOND_NS)


def finish(site: Site, ids: list[int]) -> None:
    """All end well: what was lost cost no attempt."""
    enough(site)
    for job_id in ids:
        record = site.await_end(job_id)
        assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
        assert [each.outcome for each in site.attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]


def works(site: Site, daemon: Daemon) -> None:
    """The daemon, now the only one, runs a job."""
    for other in site.daemons:
        if other is not daemon:
            assert other.stop() == 0
    assert site.await_end(site.add("echo")).status is JobStatus.COMPLETED


@pytest.mark.parametrize("how", [Proxy.cut, Proxy.refuse], ids=["silence", "refused"])
def test_a_daemon_that_is_cut_off_kills_its_workers_before_another_starts_their_jobs(
    site: Site, proxy: Proxy, how: Callable[[Proxy], None], record_property: Record
) -> None:
    """Its trust ends a margin before its lease, on its own clock; back on the network it works as a new node."""
    first, ids = start_two(site, proxy.url(site.url))
    before = {node.node_id for node in site.client.store.nodes()}
    began_ns = SYSTEM_CLOCK.boottime_ns()
    how(proxy)
    await_second_attempts(site, ids)
    assert all(each["outcome"] == Outcome.INTERRUPTED for each in first.events("attempt_ended"))
    passed = began_ns + 3 * LEASE_SECONDS * SECOND_NS
    eventually(lambda: SYSTEM_CLOCK.boottime_ns() > passed, what="three leases have passed")
    proxy.resume()
    rejoined = first.wait_for("rejoined")
    assert rejoined["before"] in before
    assert rejoined["node"] not in before
    show(site, ids, since_ns=began_ns, record=record_property)
    finish(site, ids)
    works(site, first)


def test_the_keeper_does_it_for_a_supervisor_that_is_stopped(site: Site, record_property: Record) -> None:
    """SIGSTOP for longer than the lease: the keeper kills in time; after SIGCONT it works as a new node."""
    first, ids = start_two(site, site.url)
    began_ns = SYSTEM_CLOCK.boottime_ns()
    os.kill(first.supervisor, signal.SIGSTOP)
    await_second_attempts(site, ids)
    assert processes.state(first.supervisor) == "T"
    os.kill(first.supervisor, signal.SIGCONT)
    first.wait_for("rejoined")
    show(site, ids, since_ns=began_ns, record=record_property)
    finish(site, ids)
    works(site, first)


def test_outcomes_are_kept_over_a_short_cut_and_count(site: Site, proxy: Proxy) -> None:
    """Shorter than the lease: whatever ended meanwhile is offered under the same node and fence, and accepted."""
    daemon = site.start(database_url=proxy.url(site.url), lease_seconds=60, workers=1)
    job_id = site.add("ticking", max_attempts=1)
    eventually(lambda: stretches(site, job_id), what="the job runs")
    proxy.cut()
    enough(site)
    eventually(lambda: not site.is_held(job_id), what="the handler has ended")
    assert site.job(job_id).status is JobStatus.PROCESSING
    proxy.resume()
    record = site.await_end(job_id)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
    assert not daemon.events("rejoined")
