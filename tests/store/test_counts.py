"""Counts: always what a look at every row would give, without looking at the rows that have ended."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.jobs import JobFilter, Outcome
from jobwarden.store import schema
from jobwarden.store.access import Access
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.keeping import tallies
from jobwarden.store.people import counting
from jobwarden.store.people.filters import conditions

from .scene import Scene


@pytest.fixture
def access(scene: Scene, url: str) -> Any:
    """A second way to the scene's database, below its verbs."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    yield Access(dialect)
    dialect.close()
    assert scene.store.url_shown == url


def counted_row_by_row(access: Access) -> dict[str, dict[str, int]]:
    numbers: Counter[tuple[str, str]] = Counter()
    with access.reading() as connection:
        for row in connection.execute(select(schema.job.c.job_type, schema.job.c.status, schema.job.c.ended_at)):
            retrying = row.status == "failed" and row.ended_at is None
            numbers[row.job_type, "retrying" if retrying else row.status] += 1
    counts: dict[str, dict[str, int]] = {}
    for (job_type, status), number in numbers.items():
        counts.setdefault(job_type, {})[status] = number
    return counts


def test_counts_tell_retrying_from_failed(scene: Scene) -> None:
    """`failed` is two things: one that has ended and one that will run again."""
    scene.add("other")
    first, second, _third = (scene.add_and_claim(max_attempts=n) for n in (1, 2, 2))
    scene.end(first)
    scene.end(second)
    assert scene.store.counts() == {
        "other": {"pending": 1},
        "work": {"failed": 1, "processing": 1, "retrying": 1},
    }
    assert [job.id for job in scene.store.find(status="retrying")] == [second.id]
    assert {job.id for job in scene.store.find(status="failed")} == {first.id, second.id}


def test_an_empty_store_counts_nothing(scene: Scene) -> None:
    """Also when there were jobs once."""
    assert scene.store.counts() == {}
    scene.complete(scene.add_and_claim())
    scene.store.bulk.clear(JobFilter(), now_us=scene.now_us)
    assert scene.store.counts() == {}


def test_jobs_behind_each_gate_are_counted(scene: Scene) -> None:
    """Each live job stands in one place, and is counted there once."""
    scene.store.controls.set_limit("type", "limited", max_running=1, now_us=scene.now_us)
    parent = scene.add(tags=["t"])
    scene.add(depends_on={"jobIds": [parent]})
    scene.add(depends_on={"tags": ["t"]})
    scene.add(run_at=to_datetime(scene.now_us + SECOND_US))
    scene.add("limited")
    scene.add("limited")
    assert scene.store.counts() == {"work": {"pending": 4}, "limited": {"pending": 2}}


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_right_after_whatever_happened(scene: Scene, access: Access, seed: int) -> None:
    """Every verb that ends, revives or removes jobs keeps the tallies."""
    chance = random.Random(seed)
    claimed: list[Any] = []
    for step in range(120):
        match chance.randrange(10):
            case 0 | 1 | 2:
                parents = [job.id for job in scene.store.find(limit=1)] if chance.random() < 0.3 else []
                scene.add(
                    chance.choice(["work", "other"]),
                    max_attempts=chance.choice([1, 2]),
                    dead_letter_job_type=chance.choice([None, "work"]),
                    depends_on={"jobIds": parents},
                )
            case 3 | 4:
                claimed += scene.claim(2, types=["work", "other"])
            case 5 if claimed:
                scene.complete(claimed.pop())
            case 6 if claimed:
                scene.end(claimed.pop(), chance.choice([Outcome.FAILED, Outcome.CRASHED, Outcome.CANCELLED]))
            case 7:
                scene.store.bulk.cancel_all(JobFilter(ids=[chance.randint(1, 60)]), now_us=scene.now_us)
            case 8:
                verb = chance.choice([scene.store.bulk.retry_all, scene.store.bulk.replay_dead_letters])
                verb(JobFilter(ids=[chance.randint(1, 60)]), now_us=scene.now_us)
            case 9:
                scene.store.bulk.clear(JobFilter(ids=[chance.randint(1, 60)]), now_us=scene.now_us)
            case _:
                pass
        if step % 40 == 39:
            with access.writing() as connection:
                tallies.fold(connection)
        assert scene.store.counts() == counted_row_by_row(access), step


