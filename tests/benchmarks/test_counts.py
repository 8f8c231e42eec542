"""What people's verbs cost beside a million finished jobs: counts, lists, and bulk verbs over a hundred thousand."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from jobwarden.clock import MILLISECOND_NS, SECOND_US, SYSTEM_CLOCK
from jobwarden.jobs import JobChanges, JobFilter, JobOptions
from jobwarden.store import Store, open_store
from jobwarden.store.access import Access
from jobwarden.store.dialects import StoreOptions, dialect_for
from tests.benchmarks.measuring import print_table, seconds_since

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

COMPLETED = 1_000_000
PENDING = 100_000
NOW_US = 1_700_000_000 * SECOND_US

FINISHED = """
INSERT INTO job (job_type, status, priority, run_at, claim_rank, attempts, created_at, updated_at, ended_at,
                 completed_at, payload)
WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < :number)
SELECT 'done', 'completed', 0, :now, 0, 1, :now, :now, :now, :now, '{"text":"' || printf('%064d', n) || '"}' FROM series
"""


def milliseconds(act: Callable[[], object], *, times: int = 9) -> float:
    """The median."""
    samples = []
    for _ in range(times):
        began = SYSTEM_CLOCK.monotonic_ns()
        act()
        samples.append((SYSTEM_CLOCK.monotonic_ns() - began) / MILLISECOND_NS)
    return round(statistics.median(samples), 2)


def fill(store: Store, url: str) -> None:
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=60))
    with Access(dialect).writing(ring=False) as connection:
        connection.execute(text(FINISHED), {"number": COMPLETED, "now": NOW_US})
        connection.execute(
            text("INSERT INTO tally (job_type, status, number) VALUES ('done', 'completed', :number)"),
            {"number": COMPLETED},
        )
    dialect.close()
    for _ in range(PENDING // 10_000):
        store.add([JobOptions(job_type="work", payload={"text": "x" * 64}, tags=["t"])] * 10_000, now_us=NOW_US)


def test_reading_beside_a_million_finished_jobs(tmp_path: Path) -> None:
    """Against the same on a store with the pending ones alone, and on an empty one."""
    empty = open_store(f"sqlite:///{tmp_path}/empty.db", StoreOptions(synchronous="normal"))
    url = f"sqlite:///{tmp_path}/full.db"
    full = open_store(url, StoreOptions(synchronous="normal"))
    fill(full, url)
    acts: dict[str, Callable[[Store], object]] = {
        "counts": lambda store: store.counts(),
        "newest": lambda store: store.bulk.find(JobFilter(), limit=100),
        "pending": lambda store: store.bulk.find(JobFilter(status=["pending"]), limit=100),
        "completed": lambda store: store.bulk.find(JobFilter(status=["completed"]), limit=100),
        "failed": lambda store: store.bulk.find(JobFilter(status=["failed"]), limit=100),
        "processing": lambda store: store.bulk.find(JobFilter(status=["processing"]), limit=100),
        "count of ended": lambda store: store.bulk.count(JobFilter(status=["ended"])),
        "feed, 500 events": lambda store: store.feed.after(None),
    }
    rows: list[dict[str, object]] = [
        {"verb": name, "empty_ms": milliseconds(partial(act, empty)), "full_ms": milliseconds(partial(act, full))}
        for name, act in acts.items()
    ]
    print_table(f"reading with {COMPLETED} completed and {PENDING} pending jobs", rows)
    assert full.counts() == {"done": {"completed": COMPLETED}, "work": {"pending": PENDING}}
    assert all(float(str(row["full_ms"])) < 500 for row in rows)
    empty.close()
    full.close()


def test_bulk_verbs_over_a_hundred_thousand_jobs(tmp_path: Path) -> None:
    """Seconds each, in one transaction, and how much memory they took beyond what was there."""
    url = f"sqlite:///{tmp_path}/full.db"
    store = open_store(url, StoreOptions(synchronous="normal"))
    fill(store, url)
    tagged = JobFilter(tags=["t"])
    acts: dict[str, Callable[[], object]] = {
        "edit_all": lambda: store.bulk.edit_all(tagged, JobChanges.parse(priority=3), now_us=NOW_US),
        "edit_all tags": lambda: store.bulk.edit_all(JobFilter(), JobChanges.parse(tags=["t"]), now_us=NOW_US),
        "cancel_all": lambda: store.bulk.cancel_all(tagged, now_us=NOW_US),
        "retry_all, dry run": lambda: store.bulk.retry_all(tagged, now_us=NOW_US, dry_run=True),
        "retry_all": lambda: store.bulk.retry_all(tagged, now_us=NOW_US),
        "clear": lambda: store.bulk.clear(tagged, now_us=NOW_US),
    }
    rows: list[dict[str, object]] = []
    for name, act in acts.items():
        before, began = psutil.Process().memory_info().rss, SYSTEM_CLOCK.monotonic_ns()
        act()
        seconds = round(seconds_since(began), 2)
        rows.append({"verb": name, "seconds": seconds, "more_mb": (psutil.Process().memory_info().rss - before) >> 20})
    print_table(f"bulk verbs over {PENDING} jobs beside {COMPLETED} completed ones", rows)
    assert store.counts() == {"done": {"completed": COMPLETED}}
    assert all(float(str(row["seconds"])) < 60 for row in rows)
    store.close()
