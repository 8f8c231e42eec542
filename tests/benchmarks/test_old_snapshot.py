"""PostgreSQL with a million finished jobs while somebody holds an old snapshot: claim rates, and what doctor says.

While a snapshot is held, no row version that died since can be removed: each job leaves its older selves in the tables
and in the claim's index, and each claim reads past them. Jobs must keep flowing, and `doctor` must name the session.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobOptions, TypeTerms, complete
from jobwarden.store import Claim, NodeStart, Store, Work, Writer, open_store
from jobwarden.version import __version__
from tests.benchmarks.measuring import Daemon, completed, noop_jobs, print_table, seconds_since
from tests.support.postgresql import PostgreSQL

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1_200)]

FINISHED = 1_000_000
SLICE_SECONDS = 15
HELD_SLICES = 6
SHALLOW, HEAP = 4_000, 4_000
BATCH, CLAIMS = 50, 60
TERMS = (TypeTerms(job_type="measured"),)
PROPER = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "shared_buffers": "512MB"}
"""As servers are: every commit waits for the disk."""

FILL = (
    """
INSERT INTO job (id, job_type, status, priority, claim_rank, run_at, created_at, updated_at, started_at, completed_at,
    ended_at, payload, output, attempts, max_attempts, fence)
SELECT nextval('job_id_seq'), 'noop', 'completed', 0, 0, at, at, at, at, at, at,
    '{"n":1,"text":"' || repeat('x', 64) || '"}', '{"ok":true}', 1, 3, 1
FROM (SELECT now() - n * interval '1 second' / 10 AS at FROM generate_series(%s::int, 1, -1) AS n) AS old
""",
    """
INSERT INTO event (job_id, type, at, fence, attempt, node_id, node_name, started_at, ended_at, outcome)
SELECT id, 'completed', completed_at, 1, 1, 'gone', 'gone:1', started_at, ended_at, 'Succeeded' FROM job ORDER BY id
LIMIT %s
""",
    "INSERT INTO tally (job_type, status, number) VALUES ('noop', 'completed', %s)",
)
"""As a daemon would have left them, but for the events added and processing."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of its own that waits for its disk, with a million finished jobs."""
    with closing(PostgreSQL(tmp_path, PROPER)) as server:
        server.start()
        made = server.new_database()
        open_store(made, migrate=True).close()
        with administrator(made) as connection:
            for statement in FILL:
                connection.execute(statement.encode(), [FINISHED])
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
        yield made


@contextmanager
def administrator(url: str) -> Iterator[psycopg.Connection[Any]]:
    with closing(psycopg.connect(url, autocommit=True, application_name="administrator")) as connection:
        yield connection


@contextmanager
def old_snapshot(url: str) -> Iterator[int]:
    """Somebody's report that forgot to end its transaction; the pid of its session."""
    with closing(psycopg.connect(url, application_name="forgotten report")) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM node")
        yield holder.info.backend_pid


def jobs_per_second(store: Store, *, seconds: float) -> float:
    """What a daemon drains while somebody adds as fast as it goes."""
    began_ns, before = SYSTEM_CLOCK.monotonic_ns(), completed(store)
    added = 0
    while (took := seconds_since(began_ns)) < seconds:
        done = completed(store) - before
        if added - done < SHALLOW:
            store.add(noop_jobs(HEAP), now_us=SYSTEM_CLOCK.now_us())
            added += HEAP
    return (completed(store) - before) / took


