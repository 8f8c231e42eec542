"""A daemon on PostgreSQL whose connections break: one by one, all at once, and in the middle of its commits."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobwarden.jobs import JobStatus, Outcome
from tests.support.postgresql import PostgreSQL, server
from tests.support.processes import subreaper
from tests.support.proxy import Cut, Proxy
from tests.support.site import Site
from tests.support.waiting import eventually


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(f"{server().socket_dir}/.s.PGSQL.{server().port}") as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, proxy: Proxy) -> Iterator[Site]:
    """Its daemons reach the server by way of the proxy, its client does not."""
    with subreaper():
        made = Site(tmp_path, url=server().new_database())
        try:
            yield made
        finally:
            proxy.resume()
            made.close()


def test_a_daemon_settles_every_commit_of_which_it_did_not_hear(
    site: Site, proxy: Proxy, record_property: Callable[[str, object], None]
) -> None:
    """A long row of cut commits, whatever they held: every job ends once, and what ran is what is on record."""
    ids = [site.add("echo", extra={"n": number}, max_attempts=3) for number in range(150)]
    daemon = site.start(database_url=proxy.url(site.url), lease_seconds=10)
    cuts: list[Cut] = []
    for number in range(12):
        more = [site.add("echo", extra={"n": 1000 + number})]
        armed = (proxy.lose_answer if number % 2 else proxy.lose_request)(b"commit")
        ids += more
        armed.wait()
        cuts.append(armed)
    for job_id in ids:
        assert site.await_end(job_id).status == JobStatus.COMPLETED
    for job_id in ids:
        accepted = [each for each in site.attempts(job_id) if each.outcome is Outcome.SUCCEEDED]
        assert len(accepted) == 1
    kinds = {kind_of(statement) for armed in cuts for statement in armed.statements}
    record_property("transactions cut", ", ".join(sorted(kinds)))
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == 0


def kind_of(statement: bytes) -> str:
    return " ".join(statement.decode(errors="replace").split()[:3])


def test_a_daemon_whose_connections_are_ended_goes_on(site: Site) -> None:
    """An administrator ends each of them, one after the other: nothing is lost, nothing is run twice for it."""
    name = site.url.rpartition("/")[2].split("?")[0]
    daemon = site.start(lease_seconds=10)
    supervisor = daemon.supervisor
    mine = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"  # noqa: S608
    ended = 0
    for _ in range(3):
        ids = [site.add("echo", extra={"n": number}) for number in range(20)]
        for (pid,) in server().execute(mine):
            server().execute(f"SELECT pg_terminate_backend({pid})")
            ended += 1
        for job_id in ids:
            record = site.await_end(job_id)
            assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
    assert ended >= 9
    assert daemon.supervisor == supervisor


def test_a_server_that_is_killed_under_load_costs_nothing(tmp_path: Path) -> None:
    """The daemon keeps outcomes, connects again with growing pauses, and goes on; nothing is lost."""
    own = PostgreSQL(tmp_path, {"synchronous_commit": "on"}).start()
    with subreaper():
        site = Site(tmp_path, url=own.new_database())
        try:
            daemon = site.start(lease_seconds=20)
            ids = [site.add("echo", extra={"n": number}) for number in range(300)]
            eventually(lambda: site.client.get_job(ids[10]).status == "completed", what="some jobs")  # type: ignore[union-attr]
            own.kill()
            daemon.wait_for("store_away")
            own.start()
            site.spare(own.pid)
            daemon.wait_for("store_back")
            for job_id in ids:
                record = site.await_end(job_id)
                assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
                assert [each.outcome for each in site.attempts(job_id)].count(Outcome.SUCCEEDED) == 1
        finally:
            site.close()
            own.close()
