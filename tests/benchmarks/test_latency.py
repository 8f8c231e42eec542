"""How long an idle daemon takes to start a job, how late a kill is, what an add and an idle worker cost."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from threading import Event

import psutil
import pytest

from jobwarden.client import Client
from jobwarden.clock import MILLISECOND_NS, SYSTEM_CLOCK
from tests.benchmarks.measuring import Daemon, noop_jobs, percentiles, print_table, seconds_since

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]


def test_pickup_when_idle(tmp_path: Path) -> None:
    """From before add_job to the handler's first line, one job at a time."""
    daemon = Daemon(tmp_path, workers=2)
    samples = []
    with daemon.running(), Client(daemon.url) as client:
        daemon.wait_for_workers()
        for _ in range(200):
            began = SYSTEM_CLOCK.monotonic_ns()
            record = client.wait(client.add_job("stamp"), timeout=30)
            assert isinstance(record.output, int)
            samples.append((record.output - began) / MILLISECOND_NS)
    p50, p99 = percentiles(samples)
    print_table("pickup when idle (the commit of the add included), ms", [{"p50": round(p50, 2), "p99": round(p99, 2)}])
    assert len(samples) == 200


@pytest.mark.parametrize("forced", [False, True])
def test_lateness_of_kills(tmp_path: Path, *, forced: bool) -> None:
    """From deadline + grace to the death of the last process of a tree with a grandchild of its own session."""
    daemon = Daemon(tmp_path, workers=2)
    with daemon.running(), Client(daemon.url) as client:
        daemon.wait_for_workers()
        ids = [client.add_job("hang", timeout_ms=200, max_attempts=1, force_kill_on_timeout=forced) for _ in range(20)]
        for job_id in ids:
            assert client.wait(job_id, timeout=120).failure_reason == "timeout"
        late = [fact["lateness_ms"] for fact in daemon.facts("tree_cleared")]
    samples = [value for value in late if isinstance(value, float)]
    p50, p99 = percentiles(samples)
    print_table(f"lateness of kills, forced={forced}, ms", [{"p50": round(p50, 1), "p99": round(p99, 1)}])
    assert len(samples) == 20


def test_adding_beside_a_bare_commit(tmp_path: Path) -> None:
    """One job per commit, beside a bare INSERT per commit on the same disk."""
    bare = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode=wal")
    bare.execute("PRAGMA synchronous=full")
    bare.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, payload TEXT)")
    began = SYSTEM_CLOCK.monotonic_ns()
    for _ in range(1_000):
        bare.execute("INSERT INTO job (payload) VALUES (?)", ("x" * 64,))
    bare_rate = 1_000 / seconds_since(began)
    bare.close()
    with Client(f"sqlite:///{tmp_path}/jobs.db") as client:
        client.add_job("noop")
        began = SYSTEM_CLOCK.monotonic_ns()
        for _ in range(1_000):
            client.add_job("noop", {"text": "x" * 64})
        single = 1_000 / seconds_since(began)
        jobs = noop_jobs(10_000)
        began = SYSTEM_CLOCK.monotonic_ns()
        client.add_jobs(jobs)
        bulk = 10_000 / seconds_since(began)
        assert len(client.get_jobs(limit=1)) == 1
    row: dict[str, object] = {
        "single_per_s": round(single),
        "bare_commit_per_s": round(bare_rate),
        "bulk_per_s": round(bulk),
    }
    print_table("adding", [row])


@pytest.mark.parametrize("workers", [2, 8, 32])
def test_memory_of_idle_workers(tmp_path: Path, workers: int) -> None:
    """Proportional set size of everything below the keeper, with so many idle workers."""
    daemon = Daemon(tmp_path, workers=workers)
    with daemon.running():
        daemon.wait_for_workers()
        Event().wait(1)
        mine = psutil.Process(os.getpid()).children(recursive=True)
        pss = {each.pid: each.memory_full_info().pss for each in mine}
    row: dict[str, object] = {"workers": workers, "pss_mb": round(sum(pss.values()) / 1e6, 1), "processes": len(pss)}
    print_table("memory of idle workers", [row])
    assert len(pss) >= workers + 3