class Claimer:
    """Claims and completes batches of its own type by itself, and says what a claim took."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writer: Writer = store.writer()
        start = NodeStart(
            node_id="claimer",
            name="host:1",
            host="host",
            boot_id="b",
            pid=1,
            state_dir="s",
            lease_seconds=3_600.0,
            doorbell=None,
            version=__version__,
        )
        self._writer.register(start, now_us=SYSTEM_CLOCK.now_us())

    def milliseconds(self) -> float:
        """Median of claims of a full batch, commits included."""
        return statistics.median(self._once(number) for number in range(CLAIMS))

    def close(self) -> None:
        self._writer.close()

    def _once(self, number: int) -> float:
        now_us = SYSTEM_CLOCK.now_us()
        self._store.add([JobOptions(job_type="measured", payload={"n": n}) for n in range(BATCH)], now_us=now_us)
        claim = Claim(batch=f"{now_us}-{number}", limit=BATCH, types=TERMS)
        began_ns = SYSTEM_CLOCK.monotonic_ns()
        jobs = self._do(now_us, claim=claim).claimed
        took = (SYSTEM_CLOCK.monotonic_ns() - began_ns) / SECOND_NS * 1_000
        assert len(jobs) == BATCH
        self._do(now_us, endings=[complete(job, output=None, now_us=now_us) for job in jobs])
        return took

    def _do(self, now_us: int, **what: Any) -> Any:
        return self._writer.transact(Work(now_us=now_us, node_id="claimer", node_name="host:1", **what))


def doctor(url: str) -> tuple[dict[str, Any], str]:
    """What it says, for machines and for people."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBWARDEN_")}
    command = [sys.executable, "-m", "jobwarden", "doctor", "--database-url", url]
    answers = [
        subprocess.run([*command, *more], capture_output=True, text=True, check=False, env=environment).stdout
        for more in (["--json"], [])
    ]
    return json.loads(answers[0]), answers[1]


def dead_entries(url: str) -> dict[str, object]:
    """Dead rows of the hot tables, and the size of the claim's index."""
    with administrator(url) as connection:
        rows = connection.execute(
            "SELECT relname, n_dead_tup FROM pg_stat_user_tables WHERE relname IN ('job', 'tally', 'node')"
        ).fetchall()
        size = connection.execute("SELECT pg_relation_size('job_claim') / 1024").fetchone()
    assert size is not None
    return {**{f"dead_{name}": number for name, number in sorted(rows)}, "job_claim_kB": size[0]}


def test_jobs_keep_flowing_while_somebody_holds_an_old_snapshot(url: str, tmp_path: Path) -> None:
    """What it costs is printed: within 90 s the rate falls to a third or less (store/README.md, "Known and left").

    Jobs keep flowing, and doctor names the session that holds the snapshot, and the dead rows. The bound at the end was
    met by some runs and broken by others: it is where the remedy has to show.
    """
    store = open_store(url)
    daemon = Daemon(tmp_path, workers=2)
    daemon.url = url
    rows: list[dict[str, object]] = []
    rates: dict[str, list[float]] = {"before": [], "held": [], "after": []}
    claimer = Claimer(store)

    def measure(phase: str) -> None:
        rates[phase].append(jobs_per_second(store, seconds=SLICE_SECONDS))
        row = {"phase": phase, "jobs_per_s": round(rates[phase][-1]), "claim_ms": round(claimer.milliseconds(), 2)}
        rows.append({**row, **dead_entries(url)})

    with daemon.running():
        daemon.wait_for_workers()
        measure("before")
        measure("before")
        with old_snapshot(url) as holder:
            for _ in range(HELD_SLICES):
                measure("held")
            told, shown = doctor(url)
        with administrator(url) as connection:
            connection.execute("VACUUM job")
        measure("after")
    for row, rate in zip(rows, [each for phase in rates.values() for each in phase], strict=True):
        row["share"] = round(rate / statistics.mean(rates["before"]), 2)
    print_table(f"claims beside {FINISHED} finished jobs while a snapshot is held", rows)
    print(shown)
    claimer.close()
    store.close()
    snapshots = [each for each in told["findings"] if each["subject"] == "snapshot"]
    assert [each["severity"] for each in snapshots] == ["warning"]
    assert f"session {holder} (application forgotten report" in snapshots[0]["what"]
    assert min(rates["held"]) > min(rates["before"]) / 4, "claims read past too many dead entries"
