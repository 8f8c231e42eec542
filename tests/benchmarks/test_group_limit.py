"""What a group limit costs: the same jobs with and without one, on one daemon, in one run."""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from threading import Event

import pytest

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobOptions, JobRecord
from jobwarden.store import Store, open_store
from tests.benchmarks.measuring import Daemon, print_table

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

WORKERS = 8
JOBS = 500
GROUPS = 5
LIMIT = 2
ROUNDS = 5

Stamps = list[tuple[int, int]]


def run_jobs(store: Store) -> dict[str, Stamps]:
    """Group -> (start, end) of each of its jobs, by the jobs' own stamps."""
    # Shuffled, so that without a limit more than two of a group do meet.
    groups = [f"g{number % GROUPS}" for number in range(JOBS)]
    random.Random(1).shuffle(groups)
    jobs = [JobOptions(job_type="nap", group_id=group) for group in groups]
    ids = store.add(jobs, now_us=SYSTEM_CLOCK.now_us())
    while not all(store.has_ended(job_id) for job_id in reversed(ids)):
        Event().wait(0.05)
    found: dict[str, Stamps] = defaultdict(list)
    for record in map(store.get, ids):
        assert isinstance(record, JobRecord)
        assert isinstance(record.output, list)
        began, ended = record.output
        found[str(record.group_id)].append((int(str(began)), int(str(ended))))
    return found


def at_once(stamps: Stamps) -> int:
    """How many ran together at most."""
    steps = sorted((moment, step) for began, ended in stamps for moment, step in ((began, 1), (ended, -1)))
    running = most = 0
    for _moment, step in steps:
        running += step
        most = max(most, running)
    return most


def rate(groups: Iterable[Stamps]) -> float:
    """Jobs per second from the first start to the last end."""
    stamps = [each for group in groups for each in group]
    began, ended = min(each[0] for each in stamps), max(each[1] for each in stamps)
    return len(stamps) * SECOND_NS / (ended - began)


def test_a_group_limit_is_exact_and_costs_little(tmp_path: Path) -> None:
    """Never more than two of a group at once, and at least 0.7 of the rate without a limit."""
    daemon = Daemon(tmp_path, workers=WORKERS)
    store = open_store(daemon.url)
    free: list[float] = []
    limited: list[float] = []
    most_free = most_limited = 0
    with daemon.running():
        daemon.wait_for_workers()
        for _ in range(ROUNDS):
            groups = run_jobs(store)
            free.append(rate(groups.values()))
            most_free = max(most_free, *map(at_once, groups.values()))
            store.controls.set_limit("group", "*", max_running=LIMIT, now_us=SYSTEM_CLOCK.now_us())
            groups = run_jobs(store)
            limited.append(rate(groups.values()))
            most_limited = max(most_limited, *map(at_once, groups.values()))
            store.controls.clear_limits("group", "*", now_us=SYSTEM_CLOCK.now_us())
    store.close()
    share = statistics.median(limited) / statistics.median(free)
    row: dict[str, object] = {
        "free_per_s": round(statistics.median(free), 1),
        "limited_per_s": round(statistics.median(limited), 1),
        "share": round(share, 3),
        "most_at_once_free": most_free,
        "most_at_once_limited": most_limited,
    }
    print_table(f"{JOBS} jobs of 20 ms, {GROUPS} groups, limit {LIMIT}, {WORKERS} workers, medians of {ROUNDS}", [row])
    assert most_limited == LIMIT < most_free
    assert share >= 0.7
