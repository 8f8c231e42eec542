"""How a daemon ends: TERM and INT drain, a second one is fast, QUIT is now; no attempt is lost (P7)."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from jobwarden.jobs import JobOptions, JobStatus, Outcome
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.waiting import eventually


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_lets_running_jobs_end_and_starts_no_further_ones(site: Site, number: signal.Signals) -> None:
    """TERM and INT alike: the running job completes, the waiting one stays untouched, the exit code is 0."""
    gate = site.gate()
    daemon = site.start(workers=1)
    running = site.add("gated", gate)
    gate.await_arrival()

    daemon.send(number)
    daemon.wait_for("leaving", signal=number.name)
    waiting = site.add("gated", gate)
    gate.let_go()

    assert daemon.wait() == 0
    assert (site.job(running).status, site.job(running).attempts) == (JobStatus.COMPLETED, 1)
    assert (site.job(waiting).status, site.job(waiting).attempts) == (JobStatus.PENDING, 0)
    assert site.client.store.nodes() == []


def interrupted(site: Site, job_id: int) -> bool:
    """Whether the job waits to be run again, with its attempt given back."""
    record = site.job(job_id)
    outcomes = [each.outcome for each in site.attempts(job_id)]
    return (record.status, record.attempts, outcomes) == (JobStatus.PENDING, 0, [Outcome.INTERRUPTED])


def test_a_job_that_outlasts_the_drain_is_killed_and_its_attempt_given_back(site: Site) -> None:
    """Past `drain_seconds` it is stopped like one past its limit, but not charged."""
    gate = site.gate()
    daemon = site.start(drain_seconds=0.2)
    job_id = site.add("swallow", gate, max_attempts=1)
    gate.await_arrival()

    assert daemon.stop() == 0
    assert interrupted(site, job_id)


def test_a_second_request_to_stop_does_not_wait_for_the_drain(site: Site) -> None:
    """TERM twice: running jobs are stopped now, with their grace."""
    gate = site.gate()
    daemon = site.start(drain_seconds=3600)
    job_id = site.add("obey", gate, max_attempts=1)
    gate.await_arrival()

    daemon.send(signal.SIGTERM)
    daemon.wait_for("leaving")
    daemon.send(signal.SIGTERM)

    assert daemon.wait() == 0
    assert interrupted(site, job_id)


def test_quit_ends_it_at_once(site: Site) -> None:
    """QUIT grants no grace: even a handler that swallows everything is gone, and nothing is charged."""
    gate = site.gate()
    daemon = site.start(drain_seconds=3600, kill_grace_seconds=3600)
    ids = [site.add("swallow", gate, max_attempts=1) for _ in range(2)]
    for _ in ids:
        gate.await_arrival()

    assert daemon.stop(signal.SIGQUIT) == 0
    assert all(interrupted(site, job_id) for job_id in ids)
    assert all("swallowed" not in (site.attempts(job_id)[0].captured or "") for job_id in ids)


def test_jobs_queued_behind_others_are_given_back_by_a_drain(site: Site) -> None:
    """What was claimed but not begun goes back as if it had never been claimed."""
    daemon = site.start(workers=1)
    payloads = [site.payload(file="many", line=number) for number in range(2000)]
    ids = site.client.add_jobs([JobOptions(job_type="write_line", payload=each) for each in payloads])
    eventually(lambda: len(site.lines("many")) > 200, what="two hundred of the jobs")

    assert daemon.stop() == 0
    records = site.client.get_jobs(limit=len(ids))
    done = [record for record in records if record.status is JobStatus.COMPLETED]
    assert len(done) == len(site.lines("many"))
    assert {(record.status, record.attempts) for record in records if record not in done} <= {(JobStatus.PENDING, 0)}


def test_a_second_daemon_on_the_same_state_directory_is_refused_with_one_sentence(site: Site) -> None:
    """The state directory has one owner; the message names it and the way out."""
    site.start()
    second = site.start(lock_wait_seconds=0, settled=False)

    assert second.wait() == 75
    (text,) = [event["text"] for event in second.log]
    assert "another jobwarden daemon is using it" in text


def kill_supervisor(daemon: Daemon) -> None:
    os.kill(daemon.supervisor, signal.SIGKILL)


def kill_keeper(daemon: Daemon) -> None:
    daemon.send(signal.SIGKILL)


def drain(daemon: Daemon) -> None:
    daemon.send(signal.SIGTERM)


def quit_now(daemon: Daemon) -> None:
    daemon.send(signal.SIGQUIT)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("rounds", [2, pytest.param(5, marks=pytest.mark.nightly)])
def test_starts_and_stops_in_a_row_under_load_lose_nothing(site: Site, rounds: int) -> None:
    """However each daemon ends, every job is completed in the end, none ran beside itself, no attempt was charged."""
    acts = [drain, kill_supervisor, quit_now, kill_keeper] * rounds
    nap = JobOptions(job_type="nap", payload=site.payload(seconds=0.02), max_attempts=1)
    options = [nap] * (40 * len(acts))
    ids = site.client.add_jobs(options)
    for act in acts:
        ran = len(site.lines("runs"))
        daemon = site.start(lock_wait_seconds=20, settled=False)
        eventually(lambda seen=ran: len(site.lines("runs")) > seen + 8, what="some work")  # type: ignore[misc]
        with suppress(ProcessLookupError):
            act(daemon)
        daemon.wait()

    assert not all(site.client.store.has_ended(job_id) for job_id in ids), "there was no load to the end"
    site.start(workers=4)
    for job_id in ids:
        record = site.await_end(job_id)
        assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
