"""Query plans of what limits, rates, pauses and aging ask on the path of jobs: all by their indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.jobs import ClaimedJob, TypeTerms
from jobwarden.store.gates.aging import lift_starved

from .scene import Scene

pytestmark = pytest.mark.only("sqlite", reason="EXPLAIN QUERY PLAN is SQLite's; each server has such a file of its own")

SMALL = ("SCAN job USING INDEX job_node", "SCAN job USING INDEX job_wish", "SCAN job USING COVERING INDEX job_wish")
"""Read through on purpose: what runs now, and what was wished."""


@contextmanager
def statements(scene: Scene) -> Iterator[dict[str, Any]]:
    """SQL -> parameters of all that is executed in this block."""
    seen: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, sql: str, given: Any, _context: Any, _many: bool) -> None:  # noqa: FBT001
        seen[sql] = given

    engine = scene.store._dialect.engine  # noqa: SLF001 - the only way to hear what is executed
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def plan_of(scene: Scene, sql: str, given: Any) -> list[str]:
    with scene.store._access.reading() as connection:  # noqa: SLF001
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)]


@pytest.fixture
def limited(scene: Scene) -> Scene:
    """Limits and rates of both kinds over a backlog, with a paused type."""
    controls, now_us = scene.store.controls, scene.now_us
    controls.set_limit("type", "a", max_running=4, rate=50, rate_seconds=60, max_per_node=9, now_us=now_us)
    controls.set_limit("group", "*", max_running=1, rate=9, rate_seconds=1, now_us=now_us)
    controls.set_limit("group", "own", max_running=3, rate=9, rate_seconds=1, now_us=now_us)
    controls.pause("c", now_us=now_us)
    groups = (None, "own", "g1", "g2", "g3")
    for number in range(60):
        scene.add("abc"[number % 3], group_id=groups[number % 5], priority=number % 4)
    return scene


def claim(scene: Scene) -> list[ClaimedJob]:
    return scene.claim(types=[TypeTerms(job_type=each, max_per_node=9) for each in "abc"])


def test_the_path_of_a_limited_job_reads_through_no_table(limited: Scene) -> None:
    """Claim, end, retry, give-back, cancel and aging."""
    scene = limited
    with statements(scene) as seen:
        first, second, third, *_others = claim(scene)
        scene.complete(first)
        scene.end(second)
        scene.give_back(third)
        claim(scene)
        scene.pass_seconds(500)
        with scene.store._access.writing() as connection:  # noqa: SLF001
            assert lift_starved(connection, now_us=scene.now_us, after_seconds=300) > 0
        claim(scene)
        scene.store.cancel(scene.add("a", group_id="g1"), now_us=scene.now_us)
    assert len(seen) > 30
    for sql, given in seen.items():
        for line in plan_of(scene, sql, given):
            assert not line.startswith(("SCAN job", "SCAN event", "SCAN start")) or line.startswith(SMALL), (line, sql)


def holding(*parts: str) -> Callable[[str], bool]:
    return lambda sql: all(part in sql for part in parts)


@pytest.mark.parametrize(
    ("which", "step"),
    [
        (
            holding("ORDER BY job.claim_rank", "gate = 'lane' AND job.job_type"),
            "SEARCH job USING COVERING INDEX job_lane_type (job_type=?)",
        ),
        (
            holding("ORDER BY job.claim_rank", "gate = 'lane' AND group_id IS NOT NULL AND job.group_id"),
            "SEARCH job USING COVERING INDEX job_lane_group (group_id=?)",
        ),
        (holding("count(job.ready)", "job.group_id IN"), "SEARCH job USING INDEX job_group (group_id=?)"),
        (holding("count(*)", "job.job_type IN", "ready = 1"), "SEARCH job USING COVERING INDEX job_claim (job_type=?)"),
        (holding("count(*)", "job.node_id = "), "SEARCH job USING INDEX job_node (node_id=?)"),
        (holding("due_at IS NOT NULL AND gate IS NULL AND job.due_at <="), "SEARCH job USING INDEX job_due"),
        (holding("WITH RECURSIVE waiting"), "SEARCH job USING COVERING INDEX job_lane_group (group_id>?)"),
        (holding("SELECT start.name"), "SEARCH start USING INDEX sqlite_autoindex_start_1 (scope=? AND name=?)"),
        (holding("UPDATE start"), "SEARCH start USING INDEX sqlite_autoindex_start_1 (scope=? AND name=? AND slice=?)"),
        (holding("WITH RECURSIVE types", "ready = 1"), "SEARCH job USING COVERING INDEX job_claim (job_type>?)"),
        (
            holding("WITH RECURSIVE types", "gate = 'lane'"),
            "SEARCH job USING COVERING INDEX job_lane_type (job_type=? AND claim_rank=?)",
        ),
    ],
)
def test_a_statement_of_lanes_uses_its_index(limited: Scene, which: Callable[[str], bool], step: str) -> None:
    """Each is reached by the index made for it."""
    scene = limited
    with statements(scene) as seen:
        for job in claim(scene):
            scene.complete(job)
        scene.add("a", run_at=to_datetime(scene.now_us + SECOND_US))
        scene.pass_seconds(2)
        claim(scene)
        with scene.store._access.writing() as connection:  # noqa: SLF001
            lift_starved(connection, now_us=scene.now_us, after_seconds=300)
    (found, *_others) = [(sql, given) for sql, given in seen.items() if which(sql)]
    plan = plan_of(scene, *found)
    assert any(line.startswith(step) for line in plan), plan


def test_an_operators_change_reads_only_what_it_is_about(limited: Scene) -> None:
    """Setting and clearing limits of one type or group."""
    scene = limited
    with statements(scene) as seen:
        for scope, name in (("type", "b"), ("group", "own")):
            scene.store.controls.set_limit(scope, name, max_running=1, now_us=scene.now_us)
            scene.store.controls.clear_limits(scope, name, now_us=scene.now_us)
    for sql, given in seen.items():
        for line in plan_of(scene, sql, given):
            assert not line.startswith("SCAN job") or line.startswith(SMALL), (line, sql)


def test_a_store_without_controls_asks_once_for_them(scene: Scene) -> None:
    """That is all that limits, rates and pauses cost those who do not use them."""
    scene.add()
    with statements(scene) as seen:
        scene.claim()
    assert not any("max_running" in sql or "FROM start" in sql for sql in seen)
    assert len([sql for sql in seen if sql.lstrip().startswith("SELECT EXISTS (SELECT 1 FROM control)")]) == 1
    assert len(seen) == 5, list(seen)
