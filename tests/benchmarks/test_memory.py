"""Must show 5 of issue 5: what 2 and 32 idle workers cost, and what looking at 32 busy ones costs the supervisor."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.supervisor.effects import Measure
from jobwarden.supervisor.meter import measured
from tests.benchmarks.measuring import print_table
from tests.support.memory import memory_of
from tests.support.processes import subreaper
from tests.support.site import Site
from tests.support.waiting import eventually

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

FEW, MANY = 2, 32
MOST_MB_EACH = 5.0
LOOKS = 200
MOST_LOOK_MS = 20.0
HANDLERS = """
import asyncio, time
from dataclasses import dataclass

from pydantic import BaseModel
from jobwarden import handler

class Address(BaseModel):
    street: str
    city: str

class Order(BaseModel):
    number: int
    address: Address
    lines: list[str]

@dataclass
class Note:
    text: str

@handler("order")
def order(payload: Order):
    return {"number": payload.number, "lines": len(payload.lines)}

@handler("note")
def note(payload: Note):
    return payload.text

@handler("wait")
async def wait(payload):
    await asyncio.sleep(0)

@handler("nap")
def nap(payload):
    time.sleep(60)
"""
JOBS = 50
"""Of each kind for each worker."""


def measure(folder: Path, workers: int) -> dict[str, dict[str, float]]:
    """One daemon: just started, and after each worker has had jobs of all kinds."""
    folder.mkdir()
    (folder / "handlers").mkdir()
    (folder / "handlers" / "shop.py").write_text(HANDLERS)
    with subreaper():
        site = Site(folder)
        try:
            site.start(workers=workers, handlers=folder / "handlers")
            born = memory_of(site)
            order = {"number": 1, "address": {"street": "a", "city": "b"}, "lines": ["x"] * 10}
            for job_type, payload in (("order", order), ("note", {"text": "x"}), ("wait", {})):
                jobs = [site.client.add_job(job_type, payload) for _ in range(JOBS * workers)]
                for job in jobs:
                    site.await_end(job, seconds=120)
            return {"born": born, "worked": memory_of(site)}
        finally:
            site.close()


def test_an_idle_worker_costs_little(tmp_path: Path) -> None:
    """At most 5 MB each for 30 more of them, whether they have just been born or have done all kinds of jobs."""
    few, many = measure(tmp_path / "few", FEW), measure(tmp_path / "many", MANY)
    rows: list[dict[str, object]] = []
    for state in few:
        each = (many[state]["all"] - few[state]["all"]) / (MANY - FEW)
        rows += [{"workers": FEW, "state": state, **few[state]}, {"workers": MANY, "state": state, **many[state]}]
        rows.append({"each further worker": round(each, 2), "state": state})
        assert each <= MOST_MB_EACH
    print_table("PSS of a daemon, MB", rows)


def test_a_look_at_busy_workers_is_cheap(tmp_path: Path) -> None:
    """What the meter spends on one look at 32 busy workers; it looks ten times a second while they are busy."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "shop.py").write_text(HANDLERS)
    with subreaper():
        site = Site(tmp_path)
        try:
            daemon = site.start(workers=MANY, handlers=tmp_path / "handlers")
            workers = daemon.await_workers(MANY)
            jobs = [site.client.add_job("nap", {}) for _ in workers]
            eventually(lambda: site.client.counts()["nap"]["processing"] == MANY, what="all are busy")
            rows = [look(workers, cpu=cpu) for cpu in (False, True)]
            for job in jobs:
                site.client.cancel_job(job)
        finally:
            site.close()
    print_table(f"one look at {MANY} workers", rows)
    assert all(float(str(row["median_ms"])) < MOST_LOOK_MS for row in rows)


def look(workers: set[int], *, cpu: bool) -> dict[str, object]:
    """Milliseconds of one look at all of them."""
    wishes = [
        Measure(slot, (slot, 1), pid, born_kb=0, enough_kb=1 << 40, cpu=cpu, most=512)
        for slot, pid in enumerate(workers)
    ]
    spent = []
    for _ in range(LOOKS):
        began = SYSTEM_CLOCK.monotonic_ns()
        for wish in wishes:
            measured(wish)
        spent.append((SYSTEM_CLOCK.monotonic_ns() - began) / 1e6)
    return {"memory": True, "cpu": cpu, "median_ms": round(statistics.median(spent), 2), "max_ms": round(max(spent), 2)}
