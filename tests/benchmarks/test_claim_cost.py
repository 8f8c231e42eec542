"""What a claim costs beside a large history and large backlogs that are not for this node, against an empty store."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from sqlalchemy import text

from jobwarden.clock import SECOND_US, SYSTEM_CLOCK
from jobwarden.jobs import JobOptions, TypeTerms, complete
from jobwarden.store import Claim, NodeStart, Store, StoreOptions, Work, Writer, open_store
from tests.benchmarks.measuring import print_table

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

COMPLETED = 1_000_000
SCHEDULED = 200_000
FOREIGN = 100_000
BATCH = 50
CLAIMS = 400
PAYLOAD = '{"n":1,"text":"' + "x" * 64 + '"}'
TERMS = (TypeTerms(job_type="work"), TypeTerms(job_type="other"))
TOMORROW_US = 86_400 * SECOND_US

FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO job (job_type, status, priority, claim_rank, run_at, created_at, updated_at, payload, {columns})
SELECT {job_type}, {status}, n % 5, -(n % 5), :now, :now, :now, :payload, {values}
FROM numbers
"""


def fill(store: Store, count: int, *, job_type: str, status: str, now_us: int, **columns: str) -> None:
    """Rows by SQL alone: as the daemon would have left them, without their events."""
    sql = FILL.format(
        columns=", ".join(columns), values=", ".join(columns.values()), job_type=repr(job_type), status=repr(status)
    )
    with store._access.writing(ring=False) as connection:  # noqa: SLF001 - no verb adds a million jobs in seconds
        connection.execute(text(sql), {"count": count, "now": now_us, "payload": PAYLOAD})


def registered(store: Store, now_us: int) -> Writer:
    writer = store.writer()
    start = NodeStart(
        node_id="n",
        name="host:1",
        host="host",
        boot_id="b",
        pid=1,
        state_dir="s",
        lease_seconds=15.0,
        doorbell=None,
        version="1",
    )
    writer.register(start, now_us=now_us)
    return writer


def claim_once(store: Store, writer: Writer, number: int) -> float:
    """Microseconds of one claim of a full batch, its commit included; the jobs are completed afterwards."""
    now_us = SYSTEM_CLOCK.now_us()
    store.add([JobOptions(job_type="work", payload={"n": n}) for n in range(BATCH)], now_us=now_us)
    claim = Claim(batch=str(number), limit=BATCH, types=TERMS)
    began_ns = SYSTEM_CLOCK.monotonic_ns()
    jobs = writer.transact(Work(now_us=now_us, node_id="n", node_name="host:1", claim=claim)).claimed
    took_us = (SYSTEM_CLOCK.monotonic_ns() - began_ns) / 1_000
    assert len(jobs) == BATCH
    endings = [complete(job, output=None, now_us=now_us) for job in jobs]
    writer.transact(Work(now_us=now_us, node_id="n", node_name="host:1", endings=endings))
    return took_us


def test_a_claim_beside_large_backlogs_costs_what_it_costs_on_an_empty_store(tmp_path: Path) -> None:
    """At most one and a half times as much; medians of claims that take turns on both stores."""
    now_us = SYSTEM_CLOCK.now_us()
    empty = open_store(f"sqlite:///{tmp_path}/empty.db", StoreOptions(synchronous="normal"))
    full = open_store(f"sqlite:///{tmp_path}/full.db", StoreOptions(synchronous="normal"))
    ended = {"attempts": "1", "max_attempts": "3", "completed_at": ":now", "ended_at": ":now", "started_at": ":now"}
    fill(full, COMPLETED, job_type="work", status="completed", now_us=now_us, **ended)
    later = {"due_at": f":now + {TOMORROW_US} + n"}
    fill(full, SCHEDULED, job_type="work", status="pending", now_us=now_us, **later)
    fill(full, FOREIGN, job_type="foreign", status="pending", now_us=now_us, ready="1", due_at=":now - n")
    with full._access.reading() as connection:  # noqa: SLF001
        assert connection.execute(text("SELECT count(*) FROM job")).scalar_one() == COMPLETED + SCHEDULED + FOREIGN
    writers = {store: registered(store, now_us) for store in (empty, full)}
    took: dict[Store, list[float]] = {empty: [], full: []}
    for number in range(CLAIMS):
        for store in (empty, full) if number % 2 else (full, empty):
            took[store].append(claim_once(store, writers[store], number))
            writers[store].checkpoint_if_long()
    medians = {store: statistics.median(found) for store, found in took.items()}
    row: dict[str, object] = {
        "empty_us": round(medians[empty]),
        "full_us": round(medians[full]),
        "ratio": round(medians[full] / medians[empty], 3),
    }
    print_table(f"claim of {BATCH} jobs beside {COMPLETED + SCHEDULED + FOREIGN} others, medians of {CLAIMS}", [row])
    for store, writer in writers.items():
        writer.close()
        store.close()
    assert medians[full] <= 1.5 * medians[empty]
