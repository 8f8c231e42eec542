"""What retention costs: a drain while as much is removed as is added, beside one that keeps everything."""

from __future__ import annotations

import statistics
from pathlib import Path
from threading import Event

import pytest

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.store import open_store
from tests.benchmarks.measuring import Daemon, noop_jobs, print_table, seconds_since

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

JOBS = 60_000
ROUNDS = 3


def drain(folder: Path, *, days: str) -> dict[str, float]:
    """Drain all jobs; then wait until retention has removed what it is to remove."""
    folder.mkdir()
    daemon = Daemon(folder, workers=2, retention_completed_days=days)
    store = open_store(daemon.url)
    store.add(noop_jobs(JOBS), now_us=SYSTEM_CLOCK.now_us())
    with daemon.running():
        while (first := store.counts()["noop"].get("pending", 0)) > 0.9 * JOBS:
            Event().wait(0.005)
        began = SYSTEM_CLOCK.monotonic_ns()
        while (now := store.counts().get("noop", {})).get("pending", 0) + now.get("processing", 0):
            Event().wait(0.01)
        rate = first / seconds_since(began)
        left = now.get("completed", 0)
        began = SYSTEM_CLOCK.monotonic_ns()
        while days == "0" and store.counts():
            Event().wait(0.01)
        rest = seconds_since(began)
    store.close()
    return {"jobs_per_s": rate, "left_at_the_end": left, "seconds_to_remove_them": rest}


def test_retention_keeps_up_with_a_drain(tmp_path: Path) -> None:
    """Removing everything as soon as it has ended costs a part of the rate, and lags by little."""
    kept, removed = [], []
    for number in range(ROUNDS):
        kept.append(drain(tmp_path / f"kept{number}", days="none"))
        removed.append(drain(tmp_path / f"removed{number}", days="0"))
    row: dict[str, object] = {"kept_jobs_per_s": round(statistics.median(run["jobs_per_s"] for run in kept))}
    row |= {name: round(statistics.median(run[name] for run in removed), 2) for name in removed[0]}
    shares = [run["jobs_per_s"] / bare["jobs_per_s"] for run, bare in zip(removed, kept, strict=True)]
    row |= {"share_of_rate": round(statistics.median(shares), 2)}
    print_table(f"drain of {JOBS} jobs with everything removed at once, 2 workers, SQLite FULL", [row])
    assert statistics.median(shares) > 0.5
