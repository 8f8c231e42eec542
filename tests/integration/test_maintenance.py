"""Maintenance by a real daemon: rounds beside the work, and what people do by hand while it works."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from typing import Any

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.jobs import JobOptions, JobStatus, Outcome
from jobwarden.store.keeping.upkeep import Reclaimed
from tests.support.site import Site
from tests.support.waiting import eventually

LEASE_SECONDS = 3
"""A round each 0.6 s."""

MANY = 1_000


def execute(site: Site, statement: str, *values: object) -> None:
    """Behind the daemon's back, as a crash or another version would leave it."""
    with closing(sqlite3.connect(site.database, timeout=10)) as connection:
        connection.execute(statement, values)
        connection.commit()


def value(site: Site, query: str, *values: object) -> Any:
    """The first value of the first row."""
    with closing(sqlite3.connect(site.database, timeout=10)) as connection:
        return connection.execute(query, values).fetchone()[0]


def is_gone(site: Site, job_id: int) -> bool:
    return site.client.get_job(job_id) is None


def test_the_daemon_removes_what_has_ended_in_its_time(site: Site) -> None:
    """Completed jobs go when their days are over; a failed one has its own days."""
    site.start(retention_completed_days=0, lease_seconds=LEASE_SECONDS)
    failed = site.client.add_job("fail_for_good", {}, tags=["kept"])
    completed = site.client.add_job("echo", {})
    site.await_end(failed)
    eventually(lambda: is_gone(site, completed), what="the removal of the completed job")
    assert site.job(failed).status is JobStatus.FAILED
    assert value(site, "SELECT count(*) FROM event WHERE job_id = ?", completed) == 0
    assert site.client.store.counts() == {"fail_for_good": {"failed": 1}}


def test_a_changed_retention_holds_from_the_next_round_on(site: Site) -> None:
    """After SIGHUP, without a restart."""
    config = site.folder / "jobwarden.toml"
    config.write_text("retention_completed_days = 'none'\n")
    daemon = site.start(config=config, lease_seconds=LEASE_SECONDS)
    job_id = site.client.add_job("echo", {})
    site.await_end(job_id)
    config.write_text("retention_completed_days = 0\n")
    daemon.send(signal.SIGHUP)
    eventually(lambda: is_gone(site, job_id), what="the removal of the job")


def test_a_round_shows_in_the_report(site: Site) -> None:
    """Its time, and what it did."""
    site.start(retention_completed_days=0, lease_seconds=LEASE_SECONDS)
    ids = [site.client.add_job("echo", {}) for _ in range(3)]

    def removed() -> bool:
        (node,) = site.client.store.nodes()
        maintenance = (node.report or {}).get("maintenance")
        return isinstance(maintenance, dict) and bool(maintenance["done"]) and maintenance["at_us"] > node.started_us

    eventually(removed, what="a report of a round that removed something")
    eventually(lambda: all(is_gone(site, each) for each in ids), what="the removal of all")


def test_two_daemons_share_the_rounds(site: Site) -> None:
    """What is to be done is done once, by whoever won the round."""
    daemons = [
        site.start(state=name, retention_completed_days=0, lease_seconds=LEASE_SECONDS) for name in ("one", "two")
    ]
    site.client.add_jobs([JobOptions(job_type="echo", payload={})] * MANY)
    eventually(lambda: value(site, "SELECT count(*) FROM job") == 0, what="the removal of all jobs")
    for daemon in daemons:
        daemon.stop()
    facts = [fact for daemon in daemons for fact in daemon.events("maintained")]
    assert sum(fact["done"].get("removed", 0) for fact in facts) == MANY


def test_what_a_crash_left_undone_is_done_by_the_next_round(site: Site) -> None:
    """The prerequisite has ended and nobody settled its edge: the dependent runs all the same."""
    parent = site.client.add_job("unserved", {})
    child = site.client.add_job("echo", {}, depends_on={"jobIds": [parent]})
    execute(
        site,
        "UPDATE job SET status = 'completed', ended_at = ?, ready = NULL, due_at = NULL WHERE id = ?",
        SYSTEM_CLOCK.now_us(),
        parent,
    )
    site.start(lease_seconds=LEASE_SECONDS)
    assert site.await_end(child).status is JobStatus.COMPLETED


def test_a_waiting_client_is_rung_when_a_round_ends_its_job(site: Site) -> None:
    """Nobody serves the type, so no claim sees that its time is over."""
    site.start(lease_seconds=LEASE_SECONDS)
    job_id = site.client.add_job("unserved", {}, expires_in=0.5)
    record = site.await_end(job_id)
    assert record.status is JobStatus.CANCELLED


