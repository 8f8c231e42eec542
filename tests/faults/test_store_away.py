"""Must show 8 of issue 2, the second part: a full disk, and a database that can only be read."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobwarden.client import Client
from jobwarden.errors import CommitUnknownError, StoreUnavailableError
from jobwarden.jobs import JobStatus, Outcome
from tests.support import processes
from tests.support.daemon import Daemon
from tests.support.gates import Gate
from tests.support.processes import subreaper
from tests.support.site import Site
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: full disks and read-only files are not tested")

OUTPUT_BYTES = 900_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "jobwarden-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def site(tmp_path: Path, small_disk: Path) -> Iterator[Site]:
    """A site with its database on the small disk."""
    with subreaper():
        made = Site(tmp_path, database_folder=small_disk)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Until the end of the block there is not one free page on this disk."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(*files: Path) -> Iterator[None]:
    """Until the end of the block nobody can write to these files, not even who has them open, not even root."""
    names = [str(file) for file in files if file.exists()]
    made = subprocess.run(["chattr", "+i", *names], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"NOT TESTED: this file system knows no immutable files: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *names], check=True)


def run_two(site: Site, gate: Gate) -> list[int]:
    """Two running jobs that will return a lot when the gate opens."""
    ids = [site.add("gated_large", gate, extra={"size": OUTPUT_BYTES}, max_attempts=1) for _ in range(2)]
    for _ in ids:
        gate.await_arrival()
    return ids


def add_is_refused(site: Site, client: Client) -> None:
    """An add fails, with one sentence. A disk that breaks in the COMMIT leaves open whether it was done."""
    with pytest.raises((StoreUnavailableError, CommitUnknownError)) as caught:
        client.add_job("echo", {"text": "x" * OUTPUT_BYTES})
    assert "\n" not in str(caught.value)
    assert str(site.database) in str(caught.value)


def both_have_reported(daemon: Daemon) -> None:
    """Both workers have sent their results and wait for the next job."""
    workers = daemon.await_workers(2)
    eventually(lambda: all("[idle]" in processes.title(pid) for pid in workers), what="two idle workers")


def outcomes_are_written(site: Site, ids: list[int]) -> None:
    """The kept outcomes arrive: one attempt each, which succeeded."""
    for job_id in ids:
        record = site.await_end(job_id)
        assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
        assert len(str(record.output)) == OUTPUT_BYTES
        assert [each.outcome for each in site.attempts(job_id)] == [Outcome.SUCCEEDED]
    assert site.await_end(site.client.add_job("echo", {"n": 1})).output == {"n": 1}


def test_on_a_full_disk_adds_fail_and_outcomes_are_kept_until_there_is_room(site: Site, small_disk: Path) -> None:
    """P1: what was accepted is not lost; running jobs end, and their outcomes are written as soon as that works."""
    gate = site.gate()
    daemon = site.start(lease_seconds=3)
    ids = run_two(site, gate)

    with full(small_disk):
        add_is_refused(site, site.client)
        gate.let_go(2)
        away = daemon.wait_for("store_away")
        assert "full" in away["problem"]
        both_have_reported(daemon)
        assert [site.job(job_id).status for job_id in ids] == [JobStatus.PROCESSING] * 2

    daemon.wait_for("store_back")
    outcomes_are_written(site, ids)
    assert not [event for event in daemon.events("alerted") if "trust" in event["text"]]


def test_a_full_disk_that_lasts_longer_than_the_lease_kills_nothing(site: Site, small_disk: Path) -> None:
    """On SQLite a node's life is its lock, not its row: who cannot write a beat keeps its jobs."""
    gate = site.gate()
    daemon = site.start(lease_seconds=3)
    other = site.start(state="second", lease_seconds=3)
    ids = run_two(site, gate)

    with full(small_disk):
        gate.let_go(1)
        eventually(lambda: daemon.events("store_away") or other.events("store_away"), what="a daemon without its store")
        lives_on(daemon, seconds=3.5)
        assert not daemon.events("node_freed")
        assert not other.events("node_freed")

    gate.let_go(1)
    outcomes_are_written(site, ids)


def lives_on(daemon: Daemon, *, seconds: float) -> None:
    """The daemon does not end within this time."""
    pidfd = os.pidfd_open(daemon.keeper.pid)
    try:
        assert not select.select([pidfd], [], [], seconds)[0], "the daemon has ended"
    finally:
        os.close(pidfd)


def test_a_daemon_that_is_told_to_leave_waits_until_its_outcomes_are_written(site: Site, small_disk: Path) -> None:
    """The end of a drain is not the end of an outcome: it is kept until there is room."""
    gate = site.gate()
    daemon = site.start(lease_seconds=3)
    ids = run_two(site, gate)

    with full(small_disk):
        gate.let_go(2)
        daemon.wait_for("store_away")
        daemon.send(signal.SIGTERM)
        below = processes.children(daemon.supervisor)
        eventually(lambda: not any(map(processes.lives, below)), what="the end of everything below the supervisor")
        lives_on(daemon, seconds=1.5)  # the pauses between two tries are a second at most

    assert daemon.wait() == 0
    assert [site.job(job_id).status for job_id in ids] == [JobStatus.COMPLETED] * 2


def test_on_a_read_only_store_adds_fail_and_outcomes_are_kept_until_it_can_be_written(tmp_path: Path) -> None:
    """The same as on a full disk: whatever the reason why nothing can be written, nothing is lost."""
    with subreaper():
        site = Site(tmp_path)
        try:
            gate = site.gate()
            daemon = site.start(lease_seconds=3)
            ids = run_two(site, gate)
            with read_only(*(tmp_path / f"jobs.db{suffix}" for suffix in ("", "-wal"))):
                add_is_refused(site, site.client)
                newcomer = Client(site.url)
                with pytest.raises(StoreUnavailableError, match="cannot be written"):
                    newcomer.add_job("echo", {})
                gate.let_go(2)
                daemon.wait_for("store_away")
                both_have_reported(daemon)
            daemon.wait_for("store_back")
            outcomes_are_written(site, ids)
            with newcomer:  # what it opened then could only read, and would for ever
                site.await_end(newcomer.add_job("echo", {}))
        finally:
            site.close()


def test_a_daemon_does_not_start_on_a_store_that_it_cannot_write(site: Site, small_disk: Path) -> None:
    """It says so in one sentence and ends; nothing is left."""
    site.client.add_job("echo", {})
    site.client.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        daemon = site.start(settled=False)
        assert daemon.wait() != 0
        (text,) = [event["text"] for event in daemon.log if event["event"] == "text"]
        assert str(site.database) in text
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
