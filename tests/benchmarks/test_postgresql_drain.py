"""How many small jobs per second run to a durable end on PostgreSQL, beside other queues on the same server, same run.

The others run their jobs inside the one process that also fetches them, and PgQueuer keeps completions in memory for a
while; jobwarden's run in workers of their own, each end is on the disk before it counts, with its events. The server
waits for its disk.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.store import open_store
from tests.benchmarks import queue_peers
from tests.benchmarks.measuring import Daemon, noop_jobs, print_table, seconds_since
from tests.support.postgresql import PostgreSQL

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1_800)]

JOBS = 20_000
SLOW_JOBS = 3_000
ROUNDS = 3
WORKERS = 2
PROPER = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "shared_buffers": "512MB"}
PEERS = (
    ("procrastinate", 1, SLOW_JOBS),
    ("procrastinate", 10, SLOW_JOBS),
    ("pgqueuer", 10, JOBS),
    ("pgqueuer", 100, JOBS),
    ("pgqueuer", 500, JOBS),
)
"""Name, batch (for Procrastinate: how many at once), number of jobs."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgreSQL]:
    """One for all."""
    with closing(PostgreSQL(tmp_path, PROPER)) as made:
        yield made.start()


def drain(folder: Path, url: str) -> dict[str, float]:
    """One run: added in bulk, then drained by two workers; the rate counts from 10 % to 100 %."""
    folder.mkdir()
    daemon = Daemon(folder, workers=WORKERS)
    daemon.url = url
    store = open_store(url, migrate=True)
    jobs = noop_jobs(JOBS)
    began = SYSTEM_CLOCK.monotonic_ns()
    store.add(jobs, now_us=SYSTEM_CLOCK.now_us())
    added = JOBS / seconds_since(began)
    with daemon.running(), closing(psycopg.connect(url, autocommit=True)) as watch:
        while (first := completed(watch)) < JOBS // 10:
            Event().wait(0.02)
        began = SYSTEM_CLOCK.monotonic_ns()
        while completed(watch) < JOBS:
            Event().wait(0.02)
        rate = (JOBS - first) / seconds_since(began)
        report = daemon.report()
    store.close()
    return {
        "bulk_add_per_s": added,
        "jobs_per_s": rate,
        "loop_us_per_job": report["loop_cpu_ms"] * 1000 / JOBS,
        "ledger_us_per_job": report["ledger_cpu_ms"] * 1000 / JOBS,
        "jobs_per_commit": JOBS / report["commits"],
    }


def completed(watch: psycopg.Connection[Any]) -> int:
    """From the tallies alone: `store.counts` also counts what waits, and would take half of the server here."""
    ((number,),) = watch.execute("SELECT coalesce(sum(number), 0)::bigint FROM tally").fetchall()
    return int(number)


def peer_rate(server: PostgreSQL, peer: str, *, batch: int, jobs: int) -> float:
    """Jobs/s of another queue in a database of its own."""
    database = server.new_database().rpartition("/")[2].partition("?")[0]
    command = [sys.executable, "-m", "tests.benchmarks.queue_peers", peer, str(server.socket_dir), str(server.port)]
    run = subprocess.run([*command, database, str(jobs), str(batch)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return float(run.stdout.split()[-1])


def test_drain_beside_other_queues(tmp_path: Path, server: PostgreSQL) -> None:
    """All jobs complete; the table shows the rates, what a job costs, and the ratio to each of the others."""
    ours: list[dict[str, float]] = []
    theirs: dict[tuple[str, int], list[float]] = {(peer, batch): [] for peer, batch, _jobs in PEERS}
    absent = {name for peer, _batch, _jobs in PEERS for name in queue_peers.missing(peer)}
    for number in range(ROUNDS):
        ours.append(drain(tmp_path / str(number), server.new_database()))
        for peer, batch, jobs in PEERS:
            if not queue_peers.missing(peer):
                theirs[peer, batch].append(peer_rate(server, peer, batch=batch, jobs=jobs))
    rate = statistics.median(run["jobs_per_s"] for run in ours)
    rows: list[dict[str, object]] = [
        {"queue": "jobwarden", **{name: round(statistics.median(run[name] for run in ours), 1) for name in ours[0]}}
    ]
    for (peer, batch), rates in theirs.items():
        if rates:
            middle = statistics.median(rates)
            rows.append({"queue": peer, "batch": batch, "jobs_per_s": round(middle), "ratio": round(rate / middle, 2)})
    print_table(
        f"drain of {JOBS} jobs, {WORKERS} workers, PostgreSQL that waits for its disk, medians of {ROUNDS}", rows
    )
    if absent:
        pytest.skip(f"measured alone: {', '.join(sorted(absent))} not installed; pip install 'jobwarden[bench]'")
    assert rate > 0