def test_a_round_that_fails_harms_no_job(site: Site) -> None:
    """A duty that the database refuses is told once, and comes again; outcomes are written as ever."""
    daemon = site.start(retention_completed_days=0, lease_seconds=LEASE_SECONDS)
    execute(site, "CREATE TRIGGER no_removal BEFORE DELETE ON job BEGIN SELECT raise(ABORT, 'not here'); END")
    first = site.client.add_job("echo", {})
    assert site.await_end(first).status is JobStatus.COMPLETED
    eventually(lambda: any("maintenance" in each["text"] for each in daemon.events("alerted")), what="the alert")
    seen = value(site, "SELECT next_at FROM maintenance")
    eventually(lambda: value(site, "SELECT next_at FROM maintenance") > seen, what="another round")
    assert site.await_end(site.client.add_job("echo", {})).status is JobStatus.COMPLETED
    alerts = [alert["text"] for alert in daemon.events("alerted") if "maintenance" in alert["text"]]
    assert len(alerts) == 1
    assert "removed" in alerts[0]
    assert "not here" in alerts[0]
    execute(site, "DROP TRIGGER no_removal")
    eventually(lambda: is_gone(site, first), what="the removal of the job")


def test_cleaning_up_while_a_thousand_jobs_are_retrying_loses_none(site: Site) -> None:
    """Issue 3, Must show 7: cleanup of everything older than 0 days; all of them still end."""
    site.start(lease_seconds=LEASE_SECONDS)
    job = JobOptions(job_type="fail_once", payload=site.payload(), max_attempts=2, retry_delay=0.5, retry_backoff=False)
    ids = site.client.add_jobs([job] * MANY)
    removed = 0

    def all_ended() -> bool:
        nonlocal removed
        removed += site.client.cleanup_old_jobs(days=0)
        return len(site.lines("ended")) >= MANY

    eventually(all_ended, what="the end of all jobs", seconds=60)
    assert sorted(map(int, site.lines("ended"))) == ids
    eventually(lambda: site.client.store.running() == [], what="the last outcome")
    removed += site.client.cleanup_old_jobs(days=0)
    assert removed == MANY
    assert value(site, "SELECT count(*) FROM job") == 0


def test_a_reclaimed_job_of_a_living_node_is_killed_given_back_and_runs_again(site: Site) -> None:
    """Asked for, not freed: its node kills it, sees it dead, gives it back; two attempts never overlap."""
    site.start(lease_seconds=LEASE_SECONDS)
    gate = site.gate()
    job_id = site.add("gated_with_children", gate)
    first = gate.await_arrival()
    assert site.client.reclaim_stuck_jobs(minutes=60) == Reclaimed([], [])
    assert site.client.reclaim_stuck_jobs(minutes=0) == Reclaimed([], [job_id])
    second = gate.await_arrival()
    assert (second.job_id, second.pid != first.pid) == (job_id, True)
    gate.let_go()
    record = site.await_end(job_id)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
    lost, ended = site.attempts(job_id)
    assert (lost.outcome, ended.outcome) == (Outcome.INTERRUPTED, Outcome.SUCCEEDED)
    (reclaimed,) = [event for event in site.client.get_job_events(job_id) if event.type == "reclaimed"]
    assert reclaimed.metadata["reason"] == "reclaimed by hand: it ran for more than 0 minutes"
    assert site.client.reclaim_stuck_jobs(minutes=0) == Reclaimed([], [])


def test_a_job_of_a_dead_daemon_is_freed_by_hand(site: Site) -> None:
    """No other daemon runs that could do it; the lock of the dead one is free."""
    daemon = site.start(lease_seconds=LEASE_SECONDS)
    gate = site.gate()
    job_id = site.add("gated", gate)
    gate.await_arrival()
    os.kill(daemon.supervisor, signal.SIGKILL)
    daemon.wait()
    assert site.client.reclaim_stuck_jobs(minutes=0) == Reclaimed([job_id], [])
    assert site.job(job_id).status is JobStatus.PENDING
    site.start(lease_seconds=LEASE_SECONDS)
    gate.await_arrival()
    gate.let_go()
    assert site.await_end(job_id).status is JobStatus.COMPLETED


def test_a_wish_that_nobody_knows_wedges_nothing(site: Site) -> None:
    """A newer client's wish is left alone: the job ends as it would have, and the next one runs."""
    site.start(workers=1, lease_seconds=LEASE_SECONDS)
    gate = site.gate()
    job_id = site.add("gated", gate)
    gate.await_arrival()
    execute(site, "UPDATE job SET wish = 'levitate', wish_at = 1 WHERE id = ?", job_id)
    beat = value(site, "SELECT beat FROM node")
    eventually(lambda: value(site, "SELECT beat FROM node") > beat, what="a beat, which reads wishes")
    gate.let_go()
    assert site.await_end(job_id).status is JobStatus.COMPLETED
    assert site.await_end(site.client.add_job("echo", {})).status is JobStatus.COMPLETED
    assert value(site, "SELECT wish FROM job WHERE id = ?", job_id) is None
