"""How many small jobs per second run to a durable end, beside the floor of the same run; and what a job costs."""

from __future__ import annotations

import statistics
from pathlib import Path
from threading import Event

import pytest

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.store import open_store
from tests.benchmarks.measuring import Daemon, completed, floor, noop_jobs, print_table, seconds_since

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

JOBS = 20_000
ROUNDS = 3
DEPTH = 8


def drain(folder: Path) -> dict[str, float]:
    """One run: added in bulk, then drained by two workers; the rate counts from 10 % to 100 %."""
    folder.mkdir()
    daemon = Daemon(folder, workers=2)
    store = open_store(daemon.url)
    jobs = noop_jobs(JOBS)
    began = SYSTEM_CLOCK.monotonic_ns()
    store.add(jobs, now_us=SYSTEM_CLOCK.now_us())
    added = JOBS / seconds_since(began)
    with daemon.running():
        while (first := completed(store)) < JOBS // 10:
            Event().wait(0.005)
        began = SYSTEM_CLOCK.monotonic_ns()
        while completed(store) < JOBS:
            Event().wait(0.01)
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


def test_drain_beside_the_floor(tmp_path: Path) -> None:
    """All jobs complete; the table shows the rate, its share of the floor, and the cost per job of both threads."""
    runs, floors = [], []
    for number in range(ROUNDS):
        floors.append(floor(JOBS, DEPTH))
        runs.append(drain(tmp_path / str(number)))
    row: dict[str, object] = {name: round(statistics.median(run[name] for run in runs), 1) for name in runs[0]}
    shares = [run["jobs_per_s"] / bare for run, bare in zip(runs, floors, strict=True)]
    row |= {"floor_per_s": round(statistics.median(floors)), "share_of_floor": round(statistics.median(shares), 3)}
    print_table(f"drain of {JOBS} jobs, 2 workers, SQLite FULL, medians of {ROUNDS}", [row])
    assert all(run["jobs_per_s"] > 0 for run in runs)