def test_folding_leaves_one_row_for_each_type_and_status(scene: Scene, access: Access) -> None:
    """The counts stay what they were; rows that come to nothing go."""
    for _ in range(4):
        scene.complete(scene.add_and_claim())
    scene.end(scene.add_and_claim(max_attempts=1))
    scene.store.bulk.retry_all(JobFilter(), now_us=scene.now_us)
    before = scene.store.counts()
    with access.writing() as connection:
        assert tallies.fold(connection) > 0
        assert rows(connection) == [("work", "completed", 4)]
        assert tallies.fold(connection) == 0
    assert scene.store.counts() == before


def test_a_fold_takes_only_so_many_rows_at_once(scene: Scene, access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of maintenance is short, however much was written since the last."""
    monkeypatch.setattr(tallies, "MOST_FOLDED", 3)
    for _ in range(7):
        scene.complete(scene.add_and_claim())
    with access.writing() as connection:
        folds = [tallies.fold(connection) for _ in range(5)]
        assert sum(folds) == 6
        assert 2 in folds
    assert scene.store.counts() == {"work": {"completed": 7}}


def rows(connection: Connection) -> list[tuple[str, str, int]]:
    columns = (schema.tally.c.job_type, schema.tally.c.status, schema.tally.c.number)
    return [(row[0], row[1], row[2]) for row in connection.execute(select(*columns))]


@pytest.mark.only("sqlite", reason="EXPLAIN QUERY PLAN is SQLite's")
@pytest.mark.parametrize(
    ("query", "index"),
    list(zip(counting.LIVE, ["job_claim", "job_due", "job_gated", "job_node"], strict=True)),
    ids=["ready", "timed", "gated", "running"],
)
def test_counting_reads_only_partial_indexes(access: Access, query: Any, index: str) -> None:
    """Each of the four places of a live job by its own index, all but the running ones without the table."""
    covering = "" if index == "job_node" else "COVERING "
    assert f" job USING {covering}INDEX {index}" in plan(access, query)[0]


@pytest.mark.only("sqlite", reason="EXPLAIN QUERY PLAN is SQLite's")
def test_the_ended_are_counted_without_their_rows(access: Access) -> None:
    """From the tallies."""
    assert all("job" not in line.split() for line in plan(access, counting.PAST))


def plan(access: Access, query: Any) -> list[str]:
    compiled = query.compile(access.dialect.engine, compile_kwargs={"literal_binds": True})
    with access.reading() as connection:
        return [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))]


@pytest.mark.only("sqlite", reason="EXPLAIN QUERY PLAN is SQLite's")
@pytest.mark.parametrize(
    ("state", "indexes"),
    [
        ("pending", {"job_claim", "job_due", "job_gated"}),
        ("waiting", {"job_claim", "job_due", "job_gated"}),
        ("retrying", {"job_claim", "job_due", "job_gated"}),
        ("failed", {"job_claim", "job_due", "job_gated", "job_history"}),
        ("cancelled", {"job_history"}),
        ("processing", {"job_node"}),
    ],
)
def test_looking_for_a_rare_state_reads_no_ended_jobs(access: Access, state: str, indexes: set[str]) -> None:
    """With a million completed jobs, the few others are found through the indexes that hold only them."""
    query = select(schema.job.c.payload).where(*conditions(JobFilter(status=[state]))).order_by(schema.job.c.id.desc())
    lines = plan(access, query.limit(100))
    assert all(any(f"INDEX {index}" in line for line in lines) for index in indexes), lines
    assert not any(line.startswith("SCAN job") and "INDEX" not in line for line in lines), lines


def test_a_count_by_filter_agrees_with_the_filter(scene: Scene) -> None:
    """Whether it comes from the tallies or from the rows."""
    for _ in range(3):
        scene.complete(scene.add_and_claim())
    scene.add(priority=4)
    scene.add("other")
    for wanted in ({}, {"job_type": "work"}, {"job_type": ["other", "none"]}, {"priority": 4}, {"tags": ["x"]}):
        found = JobFilter.parse(**wanted)
        assert scene.store.bulk.count(found) == len(scene.store.bulk.find(found, limit=100).jobs)
    assert scene.store.bulk.count(JobFilter(status=["ended"])) == 3
