"""How long it takes from a save to the first job on the new code, while 500 jobs per second run (Must show 1)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobwarden.client import Client
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobOptions
from tests.benchmarks.measuring import percentiles, print_table
from tests.support.site import Site

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

SAVES = 50
RATE = 500
BATCH = 25
HANDLER = """
import time
from jobwarden import handler

@handler("timed")
def timed(payload):
    return [VERSION, time.time_ns()]
"""


def save(folder: Path, version: int) -> int:
    """As an editor does; the file's mtime in ns."""
    (beside := folder / ".timed.new").write_text(HANDLER.replace("VERSION", str(version)))
    beside.replace(path := folder / "timed.py")
    return path.stat().st_mtime_ns


@contextmanager
def feeding(client: Client) -> Iterator[list[int]]:
    """So many jobs are added per second, in a thread; the list of their ids grows."""
    ids: list[int] = []
    enough = threading.Event()

    def feed() -> None:
        due_ns = SYSTEM_CLOCK.monotonic_ns()
        while not enough.wait(max(0.0, (due_ns - SYSTEM_CLOCK.monotonic_ns()) / SECOND_NS)):
            ids.extend(client.add_jobs([JobOptions(job_type="timed", payload={})] * BATCH))
            due_ns += SECOND_NS * BATCH // RATE

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield ids
    finally:
        enough.set()
        feeder.join()


def test_from_a_save_to_the_first_job_on_new_code(site: Site) -> None:
    """The table shows p50 and p95 from the file's mtime; no job fails or is tried again because of a reload."""
    (folder := site.folder / "code").mkdir()
    save(folder, 0)
    daemon = site.start(handlers=folder, workers=2)
    saved = {}
    began_ns = SYSTEM_CLOCK.monotonic_ns()
    with feeding(site.client) as ids:
        for version in range(1, SAVES + 1):
            position = daemon.position
            saved[version] = save(folder, version)
            daemon.wait_for("generation_served", after=position)
            threading.Event().wait(0.25 + 0.01 * (version % 25))
    seconds = (SYSTEM_CLOCK.monotonic_ns() - began_ns) / SECOND_NS
    for job_id in ids:
        site.await_end(job_id)

    rows = site.rows("SELECT status, attempts, output FROM job WHERE job_type = 'timed'")
    assert {(status, attempts) for status, attempts, _ in rows} == {("completed", 1)}
    first: dict[int, int] = {}
    for _, _, output in rows:
        version, at_ns = json.loads(output)
        first[version] = min(at_ns, first.get(version, at_ns))
    samples = [(first[version] - mtime_ns) / 1_000_000 for version, mtime_ns in saved.items()]
    ordered = sorted(samples)
    row: dict[str, object] = {
        "saves": SAVES,
        "jobs": len(ids),
        "jobs_per_s": round(len(ids) / seconds),
        "p50_ms": round(percentiles(samples)[0]),
        "p95_ms": round(ordered[int(0.95 * len(ordered))]),
        "max_ms": round(ordered[-1]),
        "failed_or_retried": 0,
    }
    print_table("save to serving, from the file's mtime to the first job on new code", [row])
