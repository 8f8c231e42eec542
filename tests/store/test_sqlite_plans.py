"""Query plans: what runs all the time must not search. The partial indexes are empty of ended jobs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, text

from jobwarden.store import schema
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.dialects.sqlite.statements import STATEMENTS

from .scene import Scene

pytestmark = pytest.mark.only("sqlite", reason="EXPLAIN QUERY PLAN is SQLite's; each server has such a file of its own")

NODE = {"node_id": "n"}
ENTRIES = {**NODE, "entries": "[]"}
TAKEN = {**NODE, "batch": "b", "now": 1}
TERMS = {"max_attempts": 1, "timeout_ms": 1, "retry_delay": 1, "heartbeat_timeout_ms": 1, "node_name": "x", "ids": "[]"}

BY_KEY = "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)"
EXPECTED: list[tuple[str, Any, dict[str, Any], list[str]]] = [
    (
        "claim",
        STATEMENTS.choose_ready(2, 0, False),  # noqa: FBT003 - positional in the Callable
        {**NODE, "terms": '[["a",1,1,1,1],["b",1,1,1,1]]', "limit": 5},
        ["MERGE (UNION ALL)", "SEARCH job USING COVERING INDEX job_claim (job_type=?)", BY_KEY],
    ),
    (
        "claim with limits per node",
        STATEMENTS.choose_ready(3, 2, True),  # noqa: FBT003
        {**NODE, "terms": '[["a",1,1,1,1,2],["b",1,1,1,1,2],["c",1,1,1,1,null]]', "limit": 5},
        ["MERGE (UNION ALL)", "SEARCH job USING COVERING INDEX job_claim (job_type=?)", BY_KEY],
    ),
    (
        "outlook",
        STATEMENTS.outlook,
        {},
        ["SEARCH job USING INDEX job_expiry (expires_at>?)", "SEARCH job USING COVERING INDEX job_due (due_at>?)"],
    ),
    ("take", STATEMENTS.claim_jobs, {**TAKEN, **TERMS}, [BY_KEY]),
    (
        "record",
        STATEMENTS.record_processing,
        TAKEN,
        ["SEARCH job USING INDEX job_node (node_id=? AND claim_batch=?)"],
    ),
    ("promote", STATEMENTS.promote_due, {"now": 1}, [BY_KEY, "SEARCH job USING COVERING INDEX job_due (due_at<?)"]),
    ("completion event", STATEMENTS.record_completions, ENTRIES, [BY_KEY]),
    ("completion", STATEMENTS.complete_jobs, ENTRIES, [BY_KEY]),
    ("end event", STATEMENTS.record_endings, ENTRIES, [BY_KEY]),
    ("end", STATEMENTS.end_jobs, ENTRIES, [BY_KEY]),
    ("progress", STATEMENTS.note_progress, {**ENTRIES, "now": 1}, [BY_KEY]),
    (
        "progress event",
        STATEMENTS.drop_progress_events,
        ENTRIES,
        [BY_KEY, "SEARCH older USING INDEX event_job (job_id=?)"],
    ),
    ("give back", STATEMENTS.give_back, {**ENTRIES, "now": 1}, [BY_KEY]),
    (
        "look",
        STATEMENTS.look,
        {**NODE, "now": 1},
        [
            "SEARCH job USING COVERING INDEX job_due (due_at>?)",
            "SEARCH job USING INDEX job_expiry (expires_at>?)",
            "SEARCH job USING INDEX job_wish (node_id=?)",
        ],
    ),
    ("wishes", STATEMENTS.wished_cancelled, {}, ["SCAN job USING INDEX job_wish"]),
    (
        "what follows from ends",
        STATEMENTS.ended_kinds,
        {"ids": "[]"},
        [
            BY_KEY,
            "SEARCH edge USING INDEX edge_open (depends_on=?)",
            "SEARCH barrier USING COVERING INDEX barrier_waits_for (waits_for=?)",
            "SEARCH tag USING PRIMARY KEY (job_id=?)",
        ],
    ),
    (
        "barriers",
        STATEMENTS.find_barriers,
        {"entries": "[]"},
        ["SEARCH other USING INDEX tag_live (name=? AND job_id<?)"],
    ),
    ("orphans", STATEMENTS.jobs_to_free, {}, ["SCAN job USING INDEX job_node"]),
    (
        "own rows",
        text("SELECT id, fence FROM job WHERE status = 'processing' AND node_id = :node_id"),
        NODE,
        ["SEARCH job USING INDEX job_node (node_id=?)"],
    ),
]


@pytest.fixture
def connection(scene: Scene, url: str) -> Any:
    """A plain connection to a store that has seen some jobs."""
    for _ in range(20):
        scene.add()
    for job in scene.claim(10):
        scene.complete(job)
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with dialect.engine.connect() as opened:
        yield opened
    dialect.close()


@pytest.mark.parametrize(
    ("statement", "given", "steps"), [case[1:] for case in EXPECTED], ids=[case[0] for case in EXPECTED]
)
def test_a_statement_of_the_hot_path_uses_its_index(
    connection: Connection, statement: Any, given: dict[str, Any], steps: list[str]
) -> None:
    """Every table is reached by the key or by the index made for the statement; none is read through."""
    rows = connection.execute(text(f"EXPLAIN QUERY PLAN {statement.text}"), given)
    plan = [row[3] for row in rows]
    for step in steps:
        assert any(line.startswith(step) for line in plan), plan
    for line in plan:
        assert not line.startswith(("SCAN job", "SCAN event")) or "USING INDEX job_" in line, plan


def test_only_key_and_history_hold_ended_jobs(connection: Connection) -> None:
    """All other indexes of `job` are partial, and empty once the jobs have ended (R18)."""
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'job'"))
    indexes = {row.name: row.sql for row in rows}
    assert set(indexes) == {index.name for index in schema.job.indexes}
    assert all(" WHERE " in sql for sql in indexes.values())
    for name in set(indexes) - {"job_history"}:
        condition = indexes[name].partition(" WHERE ")[2]
        query = f"SELECT count(*) FROM job WHERE ended_at IS NOT NULL AND ({condition})"  # noqa: S608 - our own DDL
        assert connection.execute(text(query)).scalar_one() == 0
